#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// A folder that appears whole or not at all: its files are written in a folder beside its destination, which is renamed at the
/// end. After a failure nothing is left behind.
struct AtomicFolder: ~Copyable {
    /// Where the files are until ``commit()``.
    let path: String
    private let destination: String
    private var names: [String] = []
    private var isCommitted = false

    /// - Throws: ``MoEError/system(file:operation:reason:)`` where no folder can be made there, or where there is something other
    ///   than an empty folder.
    init(_ path: String) throws(MoEError) {
        guard !path.isEmpty, !path.utf8.contains(0) else {
            throw .system(file: quoted(path), operation: "create", reason: "not a path")
        }
        var target = CheckpointModel.cleaned(path)
        if InputFile.exists(target) {
            guard try Self.contents(target)?.isEmpty == true, let resolved = realpath(target, nil) else {
                throw .system(
                    file: clipped(path), operation: "create", reason: "is there already and not an empty folder")
            }
            target = String(cString: resolved)
            free(resolved)
        }
        let candidate = "\(target).\(String(UInt32.random(in: .min ... .max), radix: 16)).partial"
        guard mkdir(candidate, 0o777) == 0 else { throw systemFailure(path, "create") }
        destination = target
        self.path = candidate
    }

    deinit {
        guard !isCommitted else { return }
        for name in names { unlink("\(path)/\(name)") }
        rmdir(path)
    }

    /// A new file in the folder.
    mutating func file(_ name: String, byteCount: Int) throws(MoEError) -> OutputFile {
        // Listed first: a file that cannot be made as long as it has to be is there already.
        names.append(name)
        return try OutputFile("\(path)/\(name)", byteCount: byteCount)
    }

    /// A new file with some contents, flushed to the disk.
    mutating func write(_ name: String, _ bytes: [UInt8]) throws(MoEError) {
        let file = try file(name, byteCount: bytes.count)
        try file.write(bytes, at: 0)
        try file.flush()
    }

    /// Puts the folder in its place; its files have been flushed.
    mutating func commit() throws(MoEError) {
        try Self.sync(path)
        guard rename(path, destination) == 0 else { throw systemFailure(destination, "rename") }
        isCommitted = true
        // The rename itself has to last through a power cut; the folder is whole either way.
        let parent = destination.lastIndex(of: "/").map { String(destination[...$0]) } ?? "."
        try? Self.sync(parent)
    }

    private static func sync(_ folder: String) throws(MoEError) {
        let descriptor = open(folder, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw systemFailure(folder, "open") }
        defer { close(descriptor) }
        // Some file systems have no such call for folders.
        guard fsync(descriptor) == 0 || errno == EINVAL else { throw systemFailure(folder, "fsync") }
    }

    /// The names in a folder, sorted; nil where it is none.
    static func contents(_ folder: String) throws(MoEError) -> [String]? {
        var status = stat()
        guard stat(folder, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return nil }
        guard let stream = opendir(folder) else { throw systemFailure(folder, "open") }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { name in
                name.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: name.pointee)) {
                    String(cString: $0)
                }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Whether a path leads to a regular file, through links.
    static func isRegularFile(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
    }

    /// Bytes that can still be written where a folder lies; nil where the system does not tell.
    static func room(beside folder: String) -> Int? {
        var status = statvfs()
        guard statvfs(folder, &status) == 0 else { return nil }
        let (bytes, overflow) = Int(status.f_bavail).multipliedReportingOverflow(by: Int(status.f_frsize))
        return overflow ? nil : bytes
    }
}
