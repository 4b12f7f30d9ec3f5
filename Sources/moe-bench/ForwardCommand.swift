import MoEBench
import MoEKernel

/// One layer of a published checkpoint on activations from a file.
enum ForwardCommand: Command {
    static let name = "forward"
    static let summary = "runs one layer of a checkpoint folder on activations from a safetensors file"
    static let examples: [(line: String, meaning: String)] = [
        (
            "moe-bench forward --model DIR --layer 3 --input x.safetensors --output y.safetensors",
            "reads tensor x, [tokens, hidden] or [batch, sequence, hidden] in F32, BF16 or F16, and, where there are any, "
                + "attention_mask, input_ids and router_input"
        ),
        (
            "moe-bench forward --model DIR --layer 0 --input x.safetensors --output y.safetensors --dtype bf16 --threads 2",
            "keeps weights as bf16, uses two threads"
        ),
        (
            "moe-bench forward --model DIR --layer 0 --input x.safetensors --output y.safetensors --device cuda",
            "on the first GPU"
        ),
    ]
    static let options = [
        Option("model", "DIR", help: "folder with config.json and one or more safetensors files"),
        Option("layer", "N", help: "which of the model's layers"),
        Option("input", "FILE", help: "safetensors file with x; attention_mask, input_ids, router_input"),
        Option(
            "output", "FILE",
            help: "gets y (of x's shape; BF16 for BF16, else F32), router_logits, topk_indices, topk_weights, combine, "
                + "expert_load, kept, aux_loss, z_loss and what else the family has"),
        Option("dtype", "TYPE", help: "how weights are kept: fp32, bf16 or fp16; without it, as stored"),
        CommonOptions.device, CommonOptions.threads, CommonOptions.instructionSet,
    ]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        let device = try CommonOptions.device(arguments)
        guard let layer = try arguments.number("layer", in: 0...1_000_000) as Int? else {
            throw UsageError("--layer is missing")
        }
        var forward = CheckpointForward(
            model: try arguments.required("model"), layer: layer, input: try arguments.required("input"),
            output: try arguments.required("output"))
        forward.threads = try CommonOptions.threads(arguments)
        forward.weightType = try arguments.choice("dtype", ElementType.self)
        forward.device = device
        forward.instructionSet = try CommonOptions.instructionSet(arguments)
        Terminal.print(try forward.run().text.joined(separator: "\n"))
        return .success
    }
}
