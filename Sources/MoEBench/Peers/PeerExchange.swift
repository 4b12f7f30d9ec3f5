import MoEKernel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// The folder in which one workload is handed to peers, and they hand back what they computed.
///
/// `task.json`; `weights.safetensors` with router [E, H], gate and up [E, F, H], down [E, H, F] and the dense layer's iso_gate, iso_up
/// [k·F, H] and iso_down [H, k·F]; `inputs.safetensors` with x [batches, T, H]. Weights are as the workload stores them: numbers, or codes
/// as bytes, [E, rows, bytes of a row], beside scales_gate and so on, [E, rows, groups].
struct PeerExchange {
    let folder: String
    private let isKept: Bool

    static let weightsFile = "weights.safetensors"

    /// A new folder: a temporary one, or in `keep`, which then stays.
    init(keep: String?, name: String) throws(MoEError) {
        isKept = keep != nil
        let parent = keep.map { URL(filePath: $0) } ?? FileManager.default.temporaryDirectory
        let safe = String(name.map { $0.isLetter || $0.isNumber ? $0 : "-" })
        let unique = String(UInt64.random(in: .min ... .max), radix: 16)
        let url = parent.appending(path: keep == nil ? "moe-bench-peers-\(unique)" : safe)
        folder = url.path
        do {
            if isKept {
                try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
            } else {
                try FileManager.default.createDirectory(
                    at: url, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
            }
        } catch {
            throw .system(file: folder, operation: "create", reason: "\(error)")
        }
    }

    /// A file of the folder.
    func file(_ name: String) -> String { folder + "/" + name }

    /// Deletes what is not to be kept.
    func remove() {
        if !isKept { try? FileManager.default.removeItem(atPath: folder) }
    }

    /// Deletes the weights, which are most of it and which nobody reads after a start.
    func removeWeights() {
        if !isKept { try? FileManager.default.removeItem(atPath: file(Self.weightsFile)) }
    }

    /// Writes everything that a peer reads.
    ///
    /// - Parameter iso: The dense layer's configuration.
    func write(
        _ workload: Workload, _ configuration: MoEConfiguration, iso: MoEConfiguration, inputs: Inputs, threads: Int,
        isoCopies: Int, interruption: Interruption
    ) throws(MoEError) {
        let task = PeerTask(
            tokens: workload.tokens, hidden: workload.hidden, expertHidden: workload.expertHidden,
            experts: workload.experts, topK: workload.topK, dtype: workload.dtype, threads: threads,
            isoCopies: isoCopies)
        try ResultsFile.write({ try JSONEncoder().encode(task) }, to: file("task.json"))

        var x = SafetensorsWriter()
        try x.add(
            "x", shape: [inputs.batches.count, inputs.tokens, inputs.hidden], inputs.batches.flatMap { $0 })
        try x.write(to: file("inputs.safetensors"))

        var writer = SafetensorsWriter()
        let weights = workload.weights
        let source = WeightFile(try weights.source(configuration), configuration, interruption)
        try source.add("router", [.router], stacked: false, to: &writer)
        for projection in configuration.expert.projections {
            let names = (0..<configuration.experts).map { WeightName.expert($0, projection) }
            try source.add(projection.rawValue, names, stacked: true, to: &writer)
        }
        let dense = WeightFile(try weights.source(iso), iso, interruption)
        for projection in iso.expert.projections {
            try dense.add("iso_\(projection.rawValue)", [.expert(0, projection)], stacked: false, to: &writer)
        }
        try writer.write(to: file(Self.weightsFile))
    }

    /// What a peer computed, [calls, tokens, hidden]; removes the file, so that nobody takes it for an answer to another request.
    func take(_ name: String, count: Int) throws(PeerFailure) -> [Float] {
        let path = file(name)
        defer { try? FileManager.default.removeItem(atPath: path) }
        guard let data = try? Data(contentsOf: URL(filePath: path)) else { throw .rubbish("it wrote no output") }
        guard data.count == 4 * count else {
            throw .wrongResult(WrongResult("output of \(data.count) bytes, expected \(4 * count)"))
        }
        return data.withUnsafeBytes { bytes in
            (0..<count).map { bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
        }
    }
}

/// A layer's weights as tensors of a file, made row by row while it is written.
private struct WeightFile {
    private let source: any WeightSource
    private let configuration: MoEConfiguration
    private let interruption: Interruption
    /// Bytes that are made at a time.
    private static let piece = 1 << 22

    init(_ source: any WeightSource, _ configuration: MoEConfiguration, _ interruption: Interruption) {
        self.source = source
        self.configuration = configuration
        self.interruption = interruption
    }

    /// Adds matrices of one shape as a tensor.
    ///
    /// - Parameter stacked: As [matrices, rows, columns]; else there is one, [rows, columns].
    func add(
        _ tensor: String, _ names: [WeightName], stacked: Bool, to writer: inout SafetensorsWriter
    ) throws(MoEError) {
        let (rows, columns) = configuration.shape(of: names[0])
        let format = source.format(of: names[0])
        let rowBytes = format.rowBytes(columns)
        let matrices = stacked ? [names.count] : []
        let (source, interruption) = (source, interruption)
        let chunk = max(1, Self.piece / max(rowBytes, 1))
        func type() throws(MoEError) -> (SafetensorsType, columns: Int) {
            switch format {
            case .plain(let type): (SafetensorsType(type), columns)
            case .quantised: (.u8, rowBytes)
            case .transposed:
                throw .weights(tensor: "\(names[0])", problem: "is transposed; expected [outputs, inputs]")
            }
        }
        let stored = try type()
        try writer.add(
            tensor, stored.0, shape: matrices + [rows, stored.columns], byteCount: names.count * rows * rowBytes
        ) { (consume: (UnsafeRawBufferPointer) throws(MoEError) -> Void) throws(MoEError) in
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk * rowBytes, alignment: 64)
            defer { buffer.deallocate() }
            for name in names {
                for first in stride(from: 0, to: rows, by: chunk) {
                    if interruption.isRequested { throw .unavailable(what: tensor, reason: "interrupted") }
                    let part = first..<min(first + chunk, rows)
                    let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[..<(part.count * rowBytes)])
                    try source.read(name, rows: part, into: piece)
                    try consume(UnsafeRawBufferPointer(piece))
                }
            }
        }
        guard case .quantised(_, let group, _) = format else { return }
        let groups = (columns + group - 1) / group
        try writer.add(
            "scales_" + tensor, .f32, shape: matrices + [rows, groups], byteCount: names.count * rows * groups * 4
        ) { (consume: (UnsafeRawBufferPointer) throws(MoEError) -> Void) throws(MoEError) in
            let buffer = UnsafeMutableBufferPointer<Float>.allocate(capacity: rows * groups)
            defer { buffer.deallocate() }
            for name in names {
                try source.readScales(name, rows: 0..<rows, into: buffer)
                try consume(UnsafeRawBufferPointer(buffer))
            }
        }
    }
}
