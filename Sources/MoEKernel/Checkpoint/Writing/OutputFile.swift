#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// A new file of a known length, written at any position by any number of threads.
final class OutputFile: Sendable {
    let path: String
    private let descriptor: Int32

    /// - Throws: ``MoEError/system(file:operation:reason:)`` where there is such a file already, or none can be made.
    init(_ path: String, byteCount: Int) throws(MoEError) {
        let descriptor = retrying { open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666) }
        guard descriptor >= 0 else { throw systemFailure(path, "create") }
        guard retrying({ ftruncate(descriptor, off_t(byteCount)) }) == 0 else {
            let failure = systemFailure(path, "make \(byteCount) bytes long")
            close(descriptor)
            throw failure
        }
        self.path = path
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// Writes bytes from `offset` on.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(MoEError) {
        var done = 0
        while done < bytes.count {
            let count = min(bytes.count - done, 1 << 30)
            let put = retrying { pwrite(descriptor, bytes.baseAddress! + done, count, off_t(offset + done)) }
            guard put > 0 else { throw systemFailure(path, "write") }
            done += put
        }
    }

    func write(_ bytes: [UInt8], at offset: Int) throws(MoEError) {
        try bytes.span.bytes.withUnsafeBytes { (buffer) throws(MoEError) in try write(buffer, at: offset) }
    }

    /// Returns once the disk has it all.
    func flush() throws(MoEError) {
        guard retrying({ fsync(descriptor) }) == 0 else { throw systemFailure(path, "fsync") }
    }
}
