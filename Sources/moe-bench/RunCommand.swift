import MoEBench
import MoEKernel

/// One configuration, or every combination of some values, measured as the suite measures its own.
enum RunCommand: Command {
    static let name = "run"
    static let summary = "measures one configuration, or every combination of lists of values"
    static let examples: [(line: String, meaning: String)] = [
        (
            "moe-bench run --workload qwen3-30b-a3b --dtype bf16 --phase prefill,decode",
            "a layer of a published model; `moe-bench workloads` lists them"
        ),
        (
            "moe-bench run --workload mixtral-8x7b,olmoe-1b-7b --dtype bf16,int4 --tokens 1-16*2",
            "twenty runs, each pair of model and type at 1, 2, 4, 8 and 16 tokens, and one table of all"
        ),
        (
            "moe-bench run --tokens 512 --hidden 2048 --expert-hidden 1024 --experts 8-128*2 --top-k 8",
            "a layer of your own, with more and more experts"
        ),
        (
            "moe-bench run --device cuda --workload qwen3-30b-a3b --tokens 4096 --dtype bf16",
            "prefill on the first GPU; without --dtype weights are fp32, which tensor cores do not multiply"
        ),
        ("moe-bench run --tokens 64 --threads 1-max --json threads.json", "scaling with threads, samples kept"),
        ("moe-bench run --experts 64 --top-k 8 --routing uniform,zipf:1,hot:0.5", "balanced and skewed routing"),
        ("moe-bench run --tokens 1 --caches cold", "a layer whose weights other work has pushed out of the caches"),
        ("moe-bench run --tokens 64 --tuning tile-rows=4", "smaller register tiles than the machine's table has"),
    ]
    private static let dtypes = ElementType.allCases.map(\.rawValue) + WeightQuantisation.named.map(\.name)

    static let options = [
        Option(
            "workload", "NAMES",
            help:
                "layers of published models, such as mixtral-8x7b (see `moe-bench workloads`), or FILE.json of your own"
        ),
        Option(
            "phase", "LIST", choices: Phase.allCases.map(\.rawValue),
            help: "prefill (512 tokens) or decode (1 token); with one of them, --tokens may say another number"),
        Option("tokens", "LIST", aliases: ["num-tokens"], help: "tokens of a call: \(ValueList.help) [512]"),
        Option("hidden", "LIST", aliases: ["hidden-dim", "hidden-size"], help: "the model's width [512]"),
        Option(
            "expert-hidden", "LIST", aliases: ["expert-dim", "expert-hidden-dim"],
            help: "inner width of an expert [2048]"),
        Option("experts", "LIST", aliases: ["num-experts"], help: "experts to choose from [8]"),
        Option("top-k", "LIST", aliases: ["topk"], help: "experts for each token [2]"),
        Option(
            "dtype", "LIST", choices: dtypes, help: "how weights are stored: \(dtypes.joined(separator: ", ")) [fp32]"),
        Option(
            "activations", "LIST", choices: ExpertArithmetic.allCases.map(\.rawValue),
            help:
                "what experts' weights are multiplied with: exact (fp32); int8, for int8 and int4 weights, by instructions for "
                + "bytes; bf16, for bf16 weights, by instructions for pairs of bf16 numbers [exact]"
        ),
        Option(
            "expert", "LIST", choices: Workload.Expert.allCases.map(\.rawValue),
            help: "gated (gate, up, down) or plain (up, down) [gated]"),
        Option(
            "activation", "LIST", choices: Activation.allCases.map(\.rawValue),
            help: "silu, gelu, gelu_tanh, quick_gelu, relu or relu2 [silu]"),
        Option(
            "router", "LIST", choices: Workload.Router.allCases.map(\.rawValue),
            help:
                "softmax; grouped: sigmoid, bias, the better half of the groups; hierarchical: a router over groups and "
                + "one within [softmax]"),
        Option("groups", "LIST", help: "groups of experts of a grouped or hierarchical router [8]"),
        Option(
            "routing", "LIST",
            help:
                "which experts tokens choose: uniform; zipf:S, in proportion to rank^-S; hot:SHARE, one expert by that "
                + "share of the tokens; file:PATH, as topk_indices of a safetensors file (of `moe-bench forward`) or of "
                + "a JSON file says. Inputs are made so that the layer's own router chooses so; the load that was "
                + "reached is reported [uniform]"),
        CommonOptions.device, CommonOptions.caches,
        Option("seconds", "S", help: "seconds of timed calls of each run; less where every median is known to 1 % [6]"),
        Option("threads", "LIST", aliases: ["num-threads"], help: "threads; max is one for each processor [max]"),
        Option(
            "instruction-set", "LIST", choices: CPUInstructionSet.allCases.map(\.rawValue),
            help: "baseline, avx2 or avx512; without it, the widest this processor has"),
        CommonOptions.tuning, CommonOptions.seed,
        Option(
            "skip-impossible", help: "leaves combinations out that cannot be, and lists them, in place of refusing all"),
        CommonOptions.json, CommonOptions.save, CommonOptions.list, CommonOptions.quiet,
    ]

    /// What a named workload says itself.
    private static let sizes = [
        "hidden", "expert-hidden", "experts", "top-k", "expert", "activation", "router", "groups",
    ]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        let caches = try CommonOptions.caches(arguments)
        let device = try CommonOptions.device(arguments)
        let seconds: Int = try arguments.number("seconds", in: 1...3600) ?? 6
        var base = SweepPoint(
            Workload(name: "run", tokens: 512, hidden: 512, expertHidden: 2048, experts: 8, topK: 2),
            budget: Double(seconds))
        base.workload.seed = try CommonOptions.seed(arguments)
        let memory = try memory(of: device)
        let sweep = try Sweep(base, try axes(arguments), skipsImpossible: arguments.has("skip-impossible")) {
            (point) throws(MoEError) in
            let workload = point.workload
            let configuration = try workload.configuration()
            // Groups of a quantised form have to divide a matrix's inputs.
            _ = try workload.weights(for: configuration).source(configuration)
            try workload.checkSkew(configuration)
            if let tuning = point.tuning {
                let set = if let chosen = point.instructionSet { chosen } else { try CPUInstructionSet.chosen() }
                try tuning.check(for: set)
            }
            try workload.checkMemory(memory.bytes, of: memory.owner)
        }
        var settings = SuiteRunner.Settings(
            points: sweep.points, json: try arguments.text("json"),
            command: Array(CommandLine.arguments.dropFirst()))
        settings.varied = sweep.varied
        settings.skipped = sweep.skipped
        settings.device = device
        settings.caches = caches
        settings.save = try CommonOptions.save(arguments)
        settings.lists = arguments.has("list")
        settings.terminal = CommonOptions.terminal(arguments)
        return try SuiteRunner(settings).run()
    }

    private static func memory(of device: Device) throws -> (bytes: Int, owner: String) {
        guard case .cuda(let index) = device else { return (Machine().memoryBytes, "this machine") }
        let properties = try CUDADevice.numbered(index).properties
        return (properties.memoryBytes, properties.name)
    }

    /// What is varied, the slowest first: what weights depend on comes before what they do not.
    private static func axes(_ arguments: Arguments) throws -> [SweepAxis] {
        var axes: [SweepAxis] = []
        if let names = try arguments.words("workload") {
            if let size = sizes.first(where: arguments.isGiven) {
                throw UsageError("--\(size) is for a layer of your own; a workload has one itself")
            }
            let workloads = try names.map { try NamedWorkload.named($0) }
            axes.append(
                SweepAxis("workload", workloads, text: \.name) { point, named in
                    var layer = named.layer
                    layer.tokens = point.workload.tokens
                    layer.seed = point.workload.seed
                    point.workload = layer
                })
        }
        // Any whole number is taken here: the configuration says best what is wrong with one.
        func add(_ name: String, _ change: @escaping @Sendable (inout Workload, Int) -> Void) throws {
            guard let values = try arguments.numbers(name) else { return }
            axes.append(SweepAxis(name, values, text: { "\($0)" }) { change(&$0.workload, $1) })
        }
        func add<Choice: RawRepresentable<String> & CaseIterable & Sendable>(
            _ name: String, _ type: Choice.Type, _ change: @escaping @Sendable (inout Workload, Choice) -> Void
        ) throws {
            guard let values = try arguments.choices(name, type) else { return }
            axes.append(SweepAxis(name, values, text: \.rawValue) { change(&$0.workload, $1) })
        }
        try add("hidden") { $0.hidden = $1 }
        try add("expert-hidden") { $0.expertHidden = $1 }
        try add("experts") { $0.experts = $1 }
        try add("top-k") { $0.topK = $1 }
        try add("expert", Workload.Expert.self) { $0.expert = $1 }
        try add("activation", Activation.self) { $0.activation = $1 }
        try add("router", Workload.Router.self) { $0.router = $1 }
        try add("groups") { $0.groups = $1 }
        if let dtypes = try arguments.choices("dtype", among: dtypes) {
            axes.append(
                SweepAxis("dtype", dtypes, text: { $0 }) { point, dtype in
                    if let type = ElementType(rawValue: dtype) {
                        point.workload.weightType = type
                    } else {
                        point.workload.quantisation = dtype
                    }
                })
        }
        try add("activations", ExpertArithmetic.self) { $0.activations = $1 }
        try addMachine(arguments, to: &axes)
        if let routings = try arguments.words("routing") {
            let skews = try routings.map { word in
                do throws(MoEError) {
                    return try RoutingSkew.parse(word)
                } catch {
                    if case .input = error { throw UsageError("--routing: \(error)") }
                    throw error
                }
            }
            axes.append(
                SweepAxis("routing", skews, text: { $0?.description ?? "uniform" }) { point, skew in
                    point.workload.skew = skew
                    // A recording has tokens of its own, which --tokens and --phase replace.
                    if case .recorded(let recording)? = skew { point.workload.tokens = recording.tokens }
                })
        }
        try addTokens(arguments, to: &axes)
        return axes
    }

    private static func addMachine(_ arguments: Arguments, to axes: inout [SweepAxis]) throws {
        if let sets = try arguments.choices("instruction-set", CPUInstructionSet.self) {
            if let missing = sets.first(where: { !CPUInstructionSet.supported.contains($0) }) {
                throw MoEError.unavailable(what: missing.rawValue, reason: "this processor does not have it")
            }
            let tuned = try sets.map { (set: $0, tuning: try arguments.tuning("tuning", of: CPUTuning.chosen($0))) }
            axes.append(
                SweepAxis("instruction-set", tuned, text: \.set.rawValue) { point, tuned in
                    point.instructionSet = tuned.set
                    point.tuning = tuned.tuning
                })
        } else if let tuning = try CommonOptions.tuning(arguments) {
            axes.append(SweepAxis("tuning", [tuning], text: \.description) { $0.tuning = $1 })
        }
        let threads = try arguments.numbers(
            "threads", in: 1...ThreadPool.maximumThreads,
            words: ["max": min(Machine().processors, ThreadPool.maximumThreads)])
        if let threads { axes.append(SweepAxis("threads", threads, text: { "\($0)" }) { $0.threads = $1 }) }
    }

    private enum Phase: String, CaseIterable, Sendable {
        case prefill, decode

        var tokens: Int { self == .prefill ? 512 : 1 }
    }

    private static func addTokens(_ arguments: Arguments, to axes: inout [SweepAxis]) throws {
        let tokens = try arguments.numbers("tokens")
        if let phases = try arguments.choices("phase", Phase.self) {
            guard tokens == nil || phases.count == 1 else {
                throw UsageError(
                    "--tokens with --phase \(phases.map(\.rawValue).joined(separator: ",")) is ambiguous; "
                        + "expected one phase")
            }
            axes.append(
                SweepAxis("phase", phases, text: \.rawValue) { point, phase in
                    point.workload.tokens = phase.tokens
                    point.workload.name += " \(phase.rawValue)"
                })
        }
        if let tokens { axes.append(SweepAxis("tokens", tokens, text: { "\($0)" }) { $0.workload.tokens = $1 }) }
    }
}
