import MoEBench
import MoEKernel

/// Two runs, row by row.
enum DiffCommand: Command {
    static let name = "diff"
    static let summary = "compares two runs, saved under a name or in a file: what became slower or faster beyond noise"
    static let examples: [(line: String, meaning: String)] = [
        ("moe-bench --save before", "keep a run; then change something, and"),
        ("moe-bench --save after && moe-bench diff before after", "see what it did to each row"),
        ("moe-bench diff before", "compare it with the run saved last"),
        ("moe-bench diff main.json branch.json --format markdown", "two results files, for a comment"),
    ]
    static let operands = 2
    static let options = [
        Option(
            "format", "FORM", choices: DiffText.Form.allCases.map(\.rawValue), help: "text, markdown or json [text]"),
        Option(
            "across-machines",
            help:
                "compare runs of different machines; without it they are refused, since they say nothing of the program"
        ),
    ]
    static let exitStatuses: [(code: ExitCode, meaning: String)] = [
        (.regression, "slower beyond noise"), (.improvement, "faster and nothing slower"), (.noBaseline, "no such run"),
    ]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        let baselines = Baselines.current()
        let form = try arguments.choice("format", DiffText.Form.self) ?? .text
        guard let first = arguments.operands.first else {
            throw UsageError("name two runs or results files, or one to compare with the run saved last")
        }
        let before = try baselines.path(first)
        var after: String?
        if arguments.operands.count > 1 {
            after = try baselines.path(arguments.operands[1])
        } else if let last = baselines.names.first {
            after = try baselines.path(last)
            if Baselines.isSame(before, after ?? before), Baselines.exists(before) {
                Terminal.complain(
                    "moe-bench: \(first) is the run saved last: nothing later is there to compare it with")
                return .noBaseline
            }
        }
        for (path, word) in [(before, first), (after, arguments.operands.last ?? first)]
        where path.map(Baselines.exists) != true {
            Terminal.complain("moe-bench: " + missing(path == nil ? nil : word, baselines))
            return .noBaseline
        }
        let inputs = (try ResultsInput.read(before), try ResultsInput.read(after ?? before))
        let diff = ResultsDiff(
            from: inputs.0.results, to: inputs.1.results, acrossMachines: arguments.has("across-machines"))
        switch form {
        case .text:
            Terminal.print(
                DiffText.lines(diff, first: inputs.0, second: inputs.1, terminal: .current()).joined(separator: "\n"))
        case .markdown: Terminal.show(DiffText.markdown(diff, first: inputs.0, second: inputs.1))
        case .json:
            Terminal.show(String(decoding: try DiffText.json(diff, first: inputs.0, second: inputs.1), as: UTF8.self))
        }
        if diff.compared == 0 {
            Terminal.complain("moe-bench: nothing was compared: \(reason(diff, [inputs.0.results, inputs.1.results]))")
        }
        return diff.exitCode
    }

    /// Why nothing was compared.
    private static func reason(_ diff: ResultsDiff, _ runs: [RecordedResults]) -> String {
        if diff.isRefused { return "the machines differ; --across-machines compares all the same" }
        // No ceiling was measured beside a serving run: a slower machine would look like a slower engine.
        let serves = runs.contains { run in
            run.entries.allSatisfy(\.measurements.isEmpty) && run.serving?.isEmpty == false
        }
        return serves
            ? "serving runs have no ceiling beside them that would tell a slower machine from a slower engine; "
                + "moe-bench report shows them side by side" : "no row of one is like a row of the other"
    }

    private static func missing(_ word: String?, _ baselines: Baselines) -> String {
        let names = baselines.names
        let there = names.isEmpty ? "nothing is saved there" : "there are \(names.prefix(10).joined(separator: ", "))"
        guard let word else { return "no other run is saved in \(baselines.folder); moe-bench --save NAME keeps one" }
        if word.contains("/") || word.hasSuffix(".json") { return "there is no file \(word)" }
        let nearest = Suggestion.nearest(to: word, in: names).map { "; did you mean \($0)?" } ?? ""
        return "no run is saved as \(word) in \(baselines.folder): \(there)\(nearest)"
    }
}
