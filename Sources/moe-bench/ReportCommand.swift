import MoEBench
import MoEKernel

/// Results files as a page, or in forms for documents and other programs.
enum ReportCommand: Command {
    static let name = "report"
    static let summary = "makes a page, Markdown, CSV or JSON of one or several results files"
    static let examples: [(line: String, meaning: String)] = [
        (
            "moe-bench report results.json --html report.html",
            "one page with charts and tables, nothing fetched from anywhere"
        ),
        (
            "moe-bench report 1.json 2.json 4.json --html threads.html",
            "runs on 1, 2 and 4 threads together: how the layer scales"
        ),
        ("moe-bench report results.json", "Markdown on standard output"),
        ("moe-bench report results.json --csv -", "a line for each row, in seconds"),
    ]
    static let operands = 1000
    static let options = [
        Option("html", "FILE", help: "a page in itself; - is standard output, here and below"),
        Option("markdown", "FILE", help: "tables for a document; what is printed where nothing else is asked for"),
        Option("csv", "FILE", help: "a line for each row"),
        Option("json-summary", "FILE", help: "the same figures as JSON, serving runs included"),
        Option("title", "TEXT", help: "the title [moe-bench report]"),
    ]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        guard !arguments.operands.isEmpty else { throw UsageError("name one results file or several") }
        let title = try arguments.text("title") ?? "moe-bench report"
        var wanted: [(option: String, path: String)] = []
        for option in ["html", "markdown", "csv", "json-summary"] {
            if let path = try arguments.text(option) { wanted.append((option, path)) }
        }
        if wanted.isEmpty { wanted = [("markdown", "-")] }
        guard wanted.count(where: { $0.path == "-" }) <= 1 else {
            throw UsageError("only one form fits on standard output")
        }
        var taken = arguments.operands
        for (option, path) in wanted where path != "-" {
            if let other = taken.first(where: { Baselines.isSame($0, path) }) {
                throw UsageError("--\(option) would replace \(other)")
            }
            taken.append(path)
            try ResultsFile.checkWritable(path)
        }

        var inputs: [ResultsInput] = []
        for path in arguments.operands { inputs.append(try ResultsInput.read(path)) }
        let data = ReportData(inputs)
        guard !data.isEmpty else {
            throw MoEError.checkpoint(
                file: arguments.operands[0], tensor: nil,
                problem: "holds no results"
                    + (inputs.contains(where: \.results.partial) ? ": the run was interrupted before the first" : ""))
        }
        for (option, path) in wanted {
            let bytes: ReportFile =
                switch option {
                case "html": .text(ReportPage(data, title: title).html)
                case "csv": .text(ReportText.csv(data))
                case "json-summary": .data(try ReportText.json(data))
                default: .text(ReportText.markdown(data, title: title))
                }
            if path == "-" { Terminal.show(bytes.string) } else { try bytes.write(to: path) }
        }
        return .success
    }
}
