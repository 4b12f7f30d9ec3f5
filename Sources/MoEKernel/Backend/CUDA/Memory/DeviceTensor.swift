/// A dense row-major array in a device's memory: its own, or somebody else's.
///
/// ```swift
/// let stream = try CUDAStream(on: .numbered(0))
/// let x = try DeviceTensor(hostTensor, on: stream)
/// ```
///
/// Work is in the order of a stream. Memory of the tensor's own belongs to the stream it was made on: other streams
/// wait for that one before they use it, and that one for them before the tensor goes.
public final class DeviceTensor: @unchecked Sendable {
    /// Extent of each dimension, outermost first.
    public let shape: [Int]
    /// How a number is stored.
    public let elementType: ElementType
    /// Where it lies.
    public let device: CUDADevice
    /// The first element, an address of the device's.
    public let address: UnsafeMutableRawPointer

    /// nil: borrowed.
    private let memory: DeviceMemory?
    private let lender: AnyObject?

    /// Kernels read and write 16 bytes at once.
    static let alignment = 16

    /// A tensor of its own memory, uninitialised.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for a shape without dimensions or with a negative extent,
    ///   ``MoEError/cuda(_:)`` for one too large or when there is no memory.
    public init(shape: [Int], _ elementType: ElementType, on stream: CUDAStream) throws(MoEError) {
        let bytes = try Self.byteCount(shape, elementType)
        let memory = try DeviceMemory(bytes: bytes, on: stream, purpose: "a tensor \(shape) of \(elementType.rawValue)")
        self.shape = shape
        self.elementType = elementType
        device = stream.device
        address = memory.address
        self.memory = consume memory
        lender = nil
    }

    /// A copy of a tensor of the host's. Returns when the host's memory has been read.
    ///
    /// - Throws: As ``init(shape:_:on:)``.
    public convenience init<Element>(_ tensor: Tensor<Element>, on stream: CUDAStream) throws(MoEError) {
        try self.init(shape: tensor.shape, Element.elementType, on: stream)
        try copy(from: tensor, on: stream)
    }

    /// A tensor over memory that somebody else owns.
    ///
    /// - Parameters:
    ///   - address: Of the device's memory, a multiple of 16.
    ///   - shape: Sizes, the last one contiguous in memory.
    ///   - elementType: Of every element.
    ///   - device: Whose memory it is.
    ///   - lender: Kept as long as the tensor; nil where the caller sees to it that the memory lives.
    /// - Throws: ``MoEError/input(name:value:expectation:)``, ``MoEError/cuda(_:)`` for a shape too large.
    public init(
        borrowing address: UnsafeMutableRawPointer, shape: [Int], _ elementType: ElementType, on device: CUDADevice,
        lender: AnyObject? = nil
    ) throws(MoEError) {
        _ = try Self.byteCount(shape, elementType)
        guard UInt(bitPattern: address) % UInt(Self.alignment) == 0 else {
            throw .input(
                name: "address of a tensor \(shape)", value: "\(address)",
                expectation: "a multiple of \(Self.alignment)")
        }
        self.shape = shape
        self.elementType = elementType
        self.device = device
        self.address = address
        memory = nil
        self.lender = lender
    }

    /// Whether the memory is the tensor's own.
    public var isOwned: Bool {
        switch memory {
        case .some: true
        case .none: false
        }
    }
    public var count: Int { shape.reduce(1, *) }
    public var byteCount: Int { count * elementType.byteCount }
    /// The extent of the last dimension.
    public var columns: Int { shape[shape.count - 1] }
    /// The product of all extents but the last.
    public var rows: Int { shape.dropLast().reduce(1, *) }

    /// Overwrites it with a tensor of the host's. Returns when the host's memory has been read.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` when shape, type or device differ, ``MoEError/cuda(_:)``.
    public func copy<Element>(from tensor: Tensor<Element>, on stream: CUDAStream) throws(MoEError) {
        try stream.check(device, "tensor")
        try check(Element.elementType, tensor.shape, "tensor to copy from")
        try tensor.span.withUnsafeBytes { bytes throws(MoEError) in
            try stream.copyToDevice(address, from: bytes)
            // Until then the host's memory may be read.
            try stream.synchronize()
        }
    }

    /// A copy in the host's memory, after what `stream` was given to do before.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` when type or device differ, ``MoEError/cuda(_:)``.
    public func tensor<Element>(of _: Element.Type, on stream: CUDAStream) throws(MoEError) -> Tensor<Element> {
        try stream.check(device, "tensor")
        try check(Element.elementType, shape, "element type asked for")
        var tensor = try Tensor<Element>(shape: shape, repeating: Element(0))
        var span = tensor.mutableSpan
        try span.withUnsafeMutableBytes { bytes throws(MoEError) in
            try stream.copyToHost(bytes, from: address)
            try stream.synchronize()
        }
        return tensor
    }

    /// Sets every byte.
    func fill(byte: UInt8, on stream: CUDAStream) throws(MoEError) {
        try stream.check(device, "tensor")
        try stream.fill(address, byte: byte, bytes: byteCount)
    }

    private func check(_ type: ElementType, _ other: [Int], _ name: String) throws(MoEError) {
        guard type == elementType, other == shape else {
            throw .input(
                name: name, value: "\(type.rawValue) \(other)", expectation: "\(elementType.rawValue) \(shape)")
        }
    }

    /// Kernels take extents as 32 bits and compute offsets with 64.
    private static func byteCount(_ shape: [Int], _ type: ElementType) throws(MoEError) -> Int {
        guard !shape.isEmpty, shape.allSatisfy({ $0 >= 0 }) else {
            throw .input(name: "shape", value: "\(shape)", expectation: "one or more extents of 0 or more")
        }
        for extent in shape { _ = try kernelInteger(extent, "an extent of shape \(shape)") }
        return try deviceBytes(shape, of: type.byteCount, "a tensor \(shape) of \(type.rawValue)")
    }
}

/// What a harness needs.
extension DeviceTensor {
    /// Sets every bit, which is NaN in every type.
    package func poison(on stream: CUDAStream) throws(MoEError) { try fill(byte: 0xff, on: stream) }

    /// Overwrites it with numbers, rounded to its type. Returns when the host's memory has been read.
    package func copy(fromFloats values: [Float], on stream: CUDAStream) throws(MoEError) {
        guard values.count == count else {
            throw .input(name: "values", value: "\(values.count)", expectation: "\(count)")
        }
        var bytes = [UInt8](repeating: 0, count: byteCount)
        bytes.withUnsafeMutableBytes { if let base = $0.baseAddress { elementType.store(values[...], to: base) } }
        try bytes.span.withUnsafeBytes { bytes throws(MoEError) in
            try stream.copyToDevice(address, from: bytes)
            try stream.synchronize()
        }
    }

    /// The numbers, after what `stream` was given to do before.
    package func floats(on stream: CUDAStream) throws(MoEError) -> [Float] {
        var bytes = [UInt8](repeating: 0, count: byteCount)
        var span = bytes.mutableSpan
        try span.withUnsafeMutableBytes { bytes throws(MoEError) in
            try stream.copyToHost(bytes, from: address)
            try stream.synchronize()
        }
        return bytes.withUnsafeBytes { bytes in
            bytes.baseAddress.map { base in (0..<count).map { elementType.value(base, $0) } } ?? []
        }
    }
}

extension ElementType {
    /// The nearest number of this type.
    package func rounded(_ value: Float) -> Float {
        switch self {
        case .float32: value
        case .bfloat16: Float(BFloat16(value))
        case .float16: Half.value(Half.bits(value))
        }
    }
}
