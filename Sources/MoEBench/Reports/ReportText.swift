import MoEKernel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// The rows of a report in forms for other programs and for documents.
package enum ReportText {
    /// A table for each workload, in GitHub's Markdown.
    package static func markdown(_ data: ReportData, title: String) -> String {
        var lines = ["# \(escaped(title))", ""]
        for input in data.inputs {
            let results = input.results
            lines += [
                "- `\(input.name.replacing("`", with: "'"))`: \(escaped(results.machine.processor)), "
                    + "\(results.machine.processors) processors, build \(escaped(results.build)), \(escaped(results.finished))"
                    + (results.partial ? ", **partial**" : "")
            ]
        }
        for entry in data.entries {
            let workload = entry.recorded.workload
            lines += [
                "", "## \(escaped(entry.label))", "",
                "\(workload.sizes), \(escaped(workload.dtype)), \(entry.recorded.threads) threads, "
                    + escaped(entry.recorded.instructionSet)
                    + (entry.rows.first.map { $0.subject.device == "cpu" ? "" : ", \(escaped($0.subject.device))" }
                        ?? "")
                    + (entry.recorded.partial ? ", **partial**" : ""), "",
                "| | median | 95 % interval | p95 | tokens/s | GFLOP/s | of ceiling | \(escaped(entry.referenceTitle)) is faster by |",
                "|---|---:|---:|---:|---:|---:|---:|---:|",
            ]
            for row in entry.rows {
                let name = escaped(row.name) + (row.program.map { " (external: \(escaped($0)))" } ?? "")
                let cells: [String] = [
                    name, Format.time(row.summary.median), row.summary.medianInterval.map(Format.interval) ?? "–",
                    row.summary.p95.map(Format.time) ?? "–", row.tokensPerSecond.map(Format.count) ?? "–",
                    row.flopsPerSecond.map { Format.significant($0 * 1e-9) } ?? "–", row.shareText,
                    row.speedup?.text ?? "",
                ]
                lines.append("| " + cells.joined(separator: " | ") + " |")
            }
            for failure in entry.recorded.failed {
                lines += ["", "Failed: \(escaped(failure.name)): \(escaped(failure.reason))"]
            }
            for left in entry.recorded.notRun {
                lines += ["", "Not run: \(escaped(left.name)): \(escaped(left.reason))"]
            }
        }
        let runs = data.serving.map { ServingFigures($0.record) }
        if !runs.isEmpty {
            lines += [
                "", "## Serving", "",
                "| run | requests | finished | rejected | cancelled | failed | goodput/s | TTFT p95 | TPOT p95 | end to end p95 |",
                "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
            ]
            for run in runs {
                let cells =
                    [escaped(run.label), "\(run.record.requests.count)"]
                    + ServingRecord.Outcome.allCases.map { "\(run.summary.count($0))" } + [
                        Format.significant(run.summary.goodput)
                    ]
                    + [run.firstToken, run.perToken, run.endToEnd].map {
                        ServingFigures.percentile(0.95, of: $0).map(Format.time) ?? "–"
                    }
                lines.append("| " + cells.joined(separator: " | ") + " |")
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// A line for each row, times in seconds with all their digits (RFC 4180).
    package static func csv(_ data: ReportData) -> String {
        let head = [
            "file", "workload", "tokens", "hidden", "expert_hidden", "experts", "top_k", "dtype", "device", "threads",
            "instruction_set", "caches", "row", "program", "samples", "median_s", "interval_low_s", "interval_high_s",
            "minimum_s",
            "p95_s", "p99_s", "tokens_per_s", "flops_per_s", "bytes_per_s", "ceiling", "of_ceiling", "speedup", "ideal",
            "differences", "error", "partial",
        ]
        var lines = [head.joined(separator: ",")]
        for figures in figures(data).rows {
            let cells: [String?] = [
                figures.file, figures.workload, "\(figures.tokens)", "\(figures.hidden)", "\(figures.expertHidden)",
                "\(figures.experts)", "\(figures.topK)", figures.dtype, figures.device, "\(figures.threads)",
                figures.instructionSet, figures.caches, figures.row, figures.program, "\(figures.samples)",
            ]
            let numbers: [Double?] = [
                figures.median, figures.interval?.first, figures.interval?.last, figures.minimum, figures.p95,
                figures.p99,
                figures.tokensPerSecond, figures.flopsPerSecond, figures.bytesPerSecond,
            ]
            let rest: [String?] = [
                figures.ceiling, figures.ofCeiling.map { "\($0)" }, figures.speedup.map { "\($0)" },
                figures.ideal.map { "\($0)" }, figures.differences.joined(separator: " "),
                figures.error.map { "\($0)" },
                "\(figures.partial)",
            ]
            lines.append(
                (cells + numbers.map { $0.map { "\($0)" } } + rest).map { quoted($0 ?? "") }.joined(separator: ","))
        }
        return lines.joined(separator: "\r\n") + "\r\n"
    }

    /// The same as JSON, serving runs included.
    package static func json(_ data: ReportData) throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        return try encoder.encode(figures(data)) + Data("\n".utf8)
    }

    struct Figures: Codable, Sendable {
        struct Row: Codable, Sendable {
            let file, workload: String
            let tokens, hidden, expertHidden, experts, topK: Int
            let dtype, device: String
            let threads: Int
            let instructionSet, caches, row: String
            let program: String?
            let samples: Int
            /// Seconds.
            let median: Double
            let interval: [Double]?
            let minimum: Double
            let p95, p99, tokensPerSecond, flopsPerSecond, bytesPerSecond: Double?
            let ceiling: String?
            let ofCeiling, speedup: Double?
            let speedupInterval: [Double]?
            let ideal: Double?
            let differences: [String]
            let error: Double?
            let partial: Bool
        }

        struct Serving: Codable, Sendable {
            let file, arrivals: String
            let rate, seconds: Double
            let requests: Int
            let outcomes: [String: Int]
            /// Tokens that came; prompts are not counted.
            let goodput, generatedPerSecond: Double
            /// Seconds: p50, p95 and p99 as far as there are requests enough.
            let firstToken, perToken, endToEnd: [String: Double]
            let partial: Bool
        }

        struct Missing: Codable, Sendable {
            let file, workload, row, what, reason: String
        }

        let schema: String
        let version: Int
        let rows: [Row]
        let serving: [Serving]
        let missing: [Missing]
    }

    private static func figures(_ data: ReportData) -> Figures {
        Figures(
            schema: "moe-bench report", version: 1,
            rows: data.entries.flatMap { entry in entry.rows.map { row($0, of: entry, data) } },
            serving: data.serving.map { file, record in
                let run = ServingFigures(record)
                func percentiles(_ sorted: [Double]) -> [String: Double] {
                    var result: [String: Double] = [:]
                    for (name, q) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
                        result[name] = ServingFigures.percentile(q, of: sorted)
                    }
                    return result
                }
                return Figures.Serving(
                    file: data.inputs[file].path, arrivals: record.arrivals, rate: record.rate, seconds: record.seconds,
                    requests: record.requests.count,
                    outcomes: Dictionary(
                        uniqueKeysWithValues: ServingRecord.Outcome.allCases.map {
                            ($0.rawValue, run.summary.count($0))
                        }),
                    goodput: run.summary.goodput, generatedPerSecond: run.summary.generatedPerSecond,
                    firstToken: percentiles(run.firstToken),
                    perToken: percentiles(run.perToken), endToEnd: percentiles(run.endToEnd), partial: record.partial)
            },
            missing: data.entries.flatMap { entry in
                let file = data.inputs[entry.file].path
                return entry.recorded.failed.map {
                    Figures.Missing(file: file, workload: entry.label, row: $0.name, what: "failed", reason: $0.reason)
                }
                    + entry.recorded.notRun.map {
                        Figures.Missing(
                            file: file, workload: entry.label, row: $0.name, what: "not run", reason: $0.reason)
                    }
            })
    }

    private static func row(_ row: ReportData.Row, of entry: ReportData.Entry, _ data: ReportData) -> Figures.Row {
        let workload = entry.recorded.workload
        return Figures.Row(
            file: data.inputs[entry.file].path, workload: entry.label, tokens: workload.tokens, hidden: workload.hidden,
            expertHidden: workload.expertHidden, experts: workload.experts, topK: workload.topK,
            dtype: row.subject.dtype,
            device: row.subject.device, threads: row.subject.threads, instructionSet: row.subject.instructionSet,
            caches: (entry.recorded.caches ?? .warm).rawValue, row: row.name, program: row.program,
            samples: row.summary.count, median: row.summary.median,
            interval: row.summary.medianInterval.map { [$0.lowerBound, $0.upperBound] }, minimum: row.summary.minimum,
            p95: row.summary.p95, p99: row.summary.p99, tokensPerSecond: row.tokensPerSecond,
            flopsPerSecond: row.flopsPerSecond, bytesPerSecond: row.bytesPerSecond,
            ceiling: row.bound?.resource.rawValue,
            ofCeiling: row.shareOfBound, speedup: row.speedup?.value,
            speedupInterval: row.speedup?.interval.map { [$0.lowerBound, $0.upperBound] }, ideal: row.speedup?.ideal,
            differences: row.speedup?.differences.map(\.rawValue) ?? [], error: row.error,
            partial: entry.recorded.partial)
    }

    /// Text that Markdown takes as text.
    static func escaped(_ text: String) -> String {
        var result = ""
        for character in text {
            switch character {
            case "\\", "`", "*", "_", "[", "]", "|", "#": result += "\\\(character)"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "&": result += "&amp;"
            case _ where character.isNewline: result += " "
            default: result.append(character)
            }
        }
        return result
    }

    private static func quoted(_ cell: String) -> String {
        guard cell.contains(where: { $0 == "," || $0 == "\"" || $0.isNewline }) else { return cell }
        return "\"" + cell.replacing("\"", with: "\"\"") + "\""
    }
}
