import MoEBench
import MoEKernel

/// Everything that this package promises, looked at on this machine.
enum ValidateCommand: Command {
    static let name = "validate"
    static let summary = "checks correctness, honest measurement, speed and serving on this machine, in some minutes"
    static let examples: [(line: String, meaning: String)] = [
        ("moe-bench validate", "every predicate with its value and its limit; exit status 1 if one does not hold"),
        ("moe-bench validate --only correctness,honesty", "what does not depend on how busy the machine is"),
        ("moe-bench validate --json validation.json", "the same, in a file too"),
    ]
    private static let chapters = Predicate.Chapter.allCases.map(\.rawValue)

    static let options = [
        Option("only", "LIST", choices: chapters, help: "chapters, of \(chapters.joined(separator: ", "))"),
        Option("seconds", "S", help: "seconds of timed calls for each workload [10]"),
        CommonOptions.threads, CommonOptions.instructionSet, CommonOptions.json,
        CommonOptions.quiet,
    ]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        let only = try arguments.choices("only", Predicate.Chapter.self) ?? Predicate.Chapter.allCases
        let seconds: Int = try arguments.number("seconds", in: 1...3600) ?? 10
        return try Validation(
            chapters: only, threads: try CommonOptions.threads(arguments),
            instructionSet: try CommonOptions.instructionSet(arguments), seconds: Double(seconds),
            json: try arguments.text("json"), terminal: CommonOptions.terminal(arguments)
        ).run()
    }
}
