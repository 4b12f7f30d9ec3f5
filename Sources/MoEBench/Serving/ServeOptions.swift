import MoEKernel

/// The serving run's part of a command line.
package enum ServeOptions {
    private static let dtypes = ElementType.allCases.map(\.rawValue) + WeightQuantisation.named.map(\.name)

    package static let options = [
        Option("rate", "R", help: "requests a second that arrive, whatever the engine does with them [15]"),
        Option(
            "arrivals", "KIND",
            help: "poisson, or bursty: gamma-distributed gaps whose deviation is twice their mean [poisson]"),
        Option("seconds", "S", help: "seconds of arrivals [10]"),
        Option("requests", "N", aliases: ["num-requests"], help: "so many requests rather than so many seconds"),
        Option(
            "prompt", "LENGTH", aliases: ["seq-len"],
            help: "tokens of a prompt: 64, 16-128 or lognormal:MEDIAN:SIGMA [lognormal:48:0.8]"),
        Option("output-tokens", "LENGTH", help: "tokens of an answer, in the same forms [8-48]"),
        Option("cancel", "PERCENT", help: "requests whose senders give up on the way [0]"),
        Option(
            "objective", "LIST",
            help: "what 95 % of requests should keep, as in ttft=200ms,tpot=30ms: time to the first token, mean time "
                + "between later ones [ttft=250ms,tpot=30ms]"),
        Option(
            "find-rate", aliases: ["sweep-rates"],
            help: "find the highest rate that keeps the objective: double --rate, then bisect, each rate a fresh run"),
        Option("layers", "N", help: "layers of the stack, each with weights of its own [4]"),
        Option("hidden", "H", aliases: ["hidden-dim", "hidden-size"], help: "the model's width [512]"),
        Option(
            "expert-hidden", "F", aliases: ["expert-dim", "expert-hidden-dim"], help: "inner width of an expert [512]"),
        Option("experts", "E", aliases: ["num-experts"], help: "experts of a layer [16]"),
        Option("top-k", "K", aliases: ["topk"], help: "experts for each token [2]"),
        Option("dtype", "TYPE", help: "how weights are stored: \(dtypes.joined(separator: ", ")) [bf16]"),
        Option(
            "max-running", "N", aliases: ["batch-size"], help: "requests that are computed together, at most [32]"),
        Option("max-waiting", "N", help: "requests that wait; the next is rejected [128]"),
        Option(
            "concurrent-requests", "N",
            help: "requests that the engine holds, running and waiting: another way to say --max-waiting"),
        Option("max-batch-tokens", "N", help: "tokens of one step, decoded ones and pieces of prompts [128]"),
        Option("warm-up", "N", aliases: ["warmup-requests"], help: "requests before the clock starts [8]"),
        Option(
            "target-latency-ms", "MS",
            help: "exit 1 unless 95 % of requests take no longer from arrival to last token"),
        Option("target-throughput", "N", help: "exit 1 unless N tokens a second are reached, prompts' included"),
    ]

    /// - Parameters:
    ///   - seed: Of weights and load.
    /// - Throws: ``UsageError``; ``MoEError`` for a layer that cannot be.
    package static func settings(_ arguments: Arguments, seed: UInt64) throws -> ServeSettings {
        let rate = try decimal(arguments, "rate", in: 0.001...1e6) ?? 15
        let findsRate = arguments.has("find-rate")
        let requests = try arguments.number("requests", in: 1...mostRequests)
        let seconds = try decimal(arguments, "seconds", in: 0.1...86_400)
        guard requests == nil || seconds == nil else {
            throw UsageError("--requests and --seconds exclude each other: they both say how long the run is")
        }
        guard requests == nil || !findsRate else {
            throw UsageError("--find-rate wants --seconds: so many requests would take longer at lower rates")
        }
        let span = seconds ?? (findsRate ? 5 : 10)
        guard requests != nil || rate * span <= Double(mostRequests) else {
            throw UsageError(
                "--rate \(Format.significant(rate)) for \(Format.significant(span)) s are more than \(mostRequests) requests"
            )
        }
        var load = ServingLoad(
            rate: rate, extent: requests.map { .requests($0) } ?? .seconds(span),
            prompt: try lengths(arguments, "prompt") ?? .logNormal(median: 48, sigma: 0.8),
            output: try lengths(arguments, "output-tokens") ?? .uniform(8...48))
        load.arrivals = try arguments.choice("arrivals", ArrivalProcess.self) ?? .poisson
        load.cancelled = (try decimal(arguments, "cancel", in: 0...100) ?? 0) / 100
        load.seed = seed

        let limits = try limits(arguments, longest: load.prompt.maximum + load.output.maximum)
        let size = Int.min...Int.max
        var workload = Workload(
            name: "serve", tokens: limits.maximumBatchTokens, hidden: try arguments.number("hidden", in: size) ?? 512,
            expertHidden: try arguments.number("expert-hidden", in: size) ?? 512,
            experts: try arguments.number("experts", in: size) ?? 16,
            topK: try arguments.number("top-k", in: size) ?? 2)
        let dtype = try arguments.choice("dtype", among: dtypes) ?? ElementType.bfloat16.rawValue
        if let type = ElementType(rawValue: dtype) { workload.weightType = type } else { workload.quantisation = dtype }
        workload.seed = seed
        _ = try workload.configuration()  // names a bad size before anything is made

        var settings = ServeSettings(
            workload: workload, layers: try arguments.number("layers", in: 1...1024) ?? 4, load: load, limits: limits,
            objective: try objective(arguments), warmUp: try arguments.number("warm-up", in: 0...1_000_000) ?? 8,
            findsRate: findsRate)
        settings.targets.endToEnd = try decimal(arguments, "target-latency-ms", in: 0.001...1e9).map { $0 / 1000 }
        settings.targets.tokensPerSecond = try decimal(arguments, "target-throughput", in: 0.001...1e12)
        guard !findsRate || settings.targets == ServeSettings.Targets() else {
            throw UsageError("--find-rate varies the rate until the objective fails; targets are for one run")
        }
        return settings
    }

    /// Of one run: each is kept with its times.
    private static let mostRequests = 10_000_000

    private static func limits(_ arguments: Arguments, longest: Int) throws -> MoEEngineLimits {
        let most = 1 << 20
        var running = try arguments.number("max-running", in: 1...most) ?? 32
        var waiting = try arguments.number("max-waiting", in: 1...most) ?? 128
        if let concurrent = try arguments.number("concurrent-requests", in: 1...2 * most) {
            guard !arguments.isGiven("max-waiting") else {
                throw UsageError("--concurrent-requests and --max-waiting exclude each other")
            }
            running = min(running, concurrent)
            waiting = max(concurrent - running, 1)
        }
        let batch = try arguments.number("max-batch-tokens", in: 1...most) ?? max(128, running)
        guard batch >= running else {
            throw UsageError(
                "--max-batch-tokens is \(batch); expected --max-running, \(running), or more: each running request has a "
                    + "token in each step")
        }
        return try MoEEngineLimits(
            maximumRunning: running, maximumWaiting: waiting, maximumBatchTokens: batch, maximumSequenceTokens: longest)
    }

    private static func lengths(_ arguments: Arguments, _ name: String) throws(UsageError) -> LengthDistribution? {
        guard let text = try arguments.text(name) else { return nil }
        guard let lengths = LengthDistribution(text) else {
            throw UsageError("--\(name) is \"\(text)\"; expected \(LengthDistribution.expectation)")
        }
        return lengths
    }

    private static func decimal(
        _ arguments: Arguments, _ name: String, in bounds: ClosedRange<Double>
    ) throws(UsageError) -> Double? {
        guard let text = try arguments.text(name) else { return nil }
        guard let value = Double(text), bounds.contains(value) else {
            throw UsageError(
                "--\(name) is \"\(text)\"; expected a number from \(Format.significant(bounds.lowerBound)) to "
                    + Format.significant(bounds.upperBound))
        }
        return value
    }

    private static func objective(_ arguments: Arguments) throws(UsageError) -> ServingRecord.Objective {
        var firstToken = 0.25, perToken = 0.03
        guard let text = try arguments.text("objective") else {
            return ServingRecord.Objective(firstToken: firstToken, perToken: perToken)
        }
        for entry in text.split(separator: ",") {
            let parts = entry.split(separator: "=", maxSplits: 1)
            guard parts.count == 2, let seconds = duration(String(parts[1])) else {
                throw UsageError(
                    "--objective has \"\(entry)\"; expected ttft=TIME or tpot=TIME, as in ttft=200ms,tpot=30ms")
            }
            switch parts[0] {
            case "ttft": firstToken = seconds
            case "tpot": perToken = seconds
            default:
                throw UsageError(
                    "--objective has \"\(parts[0])\"; expected ttft (first token) or tpot (each later one)")
            }
        }
        return ServingRecord.Objective(firstToken: firstToken, perToken: perToken)
    }

    /// Seconds of "200ms", "1.5s" or "800us"; nil where it is none.
    private static func duration(_ text: String) -> Double? {
        for (unit, seconds) in [("ms", 1e-3), ("us", 1e-6), ("s", 1.0)] where text.hasSuffix(unit) {
            guard let value = Double(text.dropLast(unit.count)), value > 0, value.isFinite else { return nil }
            return value * seconds
        }
        return nil
    }
}
