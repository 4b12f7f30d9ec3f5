/// A subcommand: its options, its help, and what it does.
package protocol Command: SendableMetatype {
    /// Empty for what runs without a subcommand.
    static var name: String { get }
    /// One sentence.
    static var summary: String { get }
    /// Whole command lines, most useful first, each with what it does.
    static var examples: [(line: String, meaning: String)] { get }
    static var options: [Option] { get }
    /// The option whose value may stand on the command line without its name; nil where there is none.
    static var operand: String? { get }
    /// How many words without an option's name the command takes.
    static var operands: Int { get }
    /// Exit statuses that mean something of their own here, each with what it means; empty for most.
    static var exitStatuses: [(code: ExitCode, meaning: String)] { get }

    /// Runs to the end; standard output is the result, standard error the rest.
    static func run(_ arguments: Arguments) throws -> ExitCode
}

extension Command {
    package static var operand: String? { nil }
    package static var operands: Int { 0 }
    package static var exitStatuses: [(code: ExitCode, meaning: String)] { [] }
}

/// What the process says with its exit status.
package enum ExitCode: Int32, Sendable {
    case success = 0
    /// Something could not be done, or a result was wrong.
    case failure = 1
    /// Of a comparison: something became slower, beyond noise.
    case regression = 2
    /// Of a comparison: something became faster, and nothing slower.
    case improvement = 4
    /// Of a comparison: there is nothing to compare with.
    case noBaseline = 5
    /// The command line is not understood (EX_USAGE of sysexits).
    case usage = 64
    /// Ended by SIGINT.
    case interrupted = 130
}
