import Glibc

@testable import MoEKernel

/// A file in this process's own folder under TMPDIR, kept open and written anew for each input.
private final class ScratchFile {
    let path: String
    private let descriptor: Int32

    init(_ folder: String, _ name: String) {
        path = "\(folder)/\(name)"
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        require(descriptor >= 0, "cannot create \(path)")
    }

    /// Makes the file these bytes and then zeros up to a length.
    func write(_ bytes: [UInt8], length: Int) {
        let written =
            ftruncate(descriptor, 0) == 0
            && bytes.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) } == bytes.count
            && ftruncate(descriptor, off_t(length)) == 0
        require(written, "cannot write \(path)")
    }
}

private func makeFolder() -> String {
    let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    var template = Array("\(parent)/fuzz-XXXXXX".utf8CString)
    require(mkdtemp(&template) != nil, "cannot create a folder in \(parent)")
    return String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
}

/// The files of one folder, which is either a checkpoint in one file or one of shards.
private struct ScratchCheckpoint {
    let folder = makeFolder()
    let config: ScratchFile
    let index: ScratchFile?
    /// `model.safetensors`, or the shards `a`, `b` and `c`.
    let shards: [ScratchFile]

    init(sharded: Bool) {
        let folder = folder
        config = ScratchFile(folder, "config.json")
        index = sharded ? ScratchFile(folder, "model.safetensors.index.json") : nil
        shards = (sharded ? ["a", "b", "c"] : ["model.safetensors"]).map { ScratchFile(folder, $0) }
    }
}

private nonisolated(unsafe) let plain = ScratchFile(makeFolder(), "f")
private nonisolated(unsafe) let single = ScratchCheckpoint(sharded: false)
private nonisolated(unsafe) let sharded = ScratchCheckpoint(sharded: true)

/// More than this of one tensor is not read.
private let maximumRead = 1 << 20

/// Opens a safetensors file and reads everything in it every way.
func readFile(_ bytes: [UInt8]) {
    plain.write(bytes, length: bytes.count)
    guard let file = attempt({ () throws(MoEError) in try SafetensorsFile(at: plain.path) }) else { return }
    for tensor in file.tensors {
        var buffer = [UInt8](repeating: 0, count: tensor.bytes.count)
        let read: Void? = attempt { () throws(MoEError) in
            var span = buffer.mutableSpan
            try span.withUnsafeMutableBytes { (buffer) throws(MoEError) in try file.read(tensor, into: buffer) }
        }
        require(read != nil && buffer.elementsEqual(bytes[tensor.bytes]), "not the tensor's bytes")
        _ = attempt { () throws(MoEError) in try file.activations(tensor.name) }
        _ = attempt { () throws(MoEError) in try file.activations(tensor.name, as: BFloat16.self) }
        _ = attempt { () throws(MoEError) in try file.integers(tensor.name) }
    }
    _ = attempt { () throws(MoEError) in try file.tensor("\0") }
}

/// Opens a checkpoint and reads rows of its first layers' weights.
func readCheckpoint(_ parts: [[UInt8]], sharded isSharded: Bool) {
    var parts = parts[...]
    let checkpoint = isSharded ? sharded : single
    func next() -> [UInt8] { parts.popFirst() ?? [] }
    let config = next()
    checkpoint.config.write(config, length: config.count)
    if let file = checkpoint.index {
        let index = next()
        file.write(index, length: index.count)
    }
    for file in checkpoint.shards {
        let (bytes, length) = shard(next())
        file.write(bytes, length: length)
    }
    _ = attempt { () throws(MoEError) in try CheckpointSummary(of: checkpoint.folder) }
    guard let model = attempt({ () throws(MoEError) in try MoECheckpoint(at: checkpoint.folder) }) else { return }
    for layer in model.moeLayers.prefix(3) + model.moeLayers.suffix(1) {
        guard let configuration = attempt({ () throws(MoEError) in try model.configuration(layer: layer) }),
            let source = attempt({ () throws(MoEError) in try model.weightSource(layer: layer) })
        else { continue }
        var names: [WeightName] = [
            .router, .routerBias, .selectionBias, .expertScale, .routerInputScale, .outputBias, .latentIn, .latentOut,
            .sharedGate, .expert(configuration.experts, .up), .expertBias(0, .up),
        ]
        for projection in Projection.allCases {
            names.append(.shared(projection))
            for expert in [0, configuration.experts - 1] { names.append(.expert(expert, projection)) }
        }
        for name in names { readRows(source, name, configuration.shape(of: name)) }
        let table = configuration.shape(of: .expertTable)
        if table.rows > 0, table.rows * table.columns <= maximumRead {
            var indices = [Int32](repeating: 0, count: table.rows * table.columns)
            _ = indices.withUnsafeMutableBufferPointer { indices in
                attempt { () throws(MoEError) in try source.readIndices(.expertTable, into: indices) }
            }
        }
    }
}

private func readRows(_ source: any WeightSource, _ name: WeightName, _ shape: (rows: Int, columns: Int)) {
    require(source.describe(name).utf8.count < 8192, "a description of \(source.describe(name).utf8.count) bytes")
    let format = source.format(of: name)
    let (rows, columns) = if case .transposed = format { (shape.columns, shape.rows) } else { shape }
    guard columns > 0, columns <= maximumRead else { return }
    var buffer = [UInt8](repeating: 0, count: format.rowBytes(columns))
    var scales: [Float]?
    var zeros: [UInt8]?
    if case .quantised(_, let group, let zeroPoints) = format {
        scales = Array(repeating: 0, count: (columns + group - 1) / group)
        if zeroPoints { zeros = Array(repeating: 0, count: (columns + group - 1) / group) }
    }
    for row in [0, rows - 1, rows] where row >= 0 {
        var read: Void? = attempt { () throws(MoEError) in
            var span = buffer.mutableSpan
            try span.withUnsafeMutableBytes { (buffer) throws(MoEError) in
                try source.read(name, rows: row..<row + 1, into: buffer)
            }
        }
        if read != nil, scales != nil {
            read = attempt { () throws(MoEError) in
                try scales!.withUnsafeMutableBufferPointer { (scales) throws(MoEError) in
                    try source.readScales(name, rows: row..<row + 1, into: scales)
                }
            }
        }
        if read != nil, zeros != nil {
            read = attempt { () throws(MoEError) in
                try zeros!.withUnsafeMutableBufferPointer { (zeros) throws(MoEError) in
                    try source.readZeroPoints(name, rows: row..<row + 1, into: zeros)
                }
            }
        }
        require(row < rows || read == nil, "a row past the last")
        require(row == rows || read != nil || name != .router, "a row of the router that cannot be read")
    }
}

/// A safetensors file without a fault in its sizes from a list of tensors, a line each: type, shape, name, as in
/// `F32 6,36 model.layers.2.mlp.gate.weight`. Lines that say something else are passed over. Names stand in the header
/// as they are, escapes and all; the data is zero.
private func shard(_ list: [UInt8]) -> (bytes: [UInt8], length: Int) {
    var header: [UInt8] = Array("{".utf8)
    var offset = 0
    for line in list.split(separator: UInt8(ascii: "\n")).prefix(1000) {
        let words = line.split(separator: UInt8(ascii: " "), maxSplits: 2, omittingEmptySubsequences: false)
        guard words.count == 3, let type = SafetensorsType(rawValue: String(decoding: words[0], as: UTF8.self)) else {
            continue
        }
        let shape = words[1].split(separator: UInt8(ascii: ",")).compactMap { Int(String(decoding: $0, as: UTF8.self)) }
        guard shape.allSatisfy({ $0 >= 0 }), let size = type.byteCount(shape: shape), size <= maximumRead else {
            continue
        }
        let extents = shape.map(String.init).joined(separator: ",")
        header += Array((header.count == 1 ? "\"" : ",\"").utf8) + words[2]
        header += Array(
            "\":{\"dtype\":\"\(type.rawValue)\",\"shape\":[\(extents)],\"data_offsets\":[\(offset),\(offset + size)]}"
                .utf8)
        offset += size
    }
    header += Array("}".utf8)
    let length = (0..<8).map { UInt8(truncatingIfNeeded: header.count >> ($0 * 8)) }
    return (length + header, 8 + header.count + offset)
}
