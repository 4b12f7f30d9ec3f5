/// The tensors of a checkpoint folder, in one file or in several with an index. Shards are opened when something in
/// them is wanted.
enum CheckpointTensors: Sendable {
    case single(SafetensorsFile)
    case sharded(CheckpointIndex)

    static let singleName = "model.safetensors"
    static let indexName = "model.safetensors.index.json"

    /// Opens what a folder holds: the single file's header, or the index.
    init(in folder: String) throws(MoEError) {
        let (single, index) = ("\(folder)/\(Self.singleName)", "\(folder)/\(Self.indexName)")
        if InputFile.exists(single) {
            self = .single(try SafetensorsFile(at: single))
        } else if InputFile.exists(index) {
            self = .sharded(try CheckpointIndex(at: index, folder: folder))
        } else {
            throw .checkpoint(
                file: folder, tensor: nil, problem: "expected \(Self.singleName) or \(Self.indexName), found neither")
        }
    }

    /// The file that lists the tensors, for errors about one that is missing.
    var path: String {
        switch self {
        case .single(let file): file.path
        case .sharded(let index): index.path
        }
    }

    var names: [String] {
        switch self {
        case .single(let file): file.tensors.map(\.name)
        case .sharded(let index): Array(index.shardOfTensor.keys)
        }
    }

    func contains(_ name: String) -> Bool {
        switch self {
        case .single(let file): file[name] != nil
        case .sharded(let index): index.shardOfTensor[name] != nil
        }
    }
}

/// Finds tensors for the length of one load, keeping the shards it has opened.
struct TensorFinder {
    let tensors: CheckpointTensors
    private var open: [Int: SafetensorsFile] = [:]

    init(_ tensors: CheckpointTensors) { self.tensors = tensors }

    /// Opens every file, in their order, and tells what each holds of the checkpoint.
    mutating func openAll() throws(MoEError) -> [(file: SafetensorsFile, tensors: [SafetensorsTensor])] {
        switch tensors {
        case .single(let single): return [(single, single.tensors)]
        case .sharded(let index):
            var files: [(file: SafetensorsFile, tensors: [SafetensorsTensor])] = []
            for shard in index.shards.indices {
                let file = if let opened = open[shard] { opened } else { try index.open(shard) }
                open[shard] = file
                files.append((file, file.tensors.filter { index.shardOfTensor[$0.name] == shard }))
            }
            return files
        }
    }

    /// The tensor of a name and the file that holds it.
    ///
    /// - Throws: ``MoEError/checkpoint(file:tensor:problem:)`` where there is none, or its shard is malformed.
    mutating func find(_ name: String) throws(MoEError) -> (SafetensorsFile, SafetensorsTensor) {
        let file: SafetensorsFile
        switch tensors {
        case .single(let single):
            file = single
        case .sharded(let index):
            guard let shard = index.shardOfTensor[name] else { throw missing(name) }
            if let opened = open[shard] {
                file = opened
            } else {
                file = try index.open(shard)
                open[shard] = file
            }
        }
        guard let tensor = file[name] else { throw missing(name) }
        return (file, tensor)
    }

    private func missing(_ name: String) -> MoEError {
        .checkpoint(
            file: tensors.path, tensor: clipped(name), problem: "is missing; config.json calls for it")
    }
}
