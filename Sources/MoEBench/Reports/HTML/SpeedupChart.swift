/// How many times faster the layer is than what it was compared with, beside the gain that counts of multiplications promise.
enum SpeedupChart {
    static func figure(_ entries: [ReportData.Entry]) -> Markup? {
        let bars = entries.flatMap { entry in
            entry.rows.compactMap { row in row.speedup.map { (entry: entry, row: row, ratio: $0) } }
        }
        guard !bars.isEmpty else { return nil }
        let top = 10.0, step = 40.0
        let height = top + Double(bars.count) * step + 42
        let x = Scale.logarithmic(
            bars.flatMap { [$0.ratio.value, $0.ratio.ideal ?? 1, 1] + ends($0.ratio.interval) }, from: 12,
            to: Plot.right)
        let bottom = height - 42
        var table = PageTable(
            ["workload", "compared with", "faster by", "95 % interval", "ideal", "remark"], text: [0, 1, 5])
        for bar in bars {
            table.rows.append([
                bar.entry.label, name(bar.row), Format.fixed(bar.ratio.value, 2) + "×", interval(bar.ratio.interval),
                bar.ratio.ideal.map { Format.fixed($0, 2) + "×" } ?? "–",
                (bar.ratio.differences.map(\.rawValue) + (bar.row.program.map { ["external: \($0)"] } ?? [])).joined(
                    separator: ", "),
            ])
        }
        let hasIdeal = bars.contains { $0.ratio.ideal != nil }
        let hasExternal = bars.contains { $0.row.program != nil }
        return Plot.figure(
            title: "Speed-up of the layer",
            description:
                "For each workload and each thing it was compared with: the ratio of the medians, on a logarithmic axis. "
                + bars.map {
                    "\($0.entry.label) against \(name($0.row)): \(Format.fixed($0.ratio.value, 2)) times"
                        + ($0.ratio.ideal.map { " of an ideal \(Format.fixed($0, 2))" } ?? "")
                }.joined(separator: "; ") + ".",
            height: height,
            legend: [.series(0, "measured, with 95 % interval")]
                + (hasIdeal ? [.line("ideal: what the numbers of multiplications promise", style: "ideal")] : [])
                + (hasExternal ? [.series(1, "timed by another program")] : []),
            table: table.markup("speedup"), style: "wide"
        ) {
            for tick in x.ticks { Plot.line(x(tick), top, x(tick), bottom, style: "rule") }
            Plot.line(x(1), top, x(1), bottom, style: "unity")
            for (index, bar) in bars.enumerated() {
                let y = top + Double(index) * step
                let series = bar.row.program == nil ? 0 : 1
                let value = bar.ratio.text
                Plot.text(
                    Plot.fit(
                        "\(bar.entry.label) / \(name(bar.row))", room: Plot.right - 16 - 6.4 * Double(value.count)),
                    x: 12, y: y + 13, style: "label")
                Plot.text(value, x: Plot.right, y: y + 13, anchor: .end, style: "value")
                Plot.line(x(1), y + 25, x(bar.ratio.value), y + 25, style: "bar \(Plot.series(series))")
                if let ideal = bar.ratio.ideal { Plot.line(x(ideal), y + 17, x(ideal), y + 33, style: "ideal") }
                if let interval = bar.ratio.interval {
                    Plot.line(
                        x(interval.lowerBound), y + 25, x(interval.upperBound), y + 25,
                        style: "span \(Plot.series(series))")
                }
                Plot.mark(series, x: x(bar.ratio.value), y: y + 25)
            }
            Plot.line(x.start, bottom, x.end, bottom, style: "base")
            Plot.below(x, bottom, "times faster (log)") { Format.significant($0) + "×" }
        }
    }

    private static func name(_ row: ReportData.Row) -> String { row.name }

    private static func ends(_ interval: ClosedRange<Double>?) -> [Double] {
        interval.map { [$0.lowerBound, $0.upperBound] } ?? []
    }

    private static func interval(_ interval: ClosedRange<Double>?) -> String {
        interval.map { "\(Format.fixed($0.lowerBound, 2))–\(Format.fixed($0.upperBound, 2))×" } ?? "too few samples"
    }
}
