import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// What the two output streams can show.
package struct Terminal: Sendable, Hashable {
    /// Escape codes on standard output.
    package let hasStyle: Bool
    /// A line that rewrites itself on standard error.
    package let hasProgress: Bool

    /// Whether nothing is shown but what went wrong.
    package let isQuiet: Bool

    package init(hasStyle: Bool, hasProgress: Bool, isQuiet: Bool = false) {
        self.hasStyle = hasStyle
        self.hasProgress = hasProgress
        self.isQuiet = isQuiet
    }

    package static let quiet = Terminal(hasStyle: false, hasProgress: false, isQuiet: true)

    /// The process's own streams. NO_COLOR (set and not empty) and TERM=dumb turn escape codes off, as does a pipe.
    package static func current() -> Terminal {
        let plain = environment("NO_COLOR") != nil || environment("TERM") == "dumb"
        return Terminal(
            hasStyle: isatty(STDOUT_FILENO) == 1 && !plain,
            hasProgress: isatty(STDERR_FILENO) == 1 && environment("TERM") != "dumb")
    }

    private static func environment(_ name: String) -> String? {
        guard let value = getenv(name), value.pointee != 0 else { return nil }
        return String(cString: value)
    }

    package enum Style: String, Sendable {
        case bold = "1"
        case faint = "2"
        case red = "31"
        case yellow = "33"
    }

    package func styled(_ text: String, _ style: Style?) -> String {
        guard hasStyle, let style, !text.isEmpty else { return text }
        return "\u{1b}[\(style.rawValue)m\(text)\u{1b}[0m"
    }

    /// Writes to standard error.
    package static func complain(_ text: String) { write(text + "\n", to: STDERR_FILENO) }

    /// Writes to standard output at once: a report that appears row by row must not sit in a buffer.
    package static func print(_ text: String) { write(text + "\n", to: STDOUT_FILENO) }

    /// Part of a report: what a quiet run does without.
    package func print(_ text: String) {
        if !isQuiet { Self.print(text) }
    }

    /// What went wrong, where the report that tells of it is not shown.
    package func printIfQuiet(_ failure: String) {
        if isQuiet { Self.complain(failure) }
    }

    /// Writes text that ends its own lines to standard output.
    package static func show(_ text: String) { write(text, to: STDOUT_FILENO) }

    /// Why standard output did not take all that was printed; nil while it did, or where its reader has left. What is printed when a run is
    /// nearly over must not cost its results file, so nobody is stopped: whoever ends the process asks.
    package static var outputFailure: String? {
        let code = outputError.load(ordering: .relaxed)
        return code == 0 ? nil : String(cString: strerror(code))
    }

    private static let outputError = Atomic<Int32>(0)

    static func write(_ text: String, to descriptor: Int32) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let written = bytes.withUnsafeBytes { Self.put(descriptor, $0.baseAddress!, $0.count) }
            if written < 0 {
                if errno == EINTR { continue }
                if descriptor == STDOUT_FILENO, errno != EPIPE { outputError.store(errno, ordering: .relaxed) }
                return
            }
            bytes = bytes.dropFirst(written)
        }
    }

    private static func put(_ descriptor: Int32, _ bytes: UnsafeRawPointer, _ count: Int) -> Int {
        #if canImport(Glibc)
            Glibc.write(descriptor, bytes, count)
        #elseif canImport(Musl)
            Musl.write(descriptor, bytes, count)
        #else
            Darwin.write(descriptor, bytes, count)
        #endif
    }
}
