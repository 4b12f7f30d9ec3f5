import MoEBench
import MoEKernel

/// What `--workload` knows.
enum WorkloadsCommand: Command {
    static let name = "workloads"
    static let summary = "lists the layers of published models that `run --workload` measures"
    static let examples: [(line: String, meaning: String)] = [
        ("moe-bench workloads", "their sizes, parameters and bytes"),
        ("moe-bench workloads --names", "their names alone, one a line"),
    ]
    static let options = [Option("names", help: "names alone, one a line")]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        let workloads = try NamedWorkload.all()
        let lines =
            arguments.has("names")
            ? workloads.map(\.name) : try WorkloadsText(Terminal.current()).lines(workloads)
        Terminal.print(lines.joined(separator: "\n"))
        return .success
    }
}
