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
    /// Of several measurements, which: "2 of 4".
    package var position = ""
    /// What comes after the present measurement will take about so long.
    package var laterSeconds = 0.0

    package init(_ terminal: Terminal) { isShown = terminal.hasProgress }

    /// Nothing is ever shown.
    package static let silent = ProgressLine(Terminal(hasStyle: false, hasProgress: false))

    package func show(_ text: String) {
        let position = position.isEmpty ? "" : "\(position)  "
        if isShown { Terminal.write("\r\u{1b}[K\(position)\(text)", to: STDERR_FILENO) }
    }

    /// A round of a measurement, and how long all will still take.
    ///
    /// - Parameters:
    ///   - elapsed: Seconds since the first round began.
    ///   - budget: Seconds that all rounds were given. Checks come on top, and tight intervals end them early.
    package func show(_ text: String, round: Int, of rounds: Int, elapsed: Double, budget: Double) {
        guard isShown else { return }
        let left = Self.secondsLeft(round: round, of: rounds, elapsed: elapsed, budget: budget) + laterSeconds
        show("\(text): round \(round + 1) of \(rounds), about \(Self.duration(left)) left")
    }

    /// - Parameter round: The one that begins, from 0.
    package static func secondsLeft(round: Int, of rounds: Int, elapsed: Double, budget: Double) -> Double {
        round > 0 ? elapsed / Double(round) * Double(rounds - round) : budget
    }

    /// In whole seconds, minutes from two on.
    package static func duration(_ seconds: Double) -> String {
        let whole = Int(min(max(seconds.rounded(.up), 1), 1e9))
        return whole < 120 ? "\(whole) s" : "\((whole + 30) / 60) min"
    }

    package func clear() {
        if isShown { Terminal.write("\r\u{1b}[K", to: STDERR_FILENO) }
    }
}
