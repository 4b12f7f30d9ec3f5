/// The weights of one layer in a checkpoint's files: rows are read straight into the caller's buffer, from any thread,
/// and nothing is kept.
struct LayerTensors: WeightSource {
    private var matrices: [WeightName: StoredMatrix] = [:]
    private var table: StoredTable?
    private let configuration: MoEConfiguration

    /// Finds every tensor of a layer and checks its shape and type.
    ///
    /// - Parameter prefix: what the layer's tensor names begin with, up to the layer's index and a full stop.
    init(
        _ configuration: MoEConfiguration, layout: TensorLayout, prefix: String, finder: TensorFinder,
        quantisation: QuantisationConfig
    ) throws(MoEError) {
        self.configuration = configuration
        var resolver = TensorResolver(finder, prefix: prefix, quantisation: quantisation)
        try addSingle(layout, &resolver)
        try addExperts(layout.experts, &resolver)
        if configuration.shared != .none { try addShared(layout, &resolver) }
    }

    /// Finds the tensors of a layer by its index in the model.
    init(
        layer: Int, of model: CheckpointModel, tensors: CheckpointTensors, prefixes: LayerPrefixes
    ) throws(MoEError) {
        let stack = model.family.stacks[try model.place(of: layer).stack]
        try self.init(
            try model.configuration(layer: layer), layout: stack.layout,
            prefix: try model.prefix(layer: layer, tensors: tensors, prefixes: prefixes), finder: TensorFinder(tensors),
            quantisation: model.quantisation)
    }

    // MARK: Finding

    private mutating func addSingle(_ layout: TensorLayout, _ resolver: inout TensorResolver) throws(MoEError) {
        let router = configuration.router
        let vectors: [(WeightName, Bool)] = [
            (.routerBias, router.hasBias), (.selectionBias, router.hasSelectionBias),
            (.expertScale, router.hasExpertScale), (.routerInputScale, router.input != .identity),
            (.outputBias, configuration.hasOutputBias),
        ]
        func name(_ weight: WeightName) throws(MoEError) -> String {
            guard let names = layout.single[weight] else {
                throw .weights(tensor: "\(weight)", problem: "has no name in checkpoints of this family")
            }
            return resolver.present(names)
        }
        let shape = configuration.shape(of: .router)
        matrices[.router] = try resolver.plain(try name(.router), rows: shape.rows, columns: shape.columns)
        for (weight, isThere) in vectors where isThere {
            matrices[weight] = try resolver.vector(
                try name(weight), count: configuration.shape(of: weight).columns)
        }
        if case .table = router.selection {
            let shape = configuration.shape(of: .expertTable)
            table = try resolver.table(try name(.expertTable), rows: shape.rows, columns: shape.columns)
        }
        if configuration.latent != nil {
            for weight in [WeightName.latentIn, .latentOut] {
                let shape = configuration.shape(of: weight)
                matrices[weight] = try resolver.linear(try name(weight), rows: shape.rows, columns: shape.columns)
            }
        }
    }

    /// The bias that goes with a weight.
    static func bias(_ weight: String) -> String {
        weight.hasSuffix(".weight") ? weight.dropLast(6) + "bias" : weight + "_bias"
    }

    private mutating func addExperts(
        _ alternatives: [ExpertTensors], _ resolver: inout TensorResolver
    ) throws(MoEError) {
        // Until one proves to be it, the first stands, and its missing tensors are what an error is about.
        let kind = configuration.expert
        func holds(_ tensors: ExpertTensors) -> Bool {
            switch tensors {
            case .separate(let folder, let names):
                kind.projections.contains { resolver.containsMatrix("\(folder)0.\(names[$0])") }
            case .fused(let gateUp, let down, _, _):
                kind.isGated && (resolver.containsMatrix(gateUp) || resolver.containsMatrix(down))
            case .stacked(let up, let down):
                !kind.isGated && (resolver.containsMatrix(up) || resolver.containsMatrix(down))
            case .flat(let names):
                kind.projections.contains { resolver.contains(names[$0]) }
            }
        }
        let experts = configuration.experts
        let (width, model) = (configuration.expertHidden, configuration.expertWidth)
        switch alternatives.first(where: holds) ?? alternatives[0] {
        case .separate(let folder, let names):
            for expert in 0..<experts {
                for projection in kind.projections {
                    let suffix = "\(folder)\(expert).\(names[projection])"
                    let shape = configuration.shape(of: .expert(expert, projection))
                    matrices[.expert(expert, projection)] = try resolver.linear(
                        suffix, rows: shape.rows, columns: shape.columns)
                    guard kind.hasBiases else { continue }
                    matrices[.expertBias(expert, projection)] = try resolver.vector(
                        Self.bias(suffix), count: shape.rows)
                }
            }
        case .fused(let gateUpName, let downName, let order, let preferred):
            let major = try resolver.majorOrder(
                gateUp: (gateUpName, 2 * width), down: (downName, width), hidden: model, experts: experts,
                preferred: preferred)
            let gateUp = try resolver.fused(
                gateUpName, experts: experts, outputs: 2 * width, inputs: model, major: major, order: order, parts: 2)
            let down = try resolver.fused(downName, experts: experts, outputs: model, inputs: width, major: major)
            for expert in 0..<experts {
                for (part, projection) in [Projection.gate, .up].enumerated() {
                    matrices[.expert(expert, projection)] = gateUp.matrix(
                        expert: expert, first: order == .halves ? part * width : part,
                        step: order == .halves ? 1 : 2, count: width, part: part)
                }
                matrices[.expert(expert, .down)] = down.matrix(expert: expert, first: 0, step: 1, count: model)
            }
            guard kind.hasBiases else { return }
            let gateUpBias = try resolver.plain(Self.bias(gateUpName), rows: experts, columns: 2 * width)
            let downBias = try resolver.plain(Self.bias(downName), rows: experts, columns: model)
            for expert in 0..<experts {
                for (part, projection) in [Projection.gate, .up].enumerated() {
                    matrices[.expertBias(expert, projection)] = gateUpBias.row(
                        expert, first: order == .halves ? part * width : part, step: order == .halves ? 1 : 2,
                        count: width)
                }
                matrices[.expertBias(expert, .down)] = downBias.row(expert, first: 0, step: 1, count: model)
            }
        case .stacked(let upName, let downName):
            let up = try resolver.fused(upName, experts: experts, outputs: width, inputs: model, major: .outputs)
            let down = try resolver.fused(downName, experts: experts, outputs: model, inputs: width, major: .outputs)
            for expert in 0..<experts {
                matrices[.expert(expert, .up)] = up.matrix(expert: expert, first: 0, step: 1, count: width)
                matrices[.expert(expert, .down)] = down.matrix(expert: expert, first: 0, step: 1, count: model)
            }
            guard kind.hasBiases else { return }
            let upBias = try resolver.plain(Self.bias(upName), rows: experts, columns: width)
            let downBias = try resolver.plain(Self.bias(downName), rows: experts, columns: model)
            for expert in 0..<experts {
                matrices[.expertBias(expert, .up)] = upBias.row(expert, first: 0, step: 1, count: width)
                matrices[.expertBias(expert, .down)] = downBias.row(expert, first: 0, step: 1, count: model)
            }
        case .flat(let names):
            for projection in kind.projections {
                let tensor = try resolver.flat(
                    names[projection], experts: experts, width: width, model: model, projection: projection)
                for expert in 0..<experts {
                    matrices[.expert(expert, projection)] = tensor.matrix(
                        expert: expert, first: 0, step: 1, count: tensor.outputs)
                }
            }
        }
    }

    private mutating func addShared(_ layout: TensorLayout, _ resolver: inout TensorResolver) throws(MoEError) {
        let projections = configuration.expert.projections
        let alternatives = layout.shared
        guard let first = alternatives.first else {
            throw .weights(tensor: "shared", problem: "has no name in checkpoints of this family")
        }
        func holds(_ tensors: SharedTensors) -> Bool {
            switch tensors {
            case .separate(let names): projections.contains { resolver.containsMatrix(names[$0]) }
            case .fused(let gateUp, let down): resolver.containsMatrix(gateUp) || resolver.containsMatrix(down)
            }
        }
        let width = configuration.shared.width ?? 0
        switch alternatives.first(where: holds) ?? first {
        case .separate(let names):
            for projection in projections {
                let shape = configuration.shape(of: .shared(projection))
                matrices[.shared(projection)] = try resolver.linear(
                    names[projection], rows: shape.rows, columns: shape.columns)
                guard configuration.hasSharedBiases else { continue }
                matrices[.sharedBias(projection)] = try resolver.vector(Self.bias(names[projection]), count: shape.rows)
            }
        case .fused(let gateUpName, let downName):
            let gateUp = try resolver.fused(
                gateUpName, experts: nil, outputs: 2 * width, inputs: configuration.hidden, major: .outputs, parts: 2)
            let down = try resolver.fused(
                downName, experts: nil, outputs: configuration.hidden, inputs: width, major: .outputs)
            for (part, projection) in [Projection.gate, .up].enumerated() {
                matrices[.shared(projection)] = gateUp.matrix(
                    expert: 0, first: part * width, step: 1, count: width, part: part)
            }
            matrices[.shared(.down)] = down.matrix(expert: 0, first: 0, step: 1, count: configuration.hidden)
        }
        if configuration.shared.isGated, let names = layout.single[.sharedGate] {
            matrices[.sharedGate] = try resolver.gateVector(resolver.present(names), count: configuration.hidden)
        }
    }

    // MARK: Sizes

    /// The layer's matrices and what they take in their files, sorted by what they are for.
    var storage: LayerStorage {
        var storage = LayerStorage()
        var counted: Set<String> = []
        func add(_ tensor: SafetensorsTensor, to part: WritableKeyPath<LayerStorage, Int>) {
            if counted.insert(tensor.name).inserted { storage[keyPath: part] += tensor.bytes.count }
        }
        for (name, matrix) in matrices {
            let part: WritableKeyPath<LayerStorage, Int>
            switch name {
            case .expert, .expertBias: part = \.expertBytes
            case .shared, .sharedBias, .sharedGate: part = \.sharedBytes
            default: part = \.routerBytes
            }
            add(matrix.tensor, to: part)
            if let scales = matrix.scales {
                add(scales.tensor, to: part)
                if let global = scales.global { add(global.tensor, to: part) }
            }
            if let zeroPoints = matrix.zeroPoints { add(zeroPoints.tensor, to: part) }
            switch name {
            case .expert(_, let projection): storage.expertFormats.insert(matrix.format, projection)
            case .shared(let projection): storage.sharedFormats.insert(matrix.format, projection)
            case .router: storage.routerFormat = matrix.format
            default: break
            }
        }
        if let table { add(table.tensor, to: \.routerBytes) }
        return storage
    }

    // MARK: Reading

    func format(of name: WeightName) -> WeightFormat { matrices[name]?.format ?? .plain(.float32) }

    func matrix(_ name: WeightName) throws(MoEError) -> StoredMatrix {
        guard let matrix = matrices[name] else {
            throw .weights(tensor: "\(name)", problem: "this layer of the checkpoint has no such tensor")
        }
        return matrix
    }

    func read(_ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(MoEError) {
        let matrix = try matrix(name)
        let rowBytes = matrix.rowBytes
        guard rows.lowerBound >= 0, rows.upperBound <= matrix.rows, destination.count >= rows.count * rowBytes else {
            throw .input(
                name: "rows of \(describe(name))", value: "\(rows) into \(destination.count) bytes",
                expectation: "within 0..<\(matrix.rows), \(rowBytes) bytes each")
        }
        try matrix.read(rows, into: destination)
    }

    func readScales(
        _ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<Float>
    ) throws(MoEError) {
        let matrix = try matrix(name)
        guard let scales = matrix.scales else {
            throw .weights(tensor: describe(name), problem: "has no scales; its numbers are stored as they are")
        }
        guard rows.lowerBound >= 0, rows.upperBound <= matrix.rows, destination.count >= rows.count * scales.groups
        else {
            throw .input(
                name: "scales of \(describe(name))", value: "\(rows) into \(destination.count) numbers",
                expectation: "within 0..<\(matrix.rows), \(scales.groups) numbers each")
        }
        try scales.read(rows, into: destination)
    }

    func readZeroPoints(
        _ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<UInt8>
    ) throws(MoEError) {
        let matrix = try matrix(name)
        guard let zeroPoints = matrix.zeroPoints else {
            throw .weights(tensor: describe(name), problem: "has no zero points")
        }
        guard rows.lowerBound >= 0, rows.upperBound <= matrix.rows, destination.count >= rows.count * zeroPoints.groups
        else {
            throw .input(
                name: "zero points of \(describe(name))", value: "\(rows) into \(destination.count) codes",
                expectation: "within 0..<\(matrix.rows), \(zeroPoints.groups) codes each")
        }
        try zeroPoints.read(rows, into: destination)
    }

    func readIndices(_ name: WeightName, into destination: UnsafeMutableBufferPointer<Int32>) throws(MoEError) {
        guard name == .expertTable, let table else {
            throw .weights(tensor: "\(name)", problem: "this layer of the checkpoint has no such tensor")
        }
        let indices = try table.file.integers(table.tensor.name)
        guard destination.count >= indices.count else {
            throw .input(
                name: "indices of \(describe(name))", value: "\(destination.count) numbers",
                expectation: "room for \(indices.count)")
        }
        let columns = max(configuration.topK, 1)
        for (position, index) in indices.enumerated() {
            guard index >= 0, index < configuration.choices else {
                throw .checkpoint(
                    file: table.file.path, tensor: clipped(table.tensor.name),
                    problem: "token \(position / columns) is sent to expert \(index); expected 0 to "
                        + "\(configuration.choices - 1)")
            }
            destination[position] = Int32(index)
        }
    }

    func describe(_ name: WeightName) -> String {
        if name == .expertTable, let table { return "\(clipped(table.tensor.name)) in \(table.file.path)" }
        guard let matrix = matrices[name] else { return "\(name)" }
        // Where a tensor holds more than this matrix, which part it is.
        let part = matrix.isPart ? " (\(name))" : ""
        return "\(clipped(matrix.tensor.name))\(part) in \(matrix.file.path)"
    }
}

extension StoredMatrix {
    /// A part of a row, as a vector.
    fileprivate func row(_ row: Int, first: Int, step: Int, count: Int) -> StoredMatrix {
        let size = rowBytes / max(columns, 1)
        return StoredMatrix(
            file: file, tensor: tensor, format: format, rows: 1, columns: count,
            offset: offset + row * rowBytes + first * size, step: step)
    }

    /// Whether its tensor holds other matrices too.
    fileprivate var isPart: Bool {
        let bits = tensor.type.bitCount
        let codes =
            switch format {
            case .plain, .transposed: rows * columns
            case .quantised: rows * (stride ?? rowBytes) * 8 / bits
            }
        return tensor.shape.reduce(1, *) != codes
    }
}
