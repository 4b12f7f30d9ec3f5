/// Quantises the experts of a checkpoint folder, routed and shared, and writes a folder that ``MoECheckpoint`` reads again: layers
/// loaded from it are bitwise those of ``MoEWeights/quantised(to:)`` over the original's.
///
/// ```swift
/// let quantiser = try CheckpointQuantiser("Mixtral-8x7B", to: .int4)
/// let report = try quantiser.write(to: "Mixtral-8x7B-int4")
/// ```
///
/// Every other tensor is copied byte for byte, and so are the folder's other regular files but hidden ones and weights in other formats. Whole numbers and
/// FP8 are stored as compressed-tensors does, an expert a tensor whatever the original has, MXFP4 likewise or, where a family knows
/// merged experts only, as gpt-oss is published. Families of that kind cannot be stored as whole numbers.
///
/// Memory holds headers and, a thread, some rows of a matrix, or a matrix where it is stored inputs first.
public struct CheckpointQuantiser: Sendable {
    /// What experts are quantised to.
    public let form: WeightQuantisation
    /// Bytes of tensors after which another file is begun.
    public var shardByteCount = 4 << 30

    private let folder: String
    private let pool: ThreadPool
    private let model: CheckpointModel
    private let document: JSONValue
    private let stored: StoredForm
    private let files: [(file: SafetensorsFile, tensors: [SafetensorsTensor])]
    private let plans: [QuantisedLayerPlan]
    private let outputs: [Output]

    /// A tensor to be written.
    private struct Output: Sendable {
        let entry: SafetensorsLayout.Entry
        /// Where it is copied from, for those that stay as they are.
        var original: (file: SafetensorsFile, tensor: SafetensorsTensor)?
    }

    /// Opens a checkpoint and plans its files, from headers and what biases there are.
    ///
    /// - Parameters:
    ///   - folder: the checkpoint's folder, its experts in F32, BF16 or F16.
    ///   - form: what they are quantised to.
    ///   - pool: the threads that quantise; nil starts some.
    /// - Throws: what ``MoECheckpoint/init(at:pool:)`` and ``MoECheckpoint/weightSource(layer:)`` throw;
    ///   ``MoEError/checkpoint(file:tensor:problem:)`` where it is quantised already or its family has no way of storing the form;
    ///   ``MoEError/configuration(field:value:expectation:)`` where groups do not divide the rows of a matrix.
    public init(_ folder: String, to form: WeightQuantisation, pool: ThreadPool? = nil) throws(MoEError) {
        let folder = CheckpointModel.cleaned(folder)
        stored = try StoredForm(form)
        var model = try CheckpointModel(in: folder)
        guard model.config.quantisation.isEmpty else {
            throw .checkpoint(
                file: model.config.path, tensor: nil,
                problem: "describes weights that are quantised already"
                    + (model.quantisation.method.map { " (\($0))" } ?? "") + "; expected F32, BF16 or F16")
        }
        document = try JSONValue(
            try InputFile(model.config.path).contents(limit: CheckpointConfig.maximumByteCount),
            file: model.config.path, dialect: .python)
        let tensors = try CheckpointTensors(in: folder)
        let prefixes = LayerPrefixes(tensors.names, routers: model.routers)
        try model.keepStacks(of: prefixes)
        var finder = TensorFinder(tensors)
        let files = try finder.openAll()

        var plans: [QuantisedLayerPlan] = []
        for layer in model.moeLayers {
            let layout = model.family.stacks[try model.place(of: layer).stack].layout
            let prefix = try model.prefix(layer: layer, tensors: tensors, prefixes: prefixes)
            let configuration = try model.configuration(layer: layer)
            let source = try LayerTensors(
                configuration, layout: layout, prefix: prefix, finder: finder, quantisation: model.quantisation)
            plans.append(
                try QuantisedLayerPlan(
                    layer: layer, source, configuration, layout: layout, prefix: prefix, form: form, stored: stored))
        }
        outputs = try Self.outputs(files, plans)
        self.pool = if let pool { pool } else { try ThreadPool() }
        (self.folder, self.form, self.model, self.files, self.plans) = (folder, form, model, files, plans)
    }

    /// What is written, in the order of the original: a layer's quantised tensors stand where the first of those that they replace did.
    private static func outputs(
        _ files: [(file: SafetensorsFile, tensors: [SafetensorsTensor])], _ plans: [QuantisedLayerPlan]
    ) throws(MoEError) -> [Output] {
        var planOf: [String: Int] = [:]
        for (index, plan) in plans.enumerated() { for name in plan.replaced { planOf[name] = index } }
        var outputs: [Output] = []
        var names: Set<String> = []
        var isWritten = [Bool](repeating: false, count: plans.count)
        for (file, tensors) in files {
            for tensor in tensors {
                var added: [Output] = []
                if let plan = planOf[tensor.name] {
                    guard !isWritten[plan] else { continue }
                    isWritten[plan] = true
                    added = plans[plan].entries.map { Output(entry: $0) }
                } else {
                    let entry = SafetensorsLayout.Entry(
                        name: tensor.name, type: tensor.type, shape: tensor.shape, byteCount: tensor.bytes.count)
                    added = [Output(entry: entry, original: (file, tensor))]
                }
                for output in added where !names.insert(output.entry.name).inserted {
                    throw .checkpoint(
                        file: file.path, tensor: clipped(output.entry.name),
                        problem: "is there already; expected the name of a quantised tensor to be free")
                }
                outputs += added
            }
        }
        return outputs
    }

    // MARK: Writing

    /// Quantises and writes.
    ///
    /// - Parameters:
    ///   - output: a folder that is not there yet, or is empty. It appears whole or not at all.
    ///   - onLayer: told of each layer when it is done.
    ///   - isCancelled: asked again and again, by any thread, whether to stop; not while files are flushed to the disk.
    /// - Returns: what was done; nil where it was cancelled, and then nothing is left.
    /// - Throws: ``MoEError/system(file:operation:reason:)`` where the folder cannot be written, also for want of room;
    ///   ``MoEError/weights(tensor:problem:)`` for a weight that is not finite. Nothing is left then.
    public func write(
        to output: String, onLayer: (CheckpointQuantisation.Layer) -> Void = { _ in },
        isCancelled: @escaping @Sendable () -> Bool = { false }
    ) throws(MoEError) -> CheckpointQuantisation? {
        var folder = try AtomicFolder(output)
        let shards = shards()
        let byteCount = shards.reduce(0) { $0 + $1.layout.byteCount }
        if let free = AtomicFolder.room(beside: folder.path), free < byteCount {
            throw .system(
                file: clipped(output), operation: "write",
                reason: "no room: \(byteCount) bytes are needed and \(free) are free")
        }
        var places: [String: QuantisingWork.Place] = [:]
        var written: [OutputFile] = []
        for (index, shard) in shards.enumerated() {
            let file = try folder.file(Self.name(index, of: shards.count), byteCount: shard.layout.byteCount)
            try file.write(shard.layout.header, at: 0)
            for (position, output) in shard.outputs.enumerated() {
                places[output.entry.name] = .init(file: file, offset: shard.layout.offsets[position])
            }
            written.append(file)
        }
        try folder.write("config.json", configuration())
        try folder.write(CheckpointTensors.indexName, index(shards))
        guard try copyOtherFiles(to: &folder, isCancelled), try copyTensors(to: places, isCancelled) else { return nil }

        var layers: [CheckpointQuantisation.Layer] = []
        for plan in plans {
            for (name, bytes) in plan.contents {
                if let place = places[name] { try place.file.write(bytes, at: place.offset) }
            }
            let work = QuantisingWork(plan, form: form, stored: stored, places: places, isCancelled: isCancelled)
            pool.run(work, tasks: plan.tasks.count)
            let errors = try work.errors()
            if isCancelled() { return nil }
            layers.append(CheckpointQuantisation.Layer(plan, errors))
            onLayer(layers[layers.count - 1])
        }
        for file in written { try file.flush() }
        // What could not be read again must not appear.
        let checkpoint = try MoECheckpoint(at: folder.path, pool: pool)
        for layer in checkpoint.moeLayers { _ = try checkpoint.weightSource(layer: layer) }
        try folder.commit()
        return CheckpointQuantisation(
            layers: layers, bytesBefore: files.reduce(0) { $0 + $1.tensors.reduce(0) { $0 + $1.bytes.count } },
            bytesAfter: outputs.reduce(0) { $0 + $1.entry.byteCount }, files: shards.count)
    }

    private struct Shard {
        var outputs: [Output]
        let layout: SafetensorsLayout

        init(_ outputs: [Output]) {
            self.outputs = outputs
            // What transformers asks of its files.
            layout = SafetensorsLayout(outputs.map(\.entry), metadata: ["format": "pt"])
        }
    }

    private func shards() -> [Shard] {
        var shards: [Shard] = []
        var current: [Output] = []
        var bytes = 0
        for output in outputs {
            if !current.isEmpty, bytes + output.entry.byteCount > shardByteCount {
                shards.append(Shard(current))
                (current, bytes) = ([], 0)
            }
            current.append(output)
            bytes += output.entry.byteCount
        }
        return shards + [Shard(current)]
    }

    private static func name(_ index: Int, of count: Int) -> String {
        func digits(_ number: Int) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(5 - text.count, 0)) + text
        }
        return "model-\(digits(index + 1))-of-\(digits(count)).safetensors"
    }

    private func index(_ shards: [Shard]) -> [UInt8] {
        var map: [String: JSONValue] = [:]
        var total = 0
        for (index, shard) in shards.enumerated() {
            let name = Self.name(index, of: shards.count)
            for output in shard.outputs {
                map[output.entry.name] = .string(name)
                total += output.entry.byteCount
            }
        }
        return JSONText.document(
            .object(["metadata": .object(["total_size": .integer(total)]), "weight_map": .object(map)]))
    }

    /// config.json with what it has to say of the quantised weights.
    private func configuration() -> [UInt8] {
        guard case .object(var members) = document else { return [] }
        var ignored: Set<String> = ["lm_head"]
        for output in outputs {
            guard let tensor = output.original?.tensor, tensor.shape.count == 2, tensor.type.elementType != nil,
                tensor.name.hasSuffix(".weight")
            else { continue }
            ignored.insert(String(tensor.name.dropLast(7)))
        }
        for name in ["quantization_config", "compression_config"] { members[name] = nil }
        members["quantization_config"] = stored.configuration(
            form, isMerged: plans.contains(where: \.isMerged), ignored: ignored.sorted())
        return JSONText.document(.object(members))
    }

    // MARK: Copying

    private static let pieceBytes = 1 << 22

    /// Copies a part of a file in pieces; false where it was cancelled.
    private func copy(
        _ byteCount: Int, to file: OutputFile, at offset: Int, _ isCancelled: () -> Bool,
        read: (_ offset: Int, UnsafeMutableRawBufferPointer) throws(MoEError) -> Void
    ) throws(MoEError) -> Bool {
        let piece = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(min(byteCount, Self.pieceBytes), 1), alignment: 4096)
        defer { piece.deallocate() }
        var done = 0
        while done < byteCount {
            if isCancelled() { return false }
            let part = UnsafeMutableRawBufferPointer(rebasing: piece[..<min(piece.count, byteCount - done)])
            try read(done, part)
            try file.write(UnsafeRawBufferPointer(part), at: offset + done)
            done += part.count
        }
        return true
    }

    private func copyTensors(
        to places: [String: QuantisingWork.Place], _ isCancelled: () -> Bool
    ) throws(MoEError) -> Bool {
        for output in outputs {
            guard let (file, tensor) = output.original, let place = places[tensor.name] else { continue }
            let isWhole = try copy(tensor.bytes.count, to: place.file, at: place.offset, isCancelled) {
                (offset, part) throws(MoEError) in try file.read(tensor, from: offset, into: part)
            }
            guard isWhole else { return false }
        }
        return true
    }

    /// Endings of files that hold weights, or say where they are.
    private static let weightFiles = [
        ".safetensors", ".index.json", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx",
    ]

    /// Tokenisers, licences and whatever else lies beside the weights.
    private func copyOtherFiles(
        to folder: inout AtomicFolder, _ isCancelled: () -> Bool
    ) throws(MoEError) -> Bool {
        for name in try AtomicFolder.contents(self.folder) ?? [] {
            guard name != "config.json", !name.hasPrefix("."), !Self.weightFiles.contains(where: name.hasSuffix),
                AtomicFolder.isRegularFile("\(self.folder)/\(name)")
            else { continue }
            let original = try InputFile("\(self.folder)/\(name)")
            let file = try folder.file(name, byteCount: original.byteCount)
            let isWhole = try copy(original.byteCount, to: file, at: 0, isCancelled) {
                (offset, part) throws(MoEError) in try original.read(at: offset, into: part)
            }
            guard isWhole else { return false }
            try file.flush()
        }
        return true
    }
}
