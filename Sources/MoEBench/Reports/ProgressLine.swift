#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// One line on standard error that says what is going on; silent unless that is a terminal.
package struct ProgressLine: Sendable {
    /// Whether anything is shown at all.
    package let isShown: Bool

    package init(_ terminal: Terminal) { isShown = terminal.hasProgress }

    /// Nothing is ever shown.
    package static let silent = ProgressLine(Terminal(hasStyle: false, hasProgress: false))

    package func show(_ text: String) {
        if isShown { Terminal.write("\r\u{1b}[K\(text)", to: STDERR_FILENO) }
    }

    package func clear() {
        if isShown { Terminal.write("\r\u{1b}[K", to: STDERR_FILENO) }
    }
}
