import MoEBench
import MoEKernel

/// The layer beside layers of other libraries.
enum ComparePeersCommand: Command {
    static let name = "compare-peers"
    static let summary =
        "times the layer in turns with NumPy, PyTorch, ONNX Runtime and ggml, all checked against float64"
    static let examples: [(line: String, meaning: String)] = [
        (
            "Benchmarks/Peers/setup-cpu.sh && moe-bench compare-peers",
            "makes a Python environment for them, then compares prefill and decode, in about two minutes; whoever is missing "
                + "is listed with the reason, and it fails only where nobody ran"
        ),
        (
            "moe-bench compare-peers --tokens 64 --hidden 2048 --expert-hidden 1024 --experts 64 --top-k 8 --dtype bf16",
            "one configuration of your own; a peer that cannot is listed"
        ),
        ("moe-bench compare-peers --only torch,numpy --json peers.json", "some of them, every sample in a file"),
    ]
    private static let dtypes = ["fp32", "bf16", "fp16", "int8-block", "int4"]
    private static let sizes = ["tokens", "hidden", "expert-hidden", "experts", "top-k"]

    static let options = [
        Option(
            "tokens", "T", aliases: ["num-tokens"],
            help: "tokens of a call [512]; with none of the five sizes, two workloads are compared"),
        Option("hidden", "H", aliases: ["hidden-dim", "hidden-size"], help: "the model's width [512]"),
        Option(
            "expert-hidden", "F", aliases: ["expert-dim", "expert-hidden-dim"], help: "inner width of an expert [2048]"),
        Option("experts", "E", aliases: ["num-experts"], help: "experts to choose from [8]"),
        Option("top-k", "K", aliases: ["topk"], help: "experts for each token [2]"),
        Option(
            "dtype", "TYPE",
            help:
                "how weights are stored: \(dtypes.joined(separator: ", ")) [fp32]; of the last two only ONNX Runtime's QMoE and ggml "
                + "read the same, and round activations to 8 bits, as --activations int8 does here"),
        Option("activations", "KIND", help: "as for `run`: exact, int8 or bf16, for our layer alone [exact]"),
        Option("only", "NAMES", help: "these peers: \(Peer.choices.joined(separator: ", "))"),
        Option("skip", "NAMES", help: "not these"),
        Option("seconds", "S", help: "seconds of timed calls for each workload, ours and theirs [30]"),
        Option(
            "python", "PATH",
            help: "their interpreter; else $\(PeerLaunch.variable), else Benchmarks/Peers/cpu/.venv, else python3"),
        Option("peers", "DIR", help: "where their scripts are [Benchmarks/Peers]"),
        Option("keep", "DIR", help: "keep the files that they are given, weights and inputs, in DIR"),
        CommonOptions.threads, CommonOptions.instructionSet, CommonOptions.tuning, CommonOptions.seed,
        CommonOptions.json, CommonOptions.quiet,
    ]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        var workloads = PeerSuite.workloads
        let size = Int.min...Int.max
        if sizes.contains(where: arguments.isGiven) {
            workloads = [
                Workload(
                    name: "compare", tokens: try arguments.number("tokens", in: size) ?? 512,
                    hidden: try arguments.number("hidden", in: size) ?? 512,
                    expertHidden: try arguments.number("expert-hidden", in: size) ?? 2048,
                    experts: try arguments.number("experts", in: size) ?? 8,
                    topK: try arguments.number("top-k", in: size) ?? 2)
            ]
        }
        let dtype = try arguments.choice("dtype", among: dtypes) ?? ElementType.float32.rawValue
        let activations = try arguments.choice("activations", ExpertArithmetic.self)
        let seed = try CommonOptions.seed(arguments)
        for index in workloads.indices {
            if let type = ElementType(rawValue: dtype) {
                workloads[index].weightType = type
            } else {
                workloads[index].quantisation = dtype
            }
            workloads[index].activations = activations
            workloads[index].seed = seed
        }
        var peers = Set(Peer.all)
        if let only = try arguments.text("only") { peers = try Peer.named(only, option: "only") }
        if let skip = try arguments.text("skip") { peers.subtract(try Peer.named(skip, option: "skip")) }
        guard !peers.isEmpty else { throw UsageError("--skip leaves no peer") }
        let seconds: Int = try arguments.number("seconds", in: 1...3600) ?? 30
        var settings = PeerSuite.Settings(
            entries: workloads, seconds: Double(seconds),
            launch: try PeerLaunch(python: try arguments.text("python"), folder: try arguments.text("peers")),
            peers: peers, command: Array(CommandLine.arguments.dropFirst()))
        settings.threads = try CommonOptions.threads(arguments)
        settings.instructionSet = try CommonOptions.instructionSet(arguments)
        settings.tuning = try CommonOptions.tuning(arguments)
        settings.json = try arguments.text("json")
        settings.terminal = CommonOptions.terminal(arguments)
        settings.keep = try arguments.text("keep")
        return try PeerSuite(settings).run()
    }
}
