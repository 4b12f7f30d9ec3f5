import Foundation
import Testing

@testable import MoEBench

@Suite struct ReportTextTests {
    private static func report() throws -> ReportData {
        let workload = ResultsFixture.workload("a, \"b\" | c")
        return try ResultsFixture.report(
            [
                ResultsFixture.entry(
                    workload,
                    [
                        ResultsFixture.row("whole layer", workload, ResultsFixture.samples(30, median: 3.4e6, seed: 1)),
                        ResultsFixture.row(
                            "dense-all-experts", workload, ResultsFixture.samples(30, median: 12e6, seed: 2)),
                    ])
            ], serving: [ResultsFixture.serving(rate: 10)])
    }

    @Test func csvHasAllDigits() throws {
        let data = try Self.report()
        let lines = ReportText.csv(data).split(separator: "\r\n")
        #expect(lines.count == 3)
        let head = lines[0].split(separator: ",", omittingEmptySubsequences: false)
        #expect(
            lines[1].hasPrefix(
                "results.json,\"a, \"\"b\"\" | c\",32,512,2048,8,2,fp32,cpu,2,avx2,warm,whole layer,,30,"))
        // The only comma inside a cell is the name's.
        #expect(lines[1].split(separator: ",", omittingEmptySubsequences: false).count == head.count + 1)
        let median = try #require(head.firstIndex(of: "median_s"))
        let cells = lines[2].split(separator: ",", omittingEmptySubsequences: false)
        #expect(Double(cells[median + 1]) == data.entries[0].rows[1].summary.median)
    }

    @Test func jsonIsTheSameFigures() throws {
        let data = try Self.report()
        let figures = try JSONDecoder().decode(ReportText.Figures.self, from: try ReportText.json(data))
        #expect(figures.rows.map(\.row) == ["whole layer", "dense-all-experts"])
        #expect(figures.rows[1].median == data.entries[0].rows[1].summary.median)
        #expect(figures.rows[1].speedup == data.entries[0].rows[1].speedup?.value)
        #expect(figures.rows[1].ideal == 4)
        #expect(figures.serving.first?.outcomes == ["finished": 180, "rejected": 20, "cancelled": 0, "failed": 0])
        #expect(figures.serving.first?.firstToken["p99"] != nil)
    }

    @Test func markdownKeepsItsColumns() throws {
        let lines = ReportText.markdown(try Self.report(), title: "a_b").split(separator: "\n")
        #expect(lines.first == "# a\\_b")
        #expect(lines.contains("## a, \"b\" \\| c"))
        let rows = lines.filter { $0.hasPrefix("| whole layer") || $0.hasPrefix("| dense-all-experts") }
        #expect(rows.count == 2 && rows.allSatisfy { $0.count(where: { $0 == "|" }) == 9 })
    }
}

extension StringProtocol {
    fileprivate func count(where isCounted: (Character) -> Bool) -> Int { filter(isCounted).count }
}
