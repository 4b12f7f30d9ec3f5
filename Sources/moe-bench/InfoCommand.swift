import MoEBench
import MoEKernel

/// What the library finds on this machine. Nothing is measured and no thread is started: it answers at once.
enum InfoCommand: Command {
    static let name = "info"
    static let summary = "shows the processor, the instruction set chosen, memory, and whether CUDA was found"
    static let examples: [(line: String, meaning: String)] = [
        ("moe-bench info", "what this machine offers"),
        ("MOE_INSTRUCTION_SET=baseline moe-bench info", "what a choice from the environment does"),
    ]
    static let options: [Option] = []

    static func run(_ arguments: Arguments) throws -> ExitCode {
        let machine = Machine()
        let chosen = try CPUInstructionSet.chosen()
        let rows = [
            ("processor", machine.processor.isEmpty ? "unknown" : machine.processor),
            ("platform", "\(machine.system) \(machine.architecture)"),
            (
                "features",
                machine.features.isEmpty ? "none beyond the baseline" : machine.features.joined(separator: " ")
            ),
            (
                "instruction set",
                "\(chosen.rawValue), of \(CPUInstructionSet.supported.map(\.rawValue).joined(separator: ", "))"
            ),
            ("int8 activations", chosen.byteInstructions),
            ("bf16 activations", chosen.bfloat16Instructions),
            ("tuning", "\(try CPUTuning.chosen(chosen))"),
            ("threads", "\(machine.processors)"),
            ("caches", machine.caches),
            ("memory", machine.memoryBytes > 0 ? Format.bytes(machine.memoryBytes) : "unknown"),
            ("CUDA", CUDASurvey.ofThisMachine.description),
        ]
        let width = rows.map(\.0.count).max() ?? 0
        Terminal.print(
            rows.map { $0 + String(repeating: " ", count: width - $0.count + 2) + $1 }.joined(separator: "\n"))
        return .success
    }
}
