import MoEBench
import MoEKernel

/// A checkpoint folder with its experts quantised.
enum QuantiseCommand: Command {
    static let name = "quantize"
    static let summary = "quantises the experts of a checkpoint folder and writes another that loads again"
    static let examples: [(line: String, meaning: String)] = [
        (
            "moe-bench quantize DIR --to int4 --output DIR-int4",
            "codes of 4 bits, a scale for 32; says what it cost in accuracy, layer by layer"
        ),
        (
            "moe-bench quantize DIR --to fp8 --output DIR-fp8 --json fp8.json",
            "E4M3 with a scale an output; the report in a file too"
        ),
    ]
    private static let forms = WeightQuantisation.named.map(\.name)

    static let operand: String? = "model"
    static let options = [
        Option("model", "DIR", help: "folder with config.json and safetensors files; --model may be left out"),
        Option("to", "FORM", help: "what experts are quantised to: \(forms.joined(separator: ", "))"),
        Option("output", "DIR", help: "folder to write; must not be there yet, or be empty"),
        Option("json", "FILE", aliases: ["output-file"], help: "write what is printed to FILE"),
        CommonOptions.threads,
    ]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        guard let form = try arguments.choice("to", among: forms) else {
            throw UsageError("--to is missing; expected one of \(forms.joined(separator: ", "))")
        }
        var run = QuantiseRun(
            model: try arguments.required("model"), output: try arguments.required("output"), form: form)
        run.threads = try CommonOptions.threads(arguments)
        run.json = try arguments.text("json")
        let signals = Signals()
        defer { withExtendedLifetime(signals) {} }
        let code = try run.run(signals.interruption) { Terminal.print($0) }
        if code == .interrupted { Terminal.complain("interrupted; nothing was written") }
        return code
    }
}
