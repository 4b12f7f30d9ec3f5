#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// A file that appears whole or not at all: written beside its destination, flushed to the disk, then renamed over it. Until
/// then a file already there is untouched; after a failure nothing is left behind.
struct AtomicFile: ~Copyable {
    private let destination: String
    private let temporary: String
    private var descriptor: Int32

    /// - Throws: ``MoEError/system(file:operation:reason:)`` where no file can be made there or something other than a regular
    ///   file (a folder, a device) stands in its place.
    init(_ path: String) throws(MoEError) {
        guard !path.isEmpty, !path.utf8.contains(0) else {
            throw .system(file: quoted(path), operation: "create", reason: "not a path")
        }
        // A link is written through, not replaced; renaming over a device would remove it.
        var status = stat()
        var target = path
        if stat(path, &status) == 0 {
            guard status.st_mode & S_IFMT == S_IFREG else {
                throw .system(file: clipped(path), operation: "create", reason: "is there already and not a regular file")
            }
            guard let resolved = realpath(path, nil) else { throw systemFailure(path, "realpath") }
            target = String(cString: resolved)
            free(resolved)
        }
        let candidate = "\(target).\(String(UInt32.random(in: .min ... .max), radix: 16)).partial"
        let opened = retrying { open(candidate, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666) }
        guard opened >= 0 else { throw systemFailure(path, "create") }
        destination = target
        temporary = candidate
        descriptor = opened
    }

    deinit {
        if descriptor >= 0 {
            close(descriptor)
            unlink(temporary)
        }
    }

    /// Appends bytes.
    func write(_ bytes: UnsafeRawBufferPointer) throws(MoEError) {
        var done = 0
        while done < bytes.count {
            let count = min(bytes.count - done, 1 << 30)
            let put = retrying {
                #if canImport(Glibc)
                    Glibc.write(descriptor, bytes.baseAddress! + done, count)
                #elseif canImport(Musl)
                    Musl.write(descriptor, bytes.baseAddress! + done, count)
                #else
                    Darwin.write(descriptor, bytes.baseAddress! + done, count)
                #endif
            }
            guard put > 0 else { throw systemFailure(destination, "write") }
            done += put
        }
    }

    /// Puts the file in its place.
    mutating func commit() throws(MoEError) {
        guard retrying({ fsync(descriptor) }) == 0 else { throw systemFailure(destination, "fsync") }
        guard rename(temporary, destination) == 0 else { throw systemFailure(destination, "rename") }
        close(descriptor)
        descriptor = -1
        syncFolder()
    }

    /// Makes the rename itself last through a power cut. The file is whole either way, so a file system that cannot is no
    /// failure.
    private func syncFolder() {
        let folder = destination.lastIndex(of: "/").map { String(destination[...$0]) } ?? "."
        let descriptor = open(folder, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        _ = fsync(descriptor)
        close(descriptor)
    }
}
