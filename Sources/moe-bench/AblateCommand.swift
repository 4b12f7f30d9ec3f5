import MoEBench
import MoEKernel

/// What one design decision buys, measured by leaving it out.
enum AblateCommand: Command {
    static let name = "ablate"
    static let summary = "measures design decisions by leaving each out, real code against real code"
    static let examples: [(line: String, meaning: String)] = [
        ("moe-bench ablate", "every study, on shapes of its own"),
        ("moe-bench ablate threads,instruction-sets --json ablations.json", "two of them, samples kept"),
        ("moe-bench ablate specialisation --instruction-set baseline --seconds 2", "for another instruction set"),
        ("moe-bench ablate gather --tokens 64,1024 --dtype bf16", "on more or fewer tokens, in another type"),
    ]
    static let operand: String? = "study"
    static let options = [
        Option(
            "study", "NAMES", choices: Ablation.allCases.map(\.rawValue),
            help: "which, without it all; also without --study in front: "
                + Ablation.allCases.map { "\($0.rawValue): \($0.summary)" }.joined(separator: "; ")),
        Option("tokens", "LIST", aliases: ["num-tokens"], help: "tokens of a call, in place of each study's own"),
        Option(
            "dtype", "TYPE", choices: ElementType.allCases.map(\.rawValue),
            help: "fp32, bf16 or fp16, in place of each study's own"),
        Option("seconds", "S", help: "seconds of timed calls for each shape [5]"),
        CommonOptions.threads, CommonOptions.instructionSet, CommonOptions.tuning, CommonOptions.seed,
        CommonOptions.json, CommonOptions.list, CommonOptions.quiet,
    ]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        let seed = try CommonOptions.seed(arguments)
        let seconds: Int = try arguments.number("seconds", in: 1...3600) ?? 5
        let tokens = try arguments.numbers("tokens")
        let type = try arguments.choice("dtype", ElementType.self)
        let threads = try CommonOptions.threads(arguments)
        var points: [SweepPoint] = []
        for ablation in try arguments.choices("study", Ablation.self) ?? Ablation.allCases {
            for shape in ablation.workloads(tokens: tokens, type: type) {
                var point = SweepPoint(shape, budget: Double(seconds))
                point.workload.seed = seed
                point.contest = .ablation(ablation)
                point.threads = ablation.threads ?? threads
                _ = try point.workload.configuration()
                if ablation == .scalar { try ScalarAblation.check(point.workload) }
                points.append(point)
            }
        }
        var settings = SuiteRunner.Settings(
            points: points, threads: threads, instructionSet: try CommonOptions.instructionSet(arguments),
            tuning: try CommonOptions.tuning(arguments), json: try arguments.text("json"),
            command: Array(CommandLine.arguments.dropFirst()))
        settings.lists = arguments.has("list")
        settings.terminal = CommonOptions.terminal(arguments)
        return try SuiteRunner(settings).run()
    }
}
