/// How many times faster the layer is than what it was compared with, beside the gain that counts of multiplications promise.
enum SpeedupChart {
    /// A chart for each thing that was compared with, since gains of a few per cent and of a hundred times share no axis.
    static func figures(_ entries: [ReportData.Entry]) -> [Markup] {
        var rivals: [String] = []
        for row in entries.flatMap(\.rows) where row.speedup != nil && row.program == nil && !rivals.contains(row.name)
        {
            rivals.append(row.name)
        }
        return rivals.compactMap { figure(entries, over: $0) }
    }

    private static func figure(_ entries: [ReportData.Entry], over rival: String) -> Markup? {
        let bars = entries.flatMap { entry in
            entry.rows.filter { $0.name == rival && $0.program == nil }.compactMap { row in
                row.speedup.map { (label: entry.label, reference: entry.reference ?? "", ratio: $0) }
            }
        }
        guard let reference = bars.first?.reference else { return nil }
        let top = 10.0, step = 40.0
        let height = top + Double(bars.count) * step + 42, bottom = height - 42
        let x = Scale.logarithmic(
            bars.flatMap { [$0.ratio.value, $0.ratio.ideal ?? 1, 1] + ends($0.ratio.interval) }, from: 12,
            to: Plot.right)
        var table = PageTable(["workload", "faster by", "95 % interval", "ideal", "remark"], text: [0, 4])
        for bar in bars {
            table.rows.append([
                bar.label, Format.fixed(bar.ratio.value, 2) + "×",
                bar.ratio.interval.map { "\(Format.fixed($0.lowerBound, 2))–\(Format.fixed($0.upperBound, 2))×" }
                    ?? "too few samples",
                bar.ratio.ideal.map { Format.fixed($0, 2) + "×" } ?? "–",
                bar.ratio.differences.map(\.rawValue).joined(separator: ", "),
            ])
        }
        let hasIdeal = bars.contains { $0.ratio.ideal != nil }
        return Plot.figure(
            title: "\(reference) against \(rival)",
            description:
                "For each workload, the median of \(rival) over the median of \(reference), on a logarithmic axis. "
                + bars.map {
                    "\($0.label): \(Format.fixed($0.ratio.value, 2)) times"
                        + ($0.ratio.ideal.map { " of an ideal \(Format.fixed($0, 2))" } ?? "")
                }.joined(separator: "; ") + ".",
            height: height,
            legend: [.series(0, "measured, with 95 % interval")]
                + (hasIdeal ? [.line("ideal: what the numbers of multiplications promise", style: "ideal")] : []),
            table: table.markup("speedup")
        ) {
            for (index, bar) in bars.enumerated() {
                let y = top + Double(index) * step
                Plot.rules(x, x.ticks + [1], y: y)
                Plot.row(bar.label, value: bar.ratio.text, y: y)
                Plot.line(x(1), y + 25, x(bar.ratio.value), y + 25, style: "bar \(Plot.series(0))")
                if let ideal = bar.ratio.ideal { Plot.line(x(ideal), y + 17, x(ideal), y + 33, style: "ideal") }
                if let interval = bar.ratio.interval {
                    Plot.line(
                        x(interval.lowerBound), y + 25, x(interval.upperBound), y + 25,
                        style: "span \(Plot.series(0))")
                }
                Plot.mark(0, x: x(bar.ratio.value), y: y + 25)
            }
            Plot.line(x.start, bottom, x.end, bottom, style: "base")
            Plot.below(x, bottom, "times faster (log)") { Format.axis($0) + "×" }
        }
    }

    private static func ends(_ interval: ClosedRange<Double>?) -> [Double] {
        interval.map { [$0.lowerBound, $0.upperBound] } ?? []
    }
}
