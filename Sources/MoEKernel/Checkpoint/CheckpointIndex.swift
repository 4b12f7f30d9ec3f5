/// `model.safetensors.index.json`: which shard holds which tensor.
struct CheckpointIndex: Sendable {
    /// The most bytes an index may have, as many as a header.
    static let maximumByteCount = SafetensorsHeader.maximumByteCount

    let path: String
    /// Position in ``shards`` of each tensor's shard.
    let shardOfTensor: [String: Int]
    /// File names, relative to the folder.
    let shards: [String]
    /// Of each shard, what the index puts there.
    private let tensorsOfShard: [[String]]
    private let folder: String

    /// - Throws: ``MoEError/checkpoint(file:tensor:problem:)`` where the index is malformed or names a file outside the
    ///   folder.
    init(at path: String, folder: String) throws(MoEError) {
        try self.init(try InputFile(path).contents(limit: Self.maximumByteCount), path: path, folder: folder)
    }

    /// - Parameters:
    ///   - bytes: what the file at `path` holds.
    init(_ bytes: [UInt8], path: String, folder: String) throws(MoEError) {
        var reader = JSONReader(bytes, file: path, subject: "index")
        var map: [String: Int]?
        var shards: [String] = []
        var tensorsOfShard: [[String]] = []
        var others: Set<String> = []
        try reader.beginObject()
        while let key = try reader.nextKey() {
            if key == "weight_map" {
                guard map == nil else { throw reader.duplicate(key) }
                map = try Self.readMap(&reader, &shards, &tensorsOfShard, file: path)
            } else {
                guard others.insert(key).inserted else { throw reader.duplicate(key) }
                try reader.skipValue()
            }
        }
        try reader.end()
        guard let map, !map.isEmpty else {
            throw .checkpoint(
                file: path, tensor: nil,
                problem: "weight_map \(map == nil ? "is missing" : "is empty"); expected an object from tensor to shard"
            )
        }
        (self.path, self.folder, self.shards, shardOfTensor) = (path, folder, shards, map)
        self.tensorsOfShard = tensorsOfShard
    }

    private static func readMap(
        _ reader: inout JSONReader, _ shards: inout [String], _ tensorsOfShard: inout [[String]], file: String
    ) throws(MoEError) -> [String: Int] {
        var map: [String: Int] = [:]
        var positions: [String: Int] = [:]
        guard try reader.peek() == .object else { throw reader.failure("weight_map has to be an object") }
        try reader.beginObject()
        while let tensor = try reader.nextKey() {
            guard try reader.peek() == .string else {
                throw .checkpoint(
                    file: file, tensor: clipped(tensor),
                    problem: "its weight_map entry has to be a string, a file's name")
            }
            let shard = try reader.readString()
            let position: Int
            if let known = positions[shard] {
                position = known
            } else {
                try check(shard, of: tensor, file: file)
                position = shards.count
                positions[shard] = position
                shards.append(shard)
                tensorsOfShard.append([])
            }
            tensorsOfShard[position].append(tensor)
            guard map.updateValue(position, forKey: tensor) == nil else { throw reader.duplicate(tensor) }
        }
        return map
    }

    /// A shard lies in the checkpoint's folder: an index from a stranger must not open other files.
    private static func check(_ shard: String, of tensor: String, file: String) throws(MoEError) {
        let problem: String? =
            if shard.isEmpty {
                "is empty"
            } else if shard.utf8.contains(0) {
                "contains a NUL character"
            } else if shard.hasPrefix("/") {
                "is an absolute path"
            } else if shard.split(separator: "/").contains("..") {
                "leaves the folder by .."
            } else {
                nil
            }
        guard let problem else { return }
        throw .checkpoint(
            file: file, tensor: clipped(tensor),
            problem: "its shard's name, \(quoted(shard)), \(problem); expected a file in the folder")
    }

    /// Opens a shard, following links, and checks it against the index: it has to hold what the index says, and nothing
    /// that the index puts elsewhere.
    func open(_ shard: Int) throws(MoEError) -> SafetensorsFile {
        let file = try SafetensorsFile(at: "\(folder)/\(shards[shard])")
        for tensor in file.tensors {
            if let other = shardOfTensor[tensor.name], other != shard {
                throw .checkpoint(
                    file: file.path, tensor: clipped(tensor.name),
                    problem: "is here, but the index puts it in \(quoted(shards[other]))")
            }
        }
        for tensor in tensorsOfShard[shard] where file[tensor] == nil {
            throw .checkpoint(
                file: file.path, tensor: clipped(tensor), problem: "is missing; \(path) says it is here")
        }
        return file
    }
}
