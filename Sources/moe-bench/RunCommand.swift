import MoEBench
import MoEKernel

/// One configuration, measured as the suite measures its own.
enum RunCommand: Command {
    static let name = "run"
    static let summary = "measures one configuration"
    static let examples: [(line: String, meaning: String)] = [
        (
            "moe-bench run --tokens 512 --hidden 2048 --expert-hidden 1024 --experts 64 --top-k 8 --dtype bf16",
            "prefill through a layer of OLMoE's size"
        ),
        (
            "moe-bench run --tokens 1 --hidden 4096 --expert-hidden 14336 --experts 8 --top-k 2 --dtype bf16",
            "decode through a layer of Mixtral's size"
        ),
        (
            "moe-bench run --device cuda --tokens 4096 --hidden 2048 --expert-hidden 768 --experts 128 --top-k 8 --dtype bf16",
            "prefill on the first GPU; without --dtype weights are fp32, which tensor cores do not multiply"
        ),
        ("moe-bench run --tokens 64 --threads 1 --json one-thread.json", "one thread, samples kept"),
        ("moe-bench run --tokens 64 --tuning tile-rows=4", "smaller register tiles than the machine's table has"),
    ]
    private static let dtypes = ElementType.allCases.map(\.rawValue) + WeightQuantisation.named.map(\.name)

    static let options = [
        Option("tokens", "T", aliases: ["num-tokens"], help: "tokens of a call [512]"),
        Option("hidden", "H", aliases: ["hidden-dim", "hidden-size"], help: "the model's width [512]"),
        Option(
            "expert-hidden", "F", aliases: ["expert-dim", "expert-hidden-dim"], help: "inner width of an expert [2048]"),
        Option("experts", "E", aliases: ["num-experts"], help: "experts to choose from [8]"),
        Option("top-k", "K", aliases: ["topk"], help: "experts for each token [2]"),
        Option("dtype", "TYPE", help: "how weights are stored: \(dtypes.joined(separator: ", ")) [fp32]"),
        Option(
            "activations", "KIND",
            help:
                "what experts' weights are multiplied with: exact (fp32); int8, for int8 and int4 weights, by instructions for "
                + "bytes; bf16, for bf16 weights, by instructions for pairs of bf16 numbers [exact]"
        ),
        Option("expert", "KIND", help: "gated (gate, up, down) or plain (up, down) [gated]"),
        Option("activation", "NAME", help: "silu, gelu, gelu_tanh, quick_gelu, relu or relu2 [silu]"),
        Option(
            "router", "KIND",
            help:
                "softmax; grouped: sigmoid, bias, the better half of the groups; hierarchical: a router over groups and "
                + "one within [softmax]"),
        Option("groups", "G", help: "groups of experts of a grouped or hierarchical router [8]"),
        CommonOptions.device,
        Option("seconds", "S", help: "seconds of timed calls [6]"),
        CommonOptions.threads, CommonOptions.instructionSet, CommonOptions.tuning, CommonOptions.seed,
        CommonOptions.json,
    ]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        let device = try CommonOptions.device(arguments)
        // Any whole number is taken here: the configuration says best what is wrong with one.
        let size = Int.min...Int.max
        var workload = Workload(
            name: "run", tokens: try arguments.number("tokens", in: size) ?? 512,
            hidden: try arguments.number("hidden", in: size) ?? 512,
            expertHidden: try arguments.number("expert-hidden", in: size) ?? 2048,
            experts: try arguments.number("experts", in: size) ?? 8,
            topK: try arguments.number("top-k", in: size) ?? 2)
        let dtype = try arguments.choice("dtype", among: dtypes) ?? ElementType.float32.rawValue
        if let type = ElementType(rawValue: dtype) { workload.weightType = type } else { workload.quantisation = dtype }
        workload.activations = try arguments.choice("activations", ExpertArithmetic.self)
        workload.expert = try arguments.choice("expert", Workload.Expert.self) ?? .gated
        workload.activation = try arguments.choice("activation", Activation.self) ?? .silu
        workload.router = try arguments.choice("router", Workload.Router.self) ?? .softmax
        workload.groups = try arguments.number("groups", in: size) ?? 8
        workload.seed = try CommonOptions.seed(arguments)
        let seconds: Int = try arguments.number("seconds", in: 1...3600) ?? 6
        var settings = SuiteRunner.Settings(
            entries: [(workload, Double(seconds))], threads: try CommonOptions.threads(arguments),
            instructionSet: try CommonOptions.instructionSet(arguments),
            tuning: try CommonOptions.tuning(arguments), json: try arguments.text("json"),
            command: Array(CommandLine.arguments.dropFirst()))
        settings.device = device
        return try SuiteRunner(settings).run()
    }
}
