/// Device memory with one owner, for work on one stream. It goes back to the pool in the stream's order: what the
/// stream was given to do before still finds it.
struct DeviceMemory: ~Copyable, @unchecked Sendable {
    let address: UnsafeMutableRawPointer
    let byteCount: Int
    let stream: CUDAStream

    /// - Parameters:
    ///   - bytes: Uninitialised; aligned to 256 bytes.
    ///   - purpose: What an error says it was for.
    /// - Throws: ``MoEError/cuda(_:)``.
    init(bytes: Int, on stream: CUDAStream, purpose: @autoclosure () -> String) throws(MoEError) {
        address = try stream.device.memory.allocate(max(bytes, 1), on: stream, purpose: purpose())
        byteCount = bytes
        self.stream = stream
    }

    deinit { stream.device.memory.release(address, on: stream) }
}
