import MoEKernel

/// A sweep in one table: a row a run, with the whole layer's time.
package struct SweepText: Sendable {
    private let terminal: Terminal

    package init(_ terminal: Terminal) { self.terminal = terminal }

    /// - Parameters:
    ///   - varied: What is varied, by name.
    ///   - rows: The values of each run, and what it gave.
    ///   - skipped: Combinations that were left out.
    package func table(
        varied: [String], rows: [(values: [String], report: WorkloadReport)],
        skipped: [(combination: String, reason: String)] = []
    ) -> [String] {
        var table = TextTable(
            varied.map { .init($0) } + [.init("median"), .init("tokens/s"), .init("of ceiling", .left)])
        for (values, report) in rows {
            let result = report.comparison.results.first { $0.subject.name == report.reference }
            switch result?.outcome {
            case .success(let measurement):
                guard let summary = measurement.summary else { continue }
                table.add(
                    values + [
                        Format.time(summary.median),
                        Format.count(Double(report.workload.tokens) / summary.median),
                        report.comparison.ceilings.yardstick(of: measurement.work).map {
                            $0.shareText(ofSeconds: summary.median)
                        } ?? "–",
                    ])
            case .failure(let failure): table.add(values + ["\(failure)"], style: .red)
            case nil: table.add(values + ["not measured"], style: .faint)
            }
        }
        return [terminal.styled("sweep", .bold)] + table.render(terminal)
            + skipped.map { terminal.styled("  left out: \($0.combination): \($0.reason)", .faint) }
    }
}
