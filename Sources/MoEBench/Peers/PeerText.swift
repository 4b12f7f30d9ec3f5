/// A comparison with peers as lines of text.
package struct PeerText: Sendable {
    package let terminal: Terminal

    package init(_ terminal: Terminal) { self.terminal = terminal }

    package func workload(_ report: WorkloadReport) -> [String] {
        let workload = report.workload
        let layer = report.comparison.results.first { $0.subject.name == report.reference }?.measurement
        var table = TextTable([
            .init("", .left), .init("timed by", .left), .init("median"), .init("95 % interval"),
            .init("layer is faster by"), .init("error"),
        ])
        for result in report.comparison.results {
            switch result.outcome {
            case .success(let measurement):
                table.add(
                    row(measurement, "moe-bench", layer, error: nil), style: measurement == layer ? .bold : nil)
            case .failure(let failure):
                table.add([result.subject.name, "\(failure)"], style: failure == .interrupted ? .faint : .red)
            }
        }
        for external in report.external { table.add(row(external, "external", layer, error: external.error)) }
        let programs = report.external.map(\.program).reduce(into: [String]()) { list, program in
            if !list.contains(program) { list.append(program) }
        }
        return [
            terminal.styled(workload.name, .bold)
                + "  \(workload.sizes)  \(workload.dtype)  \(report.threads) thread\(report.threads == 1 ? "" : "s")"
        ] + table.render(terminal)
            + (report.external.isEmpty
                ? [] : ["  external: timed by another program of itself, checked here against float64"])
            + programs.map { "  " + $0 } + notRun(report.notRun)
    }

    private func notRun(_ all: [WorkloadReport.NotRun]) -> [String] {
        let width = all.map(\.name.count).max() ?? 0
        return all.map { left in
            let name = left.name + String(repeating: " ", count: width - left.name.count)
            return terminal.styled("  \(name)  not run: \(left.reason)", .faint)
        }
    }

    private func row(_ timing: some Timing, _ by: String, _ layer: Measurement?, error: Double?) -> [String] {
        guard let summary = timing.summary else { return [timing.subject.name, "no samples"] }
        return [
            timing.subject.name, by, Format.time(summary.median),
            summary.medianInterval.map { "\(Format.time($0.lowerBound)) – \(Format.time($0.upperBound))" } ?? "–",
            timing.subject.name == layer?.subject.name ? "" : layer.map { ratio(of: $0, over: timing) } ?? "",
            error.map(Format.scientific) ?? "",
        ]
    }

    private func ratio(of layer: Measurement, over other: some Timing) -> String {
        do {
            let speedup = try Speedup(of: layer, over: other)
            return Format.fixed(speedup.ratio, 2) + "×" + speedup.differences.map { " \($0.rawValue)" }.joined()
        } catch {
            return "refused"
        }
    }
}
