import MoEBench

/// Without a subcommand: the default suite.
enum SuiteCommand: Command {
    static let name = ""
    static let summary = "measures a Mixture-of-Experts layer against dense baselines on this machine"
    static let examples: [(line: String, meaning: String)] = [
        ("moe-bench", "four configurations, in a minute or two"),
        ("moe-bench --json results.json", "the same, with every sample in a file"),
        ("moe-bench --device cuda", "layers on the first GPU, at the sizes of published models"),
        ("moe-bench run --tokens 256 --experts 64 --top-k 8", "one configuration of your own"),
        (
            "moe-bench forward --model DIR --layer 3 --input x.safetensors --output y.safetensors",
            "one layer of a published checkpoint on your own activations"
        ),
    ]
    static let options = [
        CommonOptions.json, CommonOptions.save, CommonOptions.device, CommonOptions.caches, CommonOptions.threads,
        CommonOptions.seed, CommonOptions.instructionSet, CommonOptions.tuning,
        CommonOptions.list, CommonOptions.quiet,
    ]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        let caches = try CommonOptions.caches(arguments)
        let device = try CommonOptions.device(arguments)
        let seed = try CommonOptions.seed(arguments)
        let entries = (device == .cpu ? DefaultSuite.entries : DefaultSuite.deviceEntries).map { entry in
            var workload = entry.workload
            workload.seed = seed
            return (workload: workload, budget: entry.budget)
        }
        var settings = SuiteRunner.Settings(
            entries: entries, threads: try CommonOptions.threads(arguments),
            instructionSet: try CommonOptions.instructionSet(arguments),
            tuning: try CommonOptions.tuning(arguments), json: try arguments.text("json"),
            command: Array(CommandLine.arguments.dropFirst()))
        settings.device = device
        settings.caches = caches
        settings.save = try CommonOptions.save(arguments)
        settings.lists = arguments.has("list")
        settings.terminal = CommonOptions.terminal(arguments)
        return try SuiteRunner(settings).run()
    }
}
