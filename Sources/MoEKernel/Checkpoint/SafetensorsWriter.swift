/// Collects named tensors and writes them as one safetensors file, whole or not at all.
///
/// ```swift
/// var writer = SafetensorsWriter()
/// try writer.add("y", output.y)
/// try writer.add("topk_indices", shape: [tokens, topK], output.routing.expertIndices)
/// try writer.write(to: "output.safetensors")
/// ```
public struct SafetensorsWriter: Sendable {
    private struct Entry: Sendable {
        let tensor: SafetensorsLayout.Entry
        /// Lends the data to a function, in as many pieces as it likes.
        let data: @Sendable (_ consume: (UnsafeRawBufferPointer) throws(MoEError) -> Void) throws(MoEError) -> Void
    }

    private var entries: [Entry] = []
    private var names: Set<String> = []
    private let metadata: [String: String]

    /// - Parameter metadata: notes kept in the header's `__metadata__`.
    public init(metadata: [String: String] = [:]) { self.metadata = metadata }

    /// Adds activations: F32 from `Float`, BF16 from ``BFloat16``.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` where the name is taken.
    public mutating func add<Element: ActivationElement>(_ name: String, _ tensor: Tensor<Element>) throws(MoEError) {
        try add(name, SafetensorsType(Element.elementType), shape: tensor.shape, numbers: tensor.elements)
    }

    /// Adds fp32 numbers, row-major, as F32.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` where the name is taken or the shape does not fit.
    public mutating func add(_ name: String, shape: [Int], _ numbers: [Float]) throws(MoEError) {
        try add(name, .f32, shape: shape, numbers: numbers)
    }

    /// Adds 32-bit whole numbers, row-major, as I32.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` where the name is taken or the shape does not fit.
    public mutating func add(_ name: String, shape: [Int], _ numbers: [Int32]) throws(MoEError) {
        try add(name, .i32, shape: shape, numbers: numbers)
    }

    /// Adds 64-bit whole numbers, row-major, as I64.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` where the name is taken or the shape does not fit.
    public mutating func add(_ name: String, shape: [Int], _ numbers: [Int64]) throws(MoEError) {
        try add(name, .i64, shape: shape, numbers: numbers)
    }

    /// Adds data of any type as it is to be stored: row-major, little-endian.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` where the name is taken or the shape does not fit.
    public mutating func add(_ name: String, _ type: SafetensorsType, shape: [Int], bytes: [UInt8]) throws(MoEError) {
        try add(name, type, shape: shape, numbers: bytes)
    }

    private mutating func add<Number: BitwiseCopyable & Sendable>(
        _ name: String, _ type: SafetensorsType, shape: [Int], numbers: [Number]
    ) throws(MoEError) {
        let byteCount = numbers.count * MemoryLayout<Number>.stride
        try add(name, type, shape: shape, byteCount: byteCount) { (consume) throws(MoEError) in
            try numbers.span.bytes.withUnsafeBytes { (bytes) throws(MoEError) in try consume(bytes) }
        }
    }

    /// Adds a tensor whose data is made while the file is written, in pieces that together are `byteCount` long.
    package mutating func add(
        _ name: String, _ type: SafetensorsType, shape: [Int], byteCount: Int,
        data:
            @escaping @Sendable (_ consume: (UnsafeRawBufferPointer) throws(MoEError) -> Void) throws(MoEError) -> Void
    ) throws(MoEError) {
        guard name != "__metadata__", !names.contains(name) else {
            throw .input(name: "tensor name", value: quoted(name), expectation: "one not in use")
        }
        guard shape.allSatisfy({ $0 >= 0 }), type.byteCount(shape: shape) == byteCount else {
            throw .input(
                name: "tensor \(clipped(name))", value: "\(byteCount) bytes",
                expectation: "as many as shape \(shape) of \(type.rawValue) takes")
        }
        names.insert(name)
        entries.append(
            Entry(
                tensor: SafetensorsLayout.Entry(name: name, type: type, shape: shape, byteCount: byteCount), data: data)
        )
    }

    /// Writes the file. It appears whole, in place of one already there, or not at all.
    ///
    /// - Throws: ``MoEError/system(file:operation:reason:)`` where it cannot be written; what was there is then still
    ///   there.
    public func write(to path: String) throws(MoEError) {
        let layout = SafetensorsLayout(entries.map(\.tensor), metadata: metadata)
        var file = try AtomicFile(path)
        try layout.header.span.bytes.withUnsafeBytes { (bytes) throws(MoEError) in try file.write(bytes) }
        for position in layout.order {
            let entry = entries[position]
            var written = 0
            try entry.data { (bytes) throws(MoEError) in
                written += bytes.count
                try file.write(bytes)
            }
            guard written == entry.tensor.byteCount else {
                throw .input(
                    name: "tensor \(clipped(entry.tensor.name))", value: "\(written) bytes",
                    expectation: "\(entry.tensor.byteCount)")
            }
        }
        try file.commit()
    }
}
