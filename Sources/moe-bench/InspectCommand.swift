import MoEBench
import MoEKernel

/// What a checkpoint folder holds, without loading it.
enum InspectCommand: Command {
    static let name = "inspect"
    static let summary = "shows what a checkpoint folder holds and what its layers take, without reading weights"
    static let examples: [(line: String, meaning: String)] = [
        (
            "moe-bench inspect --model DIR",
            "family, layers, routing, storage, memory; works while shards are still missing"
        )
    ]
    static let options = [
        Option("model", "DIR", help: "folder with config.json and one or more safetensors files, or their index")
    ]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        let report = try InspectReport(model: try arguments.required("model"))
        Terminal.print(report.text(.current()).joined(separator: "\n"))
        return .success
    }
}
