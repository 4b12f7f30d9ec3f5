#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// A comparison as lines of text, or for another program.
package enum DiffText {
    package enum Form: String, Sendable, CaseIterable { case text, markdown, json }

    package static func lines(_ diff: ResultsDiff, first: ResultsInput, second: ResultsInput, terminal: Terminal)
        -> [String]
    {
        var lines = [
            "before  \(label(first))",
            "after   \(label(second))",
        ]
        if !diff.machines.isEmpty { lines.append("machines differ: " + diff.machines.joined(separator: "; ")) }
        if diff.isRefused { return lines + [""] + summary(diff) }
        for (workload, pairs) in grouped(diff.pairs) {
            lines += ["", terminal.styled(workload, .bold)]
            var table = TextTable([
                .init("", .left), .init("before"), .init("after"), .init("change"), .init("interval"),
                .init("beside ceiling"), .init("", .left),
            ])
            for pair in pairs {
                table.add(
                    cells(pair),
                    style: pair.verdict == .worse
                        ? .red : pair.verdict == .better ? .bold : pair.verdict == .unlike ? .faint : nil)
            }
            lines += table.render(terminal)
        }
        return lines + [""] + summary(diff)
    }

    package static func markdown(_ diff: ResultsDiff, first: ResultsInput, second: ResultsInput) -> String {
        var lines = [
            "Before: \(ReportText.escaped(label(first)))  ", "After: \(ReportText.escaped(label(second)))", "",
            "| workload | row | before | after | change | interval | beside ceiling | verdict |",
            "|---|---|---:|---:|---:|---:|---:|---|",
        ]
        for pair in diff.pairs {
            lines.append(
                "| "
                    + ([pair.first.timing.subject.workload.name] + cells(pair)).map(ReportText.escaped).joined(
                        separator: " | ")
                    + " |")
        }
        return (lines + [""] + summary(diff).map { ReportText.escaped($0) + "  " }).joined(separator: "\n") + "\n"
    }

    package static func json(_ diff: ResultsDiff, first: ResultsInput, second: ResultsInput) throws -> Data {
        struct Row: Encodable {
            let workload, row: String
            let verdict: ResultsDiff.Verdict
            let ratio: Double?
            let interval: [Double]?
            let besideCeiling: Double?
            let besideCeilingInterval: [Double]?
            let ceiling: String?
            let remarks: [String]
        }
        struct File: Encodable {
            let schema: String
            let version: Int
            let before, after: String
            let compared: Int
            let machines: [String]
            let rows: [Row]
            let onlyBefore, onlyAfter: [String]
            let exit: Int32
        }
        let file = File(
            schema: "moe-bench diff", version: 1, before: first.path, after: second.path, compared: diff.compared,
            machines: diff.machines,
            rows: diff.pairs.map { pair in
                Row(
                    workload: pair.first.timing.subject.workload.name, row: pair.first.timing.subject.name,
                    verdict: pair.verdict, ratio: pair.change?.value,
                    interval: pair.change?.interval.map { [$0.lowerBound, $0.upperBound] },
                    besideCeiling: pair.besideCeiling?.value,
                    besideCeilingInterval: pair.besideCeiling?.interval.map { [$0.lowerBound, $0.upperBound] },
                    ceiling: pair.yardstick?.rawValue, remarks: pair.remarks)
            }, onlyBefore: diff.onlyFirst, onlyAfter: diff.onlySecond, exit: diff.exitCode.rawValue)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        return try encoder.encode(file) + Data("\n".utf8)
    }

    /// What a row of the table says, verdict and remarks in the last cell.
    private static func cells(_ pair: ResultsDiff.Pair) -> [String] {
        let name = pair.first.timing.subject.name
        guard let change = pair.change else {
            return [name, time(pair.first), time(pair.second), "–", "–", "–", verdict(pair)]
        }
        return [
            name, time(pair.first), time(pair.second), percent(change.value),
            change.interval.map { "\(percent($0.lowerBound)) to \(percent($0.upperBound))" } ?? "–",
            pair.besideCeiling.map { percent($0.value) } ?? "–", verdict(pair),
        ]
    }

    private static func verdict(_ pair: ResultsDiff.Pair) -> String {
        let word = pair.verdict == .same ? "–" : pair.verdict.rawValue
        guard !pair.remarks.isEmpty else { return word }
        return pair.verdict == .same
            ? pair.remarks.joined(separator: "; ") : "\(word): \(pair.remarks.joined(separator: "; "))"
    }

    private static func time(_ row: ResultsDiff.Row) -> String {
        row.timing.nanoseconds.isEmpty
            ? "–" : Format.time(RatioInterval.Factor(nanoseconds: row.timing.nanoseconds).median)
    }

    private static func percent(_ ratio: Double) -> String {
        "\(ratio >= 1 ? "+" : "−")\(Format.fixed(abs(ratio - 1) * 100, 1)) %"
    }

    /// Workloads in their order; two of one name, which differ in something, each by itself.
    private static func grouped(_ pairs: [ResultsDiff.Pair]) -> [(String, [ResultsDiff.Pair])] {
        var groups: [(workload: Workload, pairs: [ResultsDiff.Pair])] = []
        for pair in pairs {
            let workload = pair.first.timing.subject.workload
            if groups.last?.workload == workload {
                groups[groups.count - 1].pairs.append(pair)
            } else {
                groups.append((workload, [pair]))
            }
        }
        return groups.map { ("\($0.workload.name)  \($0.workload.sizes)  \($0.workload.dtype)", $0.pairs) }
    }

    private static func summary(_ diff: ResultsDiff) -> [String] {
        var lines = [
            "\(diff.compared) rows compared: \(diff.count(.worse)) worse, \(diff.count(.better)) better, "
                + "\(diff.count(.same)) without a difference beyond noise"
                + (diff.count(.unlike) > 0 ? "; \(diff.count(.unlike)) refused as unlike" : "")
        ]
        if diff.compared > 1 {
            lines.append("intervals are as wide as it takes for all \(diff.compared) to hold together 19 times in 20")
        }
        if !diff.onlyFirst.isEmpty { lines.append("only before: " + diff.onlyFirst.joined(separator: "; ")) }
        if !diff.onlySecond.isEmpty { lines.append("only after: " + diff.onlySecond.joined(separator: "; ")) }
        return lines
    }

    private static func label(_ input: ResultsInput) -> String {
        "\(input.path), build \(input.results.build), \(input.results.finished)"
            + (input.results.partial ? ", partial" : "")
    }
}
