/// A safetensors file open for reading. Opening reads and checks the header only; data is read when asked for, by any
/// number of threads.
///
/// Layout: 8 bytes of header length, little-endian; the header, JSON; the data. Source: huggingface/safetensors.
public final class SafetensorsFile: Sendable {
    /// Where it was opened.
    public var path: String { file.path }
    /// The file's own notes, from `__metadata__`.
    public var metadata: [String: String] { header.metadata }
    /// What the file holds, in the order of the data.
    public var tensors: [SafetensorsTensor] { header.tensors }

    private let file: InputFile
    private let header: SafetensorsHeader

    /// Opens a file and checks its header against its length.
    ///
    /// - Throws: ``MoEError/system(file:operation:reason:)`` where it cannot be opened;
    ///   ``MoEError/checkpoint(file:tensor:problem:)`` where it is malformed: a header longer than the file or 100 MB,
    ///   bad JSON, an unknown type, sizes that overflow or do not match, data with holes, overlaps or trailing bytes.
    public init(at path: String) throws(MoEError) {
        file = try InputFile(path)
        guard file.byteCount >= 8 else {
            throw .checkpoint(
                file: path, tensor: nil,
                problem: "is \(file.byteCount) bytes long; expected at least 8, the header's length")
        }
        guard try file.bytes(0..<8) != Array("version ".utf8) else {
            throw .checkpoint(
                file: path, tensor: nil,
                problem:
                    "is a text that begins with \"version \", as Git LFS leaves in place of files; expected the file itself, "
                    + "which `git lfs pull` brings")
        }
        let length = try file.bytes(0..<8).reversed().reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
        guard length <= UInt64(SafetensorsHeader.maximumByteCount) else {
            throw .checkpoint(
                file: path, tensor: nil,
                problem: "header of \(length) bytes; expected at most \(SafetensorsHeader.maximumByteCount)")
        }
        let start = 8 + Int(length)
        guard start <= file.byteCount else {
            throw .checkpoint(
                file: path, tensor: nil,
                problem: "header of \(length) bytes in a file of \(file.byteCount): data cut short")
        }
        header = try SafetensorsHeader(try file.bytes(8..<start), data: start..<file.byteCount, file: path)
    }

    /// The tensor of a name; nil where the file has none.
    public subscript(name: String) -> SafetensorsTensor? { header.positions[name].map { header.tensors[$0] } }

    /// The tensor of a name.
    ///
    /// - Throws: ``MoEError/checkpoint(file:tensor:problem:)`` where the file has none.
    public func tensor(_ name: String) throws(MoEError) -> SafetensorsTensor {
        guard let tensor = self[name] else {
            let held = tensors.prefix(8).map { clipped($0.name) }.joined(separator: ", ")
            let more = tensors.count > 8 ? " and \(tensors.count - 8) more" : ""
            throw .checkpoint(
                file: path, tensor: clipped(name),
                problem: "is missing; the file holds \(held.isEmpty ? "none" : held)\(more)")
        }
        return tensor
    }

    /// Fills a buffer with a part of a tensor's data, as stored.
    ///
    /// - Parameters:
    ///   - tensor: one of this file's ``tensors``.
    ///   - offset: bytes from the start of the tensor's data.
    ///   - buffer: as long as the part that is wanted.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` where the part reaches past the tensor;
    ///   ``MoEError/checkpoint(file:tensor:problem:)`` where the file was cut short since it was opened.
    public func read(
        _ tensor: SafetensorsTensor, from offset: Int = 0, into buffer: UnsafeMutableRawBufferPointer
    ) throws(MoEError) {
        let size = tensor.bytes.count
        guard offset >= 0, offset <= size, buffer.count <= size - offset else {
            throw .input(
                name: "part of \(clipped(tensor.name))", value: "\(buffer.count) bytes from \(offset)",
                expectation: "within its \(size) bytes")
        }
        try file.read(at: tensor.bytes.lowerBound + offset, into: buffer, tensor: tensor.name)
    }

    /// A tensor of F32, BF16 or F16 as activations. Every stored value is kept exactly as `Float`; as ``BFloat16`` it
    /// becomes the nearest.
    ///
    /// - Throws: ``MoEError/checkpoint(file:tensor:problem:)`` where the file has no such tensor or it is of another
    ///   type.
    public func activations<Element: ActivationElement>(
        _ name: String, as element: Element.Type = Float.self
    ) throws(MoEError) -> Tensor<Element> {
        let tensor = try tensor(name)
        guard let type = tensor.type.elementType else {
            throw .checkpoint(
                file: path, tensor: clipped(name),
                problem: "is of type \(tensor.type.rawValue); expected F32, BF16 or F16")
        }
        let elements: [Element] =
            switch type {
            case .float32: try numbers(tensor, Float.self) { Element($0) }
            case .bfloat16: try numbers(tensor, UInt16.self) { Element(Float(BFloat16(bitPattern: $0))) }
            case .float16: try numbers(tensor, UInt16.self) { Element(Half.value($0)) }
            }
        return try Tensor(shape: tensor.shape.isEmpty ? [1] : tensor.shape, elements)
    }

    /// A tensor of whole numbers (I64, I32, U8 or BOOL), in row-major order.
    ///
    /// - Throws: ``MoEError/checkpoint(file:tensor:problem:)`` where the file has no such tensor or it is of another
    ///   type.
    public func integers(_ name: String) throws(MoEError) -> [Int] {
        let tensor = try tensor(name)
        switch tensor.type {
        case .i64: return try numbers(tensor, Int64.self) { Int($0) }
        case .i32: return try numbers(tensor, Int32.self) { Int($0) }
        case .u8, .bool: return try numbers(tensor, UInt8.self) { Int($0) }
        default:
            throw .checkpoint(
                file: path, tensor: clipped(name),
                problem: "is of type \(tensor.type.rawValue); expected I64, I32, U8 or BOOL")
        }
    }

    /// Reads a piece at a time, so that beside the result there is one small buffer.
    private func numbers<Stored: BitwiseCopyable & ExpressibleByIntegerLiteral, Element>(
        _ tensor: SafetensorsTensor, _ stored: Stored.Type, _ convert: (Stored) -> Element
    ) throws(MoEError) -> [Element] {
        let count = tensor.bytes.count / MemoryLayout<Stored>.size
        try checkMemory(count * MemoryLayout<Element>.stride, "tensor \(clipped(tensor.name)) of \(path)")
        var elements: [Element] = []
        elements.reserveCapacity(count)
        var piece = [Stored](repeating: 0, count: min(count, 1 << 16))
        while elements.count < count {
            let length = min(piece.count, count - elements.count)
            var span = piece.mutableSpan
            try span.withUnsafeMutableBytes { (buffer) throws(MoEError) in
                try read(
                    tensor, from: elements.count * MemoryLayout<Stored>.size,
                    into: UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(length * MemoryLayout<Stored>.size)))
            }
            elements.append(contentsOf: piece.prefix(length).lazy.map(convert))
        }
        return elements
    }
}
