import CPlatform

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// The most memory that this process holds from a moment on.
package struct PeakMemory: Sendable {
    private let before: Int
    private let isReset: Bool

    /// Starts looking. Linux forgets the peak so far when asked; other systems keep it for the life of the process.
    package init() {
        isReset = Self.forget()
        before = Self.ofProcess ?? .max
    }

    /// Bytes resident at most since then; nil where the system does not tell, or tells only of an earlier peak.
    package var bytes: Int? {
        guard let now = Self.ofProcess else { return nil }
        return isReset || now > before ? now : nil
    }

    /// The peak that the system keeps; nil where it keeps none.
    private static var ofProcess: Int? {
        #if os(Linux)
            var text = [CChar](repeating: 0, count: 8192)
            let length = cp_read_text("/proc/self/status", &text, text.count)
            guard length > 0 else { return nil }
            let status = String(decoding: text.prefix(length).map { UInt8(bitPattern: $0) }, as: UTF8.self)
            guard let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") }),
                let kibibytes = line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap({ Int($0) })
            else { return nil }
            return kibibytes << 10
        #else
            let bytes = cp_resident_peak()
            return bytes > 0 ? bytes : nil
        #endif
    }

    private static func forget() -> Bool {
        #if os(Linux)
            guard let file = fopen("/proc/self/clear_refs", "w") else { return false }
            // Unbuffered text reaches the kernel when the file closes; only then is it known whether it took it.
            let isWritten = fputs("5", file) >= 0
            return fclose(file) == 0 && isWritten
        #else
            return false
        #endif
    }
}
