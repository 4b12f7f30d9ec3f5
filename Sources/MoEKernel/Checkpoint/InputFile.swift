#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// A regular file open for reading at any position, by any number of threads.
///
/// Read with `pread`: a mapped file that someone shortens kills the process, this reports it.
final class InputFile: Sendable {
    let path: String
    /// Length when it was opened.
    let byteCount: Int
    private let descriptor: Int32

    /// Opens a file, through links.
    ///
    /// - Throws: ``MoEError/system(file:operation:reason:)`` where it cannot be opened,
    ///   ``MoEError/checkpoint(file:tensor:problem:)`` where it is no regular file.
    init(_ path: String) throws(MoEError) {
        guard !path.utf8.contains(0) else {
            throw .checkpoint(file: quoted(path), tensor: nil, problem: "a path cannot contain a NUL character")
        }
        // Opening a pipe for reading waits for a writer, unless told not to.
        let descriptor = retrying { open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
        guard descriptor >= 0 else { throw systemFailure(path, "open") }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            let failure = systemFailure(path, "fstat")
            close(descriptor)
            throw failure
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw .checkpoint(file: path, tensor: nil, problem: "is not a regular file")
        }
        self.path = path
        self.descriptor = descriptor
        self.byteCount = Int(status.st_size)
    }

    deinit { close(descriptor) }

    /// Whether there is anything at a path, a broken link included.
    static func exists(_ path: String) -> Bool {
        var status = stat()
        return !path.utf8.contains(0) && lstat(path, &status) == 0
    }

    /// Fills a buffer with the bytes from `offset` on.
    ///
    /// - Throws: ``MoEError/checkpoint(file:tensor:problem:)`` where the file ends before that.
    func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer, tensor: String? = nil) throws(MoEError) {
        var done = 0
        while done < buffer.count {
            // Some systems refuse to read 2 GiB at once.
            let count = min(buffer.count - done, 1 << 30)
            let got = retrying { pread(descriptor, buffer.baseAddress! + done, count, off_t(offset + done)) }
            if got < 0 { throw systemFailure(path, "pread") }
            if got == 0 {
                throw .checkpoint(
                    file: path, tensor: tensor.map(clipped),
                    problem: "data cut short: the file ends at byte \(offset + done), \(buffer.count - done) bytes early")
            }
            done += got
        }
    }

    /// A part of the file in memory. The range has been checked against ``byteCount``, so no more is allocated than there is.
    func bytes(_ range: Range<Int>) throws(MoEError) -> [UInt8] {
        try checkMemory(range.count, "reading \(path)")
        var bytes = [UInt8](repeating: 0, count: range.count)
        var span = bytes.mutableSpan
        try span.withUnsafeMutableBytes { (buffer) throws(MoEError) in try read(at: range.lowerBound, into: buffer) }
        return bytes
    }

    /// The whole of a file that has no business being large.
    func contents(limit: Int) throws(MoEError) -> [UInt8] {
        guard byteCount <= limit else {
            throw .checkpoint(file: path, tensor: nil, problem: "is \(byteCount) bytes long; expected at most \(limit)")
        }
        return try bytes(0..<byteCount)
    }
}

/// Repeats a call that a signal interrupted.
func retrying<Result: SignedInteger>(_ call: () -> Result) -> Result {
    while true {
        let result = call()
        if result != -1 || errno != EINTR { return result }
    }
}

/// The error for a call that has just failed.
func systemFailure(_ file: String, _ operation: String) -> MoEError {
    .system(file: clipped(file), operation: operation, reason: String(cString: strerror(errno)))
}

/// Asks for memory and gives it back: Swift's arrays end the process when there is none.
func checkMemory(_ bytes: Int, _ purpose: String) throws(MoEError) {
    guard bytes >= 1 << 20 else { return }
    guard let probe = malloc(bytes) else { throw .outOfMemory(bytes: bytes, purpose: purpose) }
    free(probe)
}
