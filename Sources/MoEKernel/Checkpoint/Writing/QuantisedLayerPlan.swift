/// What becomes of one layer's tensors: which of them go, what stands in their place, and what is to be done for that.
struct QuantisedLayerPlan: Sendable {
    /// Index of the layer in the model.
    let layer: Int
    /// Tensors of the original that are not copied.
    private(set) var replaced: Set<String> = []
    /// Their bytes, those of the matrices that are quantised.
    private(set) var replacedBytes = 0
    /// Tensors to be written.
    private(set) var entries: [SafetensorsLayout.Entry] = []
    /// Those whose contents are known already.
    private(set) var contents: [String: [UInt8]] = [:]
    private(set) var tasks: [Task] = []
    /// Whether tensors hold the matrices of all experts.
    private(set) var isMerged = false

    /// Matrices to quantise together: one, or gate and up whose rows alternate.
    struct Task: Sendable {
        let matrices: [WeightName]
        let codes: String
        let scales: String
        let zeroPoints: String?
        /// Rows of those tensors before the first of these.
        var firstRow = 0
    }

    private let form: WeightQuantisation
    private let stored: StoredForm
    private let prefix: String
    let source: LayerTensors
    let configuration: MoEConfiguration

    /// - Throws: ``MoEError/checkpoint(file:tensor:problem:)`` where a matrix is quantised already, or the family stores experts in no
    ///   way that has this form; ``MoEError/configuration(field:value:expectation:)`` where groups do not divide rows.
    init(
        layer: Int, _ source: LayerTensors, _ configuration: MoEConfiguration, layout: TensorLayout, prefix: String,
        form: WeightQuantisation, stored: StoredForm
    ) throws(MoEError) {
        (self.layer, self.form, self.stored, self.prefix) = (layer, form, stored, prefix)
        (self.source, self.configuration) = (source, configuration)
        for name in configuration.expertMatrices {
            try form.validate(inputs: configuration.shape(of: name).columns, tensor: source.describe(name))
            let matrix = try source.matrix(name)
            guard matrix.scales == nil else {
                throw fault(name, "is quantised already; expected F32, BF16 or F16")
            }
            if replaced.insert(matrix.tensor.name).inserted { replacedBytes += matrix.tensor.bytes.count }
        }
        try addExperts(layout.experts)
        if configuration.shared != .none { try addShared(layout.shared) }
    }

    private func fault(_ name: WeightName, _ problem: String) -> MoEError {
        guard let matrix = try? source.matrix(name) else { return .weights(tensor: "\(name)", problem: problem) }
        return .checkpoint(file: matrix.file.path, tensor: clipped(matrix.tensor.name), problem: problem)
    }

    private func unsupported(_ name: WeightName) -> MoEError {
        fault(
            name,
            "holds the matrices of several experts, and this family has no name for one's; whole numbers are stored an "
                + "expert a tensor: expected fp8 or mxfp4")
    }

    /// A tensor's name in the original, without what all names of the layer begin with.
    private func suffix(_ name: WeightName) throws(MoEError) -> String {
        String(try source.matrix(name).tensor.name.dropFirst(prefix.count))
    }

    /// Names in the folder where the original has the matrices, if the family knows some there, else the first.
    private func nearest<Names>(_ candidates: [(names: Names, sample: String)], to suffix: String) -> Names? {
        func folder(_ name: String) -> Substring { name.prefix { $0 != "." } }
        return (candidates.first { folder($0.sample) == folder(suffix) } ?? candidates.first)?.names
    }

    // MARK: Experts

    private mutating func addExperts(_ alternatives: [ExpertTensors]) throws(MoEError) {
        let projections = configuration.expert.projections
        let original = try suffix(.expert(0, .up))
        let separate = alternatives.compactMap {
            if case .separate(let folder, let names) = $0 {
                (names: (folder: folder, names: names), sample: "\(folder)0.\(names.up)")
            } else {
                nil
            }
        }
        if let (folder, names) = nearest(separate, to: original) {
            let isRenamed = original != "\(folder)0.\(names.up)"
            for expert in 0..<configuration.experts {
                for projection in projections {
                    let name = "\(prefix)\(folder)\(expert).\(names[projection])"
                    try add(.expert(expert, projection), name)
                    if isRenamed, configuration.expert.hasBiases {
                        try addBias(.expertBias(expert, projection), LayerTensors.bias(name))
                    }
                }
            }
            return
        }
        isMerged = true
        let merged = alternatives.compactMap {
            (alternative: ExpertTensors) -> (names: ExpertTensors, sample: String)? in
            switch alternative {
            case .fused(let gateUp, _, _, _): (alternative, gateUp)
            case .stacked(let up, _): (alternative, up)
            case .separate, .flat: nil
            }
        }
        switch nearest(merged, to: original) {
        case .fused(let gateUp, let down, let order, _)? where configuration.expert.isGated:
            try checkBiases(gateUp, original)
            try addMerged(gateUp, [.gate, .up], isInterleaved: order == .interleaved)
            try addMerged(down, [.down], isInterleaved: false)
        case .stacked(let up, let down)? where !configuration.expert.isGated:
            try checkBiases(up, original)
            try addMerged(up, [.up], isInterleaved: false)
            try addMerged(down, [.down], isInterleaved: false)
        default: throw unsupported(.expert(0, .up))
        }
    }

    /// Merged biases stay where they are, under names that follow the matrices'.
    private func checkBiases(_ name: String, _ original: String) throws(MoEError) {
        guard configuration.expert.hasBiases, name != original else { return }
        throw fault(.expert(0, .up), "has biases beside it that would need another name; expected \(name)")
    }

    private mutating func addMerged(
        _ name: String, _ projections: [Projection], isInterleaved: Bool
    ) throws(MoEError) {
        let (rows, columns) = configuration.shape(of: .expert(0, projections[0]))
        let all = rows * projections.count
        guard
            let (codes, scales) = stored.mergedTensors(
                prefix + name, outer: [configuration.experts], rows: all, columns: columns, groups: groups(columns))
        else { throw unsupported(.expert(0, projections[0])) }
        entries += [codes, scales]
        for expert in 0..<configuration.experts {
            let matrices = projections.map { WeightName.expert(expert, $0) }
            for (part, together) in (isInterleaved ? [matrices] : matrices.map { [$0] }).enumerated() {
                tasks.append(
                    Task(
                        matrices: together, codes: codes.name, scales: scales.name, zeroPoints: nil,
                        firstRow: expert * all + part * rows))
            }
        }
    }

    // MARK: The shared expert

    private mutating func addShared(_ alternatives: [SharedTensors]) throws(MoEError) {
        let original = try suffix(.shared(.up))
        let separate = alternatives.compactMap {
            if case .separate(let names) = $0 { (names: names, sample: names.up) } else { nil }
        }
        if let names = nearest(separate, to: original) {
            for projection in configuration.expert.projections {
                try add(.shared(projection), prefix + names[projection])
                if configuration.hasSharedBiases, original != names.up {
                    try addBias(.sharedBias(projection), LayerTensors.bias(prefix + names[projection]))
                }
            }
            return
        }
        let merged = alternatives.compactMap {
            if case .fused(let gateUp, let down) = $0 { (names: (gateUp, down), sample: gateUp) } else { nil }
        }
        guard let (gateUp, down) = nearest(merged, to: original), configuration.expert.isGated else {
            throw unsupported(.shared(.up))
        }
        for (name, projections) in [(gateUp, [Projection.gate, .up]), (down, [.down])] {
            let (rows, columns) = configuration.shape(of: .shared(projections[0]))
            guard
                let (codes, scales) = stored.mergedTensors(
                    prefix + name, outer: [], rows: rows * projections.count, columns: columns, groups: groups(columns))
            else { throw unsupported(.shared(projections[0])) }
            entries += [codes, scales]
            for (part, projection) in projections.enumerated() {
                tasks.append(
                    Task(
                        matrices: [.shared(projection)], codes: codes.name, scales: scales.name, zeroPoints: nil,
                        firstRow: part * rows))
            }
        }
    }

    // MARK: Tensors

    private func groups(_ columns: Int) -> Int { columns / (form.group ?? columns) }

    /// A matrix under a name of its own.
    private mutating func add(_ matrix: WeightName, _ name: String) throws(MoEError) {
        let (rows, columns) = configuration.shape(of: matrix)
        let (codes, scales, zeroPoints) = stored.tensors(
            name, rows: rows, columns: columns, groups: groups(columns), zeroPoints: form.zeroPoints)
        entries += [codes, scales]
        if let zeroPoints { entries.append(zeroPoints) }
        if case .packed = stored {
            entries.append(.init(name: name + "_shape", type: .i64, shape: [2], byteCount: 16))
            contents[name + "_shape"] = [rows, columns].flatMap { extent in
                (0..<8).map { UInt8(truncatingIfNeeded: extent >> ($0 * 8)) }
            }
        }
        tasks.append(
            Task(matrices: [matrix], codes: codes.name, scales: scales.name, zeroPoints: zeroPoints?.name))
    }

    /// A bias whose matrix gets another name, bit for bit.
    private mutating func addBias(_ bias: WeightName, _ name: String) throws(MoEError) {
        let matrix = try source.matrix(bias)
        guard case .plain(let type) = matrix.format else {
            throw fault(bias, "is not stored as plain numbers")
        }
        replaced.insert(matrix.tensor.name)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: matrix.rowBytes, alignment: 16)
        defer { buffer.deallocate() }
        try source.read(bias, rows: 0..<1, into: buffer)
        entries.append(
            .init(name: name, type: SafetensorsType(type), shape: [matrix.columns], byteCount: matrix.rowBytes))
        contents[name] = Array(buffer)
    }
}
