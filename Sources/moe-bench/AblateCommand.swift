import MoEBench
import MoEKernel

/// What one design decision buys, measured by leaving it out.
enum AblateCommand: Command {
    static let name = "ablate"
    static let summary = "measures what kernels compiled for each shape and format gain over a generic one"
    static let examples: [(line: String, meaning: String)] = [
        ("moe-bench ablate", "four shapes, with and without specialised tiles"),
        ("moe-bench ablate --instruction-set baseline --seconds 2", "for another instruction set, in less time"),
    ]
    static let options = [
        Option("seconds", "S", help: "seconds of timed calls for each shape [5]"),
        CommonOptions.threads, CommonOptions.instructionSet, CommonOptions.tuning, CommonOptions.seed,
        CommonOptions.json,
    ]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        let seed = try CommonOptions.seed(arguments)
        let seconds: Int = try arguments.number("seconds", in: 1...3600) ?? 5
        let entries = SpecialisationAblation.workloads.map { workload in
            var workload = workload
            workload.seed = seed
            return (workload: workload, budget: Double(seconds))
        }
        var settings = SuiteRunner.Settings(
            entries: entries, threads: try CommonOptions.threads(arguments),
            instructionSet: try CommonOptions.instructionSet(arguments), tuning: try CommonOptions.tuning(arguments),
            json: try arguments.text("json"), command: Array(CommandLine.arguments.dropFirst()))
        settings.contest = .specialisation
        return try SuiteRunner(settings).run()
    }
}
