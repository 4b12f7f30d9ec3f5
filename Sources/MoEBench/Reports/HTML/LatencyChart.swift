/// How long requests waited: the part of them that was served within a time.
enum LatencyChart {
    /// Points of a curve; more cannot be told apart.
    private static let points = 200

    static func figure(_ run: ServingFigures) -> Markup? {
        let curves = [
            ("to the first token (TTFT)", run.firstToken, run.record.objective.firstToken as Double?),
            ("for each later token (TPOT)", run.perToken, run.record.objective.perToken),
            ("end to end", run.endToEnd, nil),
        ].filter { !$0.1.isEmpty }
        guard !curves.isEmpty else { return nil }
        let height = 290.0
        let x = Scale.logarithmic(
            curves.flatMap { [max($0.1[0], 1e-6), $0.1[$0.1.count - 1], $0.2 ?? $0.1[0]] }, padding: 1.2,
            from: Plot.left,
            to: Plot.right)
        let y = Scale.linear([0, 0.9999 / 1.04], from: height - 46, to: 28)
        var table = PageTable(["", "requests", "p50", "p95", "p99", "greatest", "objective"])
        for (name, sorted, objective) in curves {
            table.rows.append(
                [name, "\(sorted.count)"]
                    + [0.5, 0.95, 0.99].map {
                        ServingFigures.percentile($0, of: sorted).map(Format.time) ?? "too few"
                    } + [Format.time(sorted[sorted.count - 1]), objective.map(Format.time) ?? "–"])
        }
        let others = run.record.requests.count - run.endToEnd.count
        return Plot.figure(
            title: "Latency, \(run.label)",
            description: "The part of finished requests whose latency is below a time, on a logarithmic axis. "
                + curves.map { name, sorted, _ in
                    "\(name): median \(Format.time(Summary.quantile(0.5, ofSorted: sorted)))"
                }.joined(separator: "; ") + ".",
            height: height,
            legend: curves.enumerated().map { .series($0, $1.0) } + [.line("objective", style: "ideal")],
            note: "Counted from the scheduled arrival. "
                + (others > 0 ? "\(others) requests that did not finish are not in it." : ""),
            table: table.markup("latency")
        ) {
            Plot.axes(
                x: x, y: y, xLabel: "time (log)", yLabel: "requests within it", yTicks: [0, 0.25, 0.5, 0.75, 0.95],
                xFormat: Format.timeAxis, yFormat: { Format.fixed($0 * 100, 0) + " %" })
            for (name, _, objective) in curves {
                if let objective, x.domain.contains(objective) {
                    Plot.line(x(objective), y.start, x(objective), y.end, style: "ideal")
                    Plot.text(
                        String(name.suffix(5).dropLast()), x: x(objective) + 4, y: y.end + 12, anchor: .start,
                        style: "tick"
                    )
                }
            }
            for (index, (_, sorted, _)) in curves.enumerated() {
                let shown = min(sorted.count, points)
                Plot.path(
                    (0..<shown).map { point in
                        let rank = shown == 1 ? 0 : point * (sorted.count - 1) / (shown - 1)
                        return (x(max(sorted[rank], 1e-6)), y(Double(rank + 1) / Double(sorted.count)))
                    }, style: "curve \(Plot.series(index))")
                let middle = Summary.quantile(0.5, ofSorted: sorted)
                Plot.mark(index, x: x(middle), y: y(0.5), size: 4)
            }
        }
    }
}
