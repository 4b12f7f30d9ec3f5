import MoEBench
import MoEKernel

/// A stack of layers behind a real engine, under a load that does not wait for it.
enum ServeCommand: Command {
    static let name = "serve"
    static let summary = "serves requests with a real engine in this process, and tells how long they took"
    static let examples: [(line: String, meaning: String)] = [
        ("moe-bench serve", "ten seconds of requests, 15 a second, on a stack of four small layers"),
        ("moe-bench serve --find-rate", "the highest rate at which 95 % of requests keep the objective"),
        (
            "moe-bench serve --rate 60 --arrivals bursty --cancel 5 --json serve.json",
            "bursts, and senders who give up; every request in a file"
        ),
        (
            "moe-bench serve --objective ttft=100ms,tpot=15ms --prompt lognormal:256:0.6 --max-batch-tokens 64",
            "long prompts in small pieces: later first tokens, steadier later ones"
        ),
        (
            "moe-bench serve --num-requests 200 --seq-len 64 --batch-size 16 --target-latency-ms 500",
            "exit status 1 unless 95 % of 200 requests take half a second at most"
        ),
    ]
    static let options =
        ServeOptions.options + [
            CommonOptions.threads, CommonOptions.instructionSet, CommonOptions.tuning, CommonOptions.seed,
            CommonOptions.json, CommonOptions.quiet,
        ]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        var settings = try ServeOptions.settings(arguments, seed: try CommonOptions.seed(arguments))
        settings.threads = try CommonOptions.threads(arguments)
        settings.instructionSet = try CommonOptions.instructionSet(arguments)
        settings.tuning = try CommonOptions.tuning(arguments)
        settings.json = try arguments.text("json")
        settings.command = Array(CommandLine.arguments.dropFirst())
        let terminal = CommonOptions.terminal(arguments)
        let run = ServeRun(settings, terminal)
        let signals = Signals()
        defer { withExtendedLifetime(signals) {} }
        let interruption = signals.interruption
        return try Waiting.forResult { try await run.run(interruption) { terminal.print($0) } }
    }
}
