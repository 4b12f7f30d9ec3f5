/// The layer beside implementations in other programs, which timed themselves.
enum PeersChart {
    static func figures(_ entries: [ReportData.Entry]) -> [Markup] {
        entries.compactMap(figure)
    }

    private static func figure(_ entry: ReportData.Entry) -> Markup? {
        let peers = entry.rows.filter { $0.program != nil }
        guard !peers.isEmpty else { return nil }
        let rows = ([entry.referenceRow].compactMap { $0 } + peers).filter { $0.summary.median > 0 }
            .sorted { $0.summary.median < $1.summary.median }
        let top = 10.0, step = 40.0
        let height = top + Double(rows.count) * step + 42, bottom = height - 42
        let x = Scale.logarithmic(
            rows.flatMap { [$0.summary.median, $0.summary.minimum, $0.summary.p95 ?? $0.summary.median] }, from: 12,
            to: Plot.right)
        var table = PageTable(
            [
                "", "program", "threads", "dtype", "median", "95 % interval", "\(entry.referenceTitle) is faster by",
                "largest error",
                "remark",
            ],
            text: [0, 1, 3, 8])
        for row in rows {
            table.rows.append([
                row.name, row.program ?? "moe-bench", "\(row.subject.threads)", row.subject.dtype,
                Format.time(row.summary.median), row.summary.medianInterval.map(Format.interval) ?? "too few samples",
                row.speedup.map { Format.fixed($0.value, 2) + "×" } ?? (row.program == nil ? "–" : "refused"),
                row.error.map(Format.scientific) ?? "–",
                row.speedup?.differences.map(\.rawValue).joined(separator: ", ") ?? "",
            ])
        }
        return Plot.figure(
            title: "Other programs: \(entry.label)",
            description: "Median times on a logarithmic axis, shorter is better. "
                + rows.map { "\($0.name)\($0.program.map { " in \($0)" } ?? ""): \(Format.time($0.summary.median))" }
                .joined(separator: "; ") + ".",
            height: height,
            legend: [.series(0, "moe-bench"), .series(1, "external: timed by that program")],
            note:
                "External timings are those programs' own, on the same weights and inputs; their outputs were checked by moe-bench.",
            table: table.markup("peers")
        ) {
            for (index, row) in rows.enumerated() {
                let y = top + Double(index) * step
                let series = row.program == nil ? 0 : 1
                Plot.rules(x, x.ticks, y: y)
                Plot.row(row.name + (row.program.map { ", \($0)" } ?? ""), value: Format.time(row.summary.median), y: y)
                Plot.line(x.start, y + 25, x(row.summary.median), y + 25, style: "bar \(Plot.series(series))")
                if let interval = row.summary.medianInterval {
                    Plot.line(
                        x(interval.lowerBound), y + 25, x(interval.upperBound), y + 25,
                        style: "span \(Plot.series(series))")
                }
                Plot.mark(series, x: x(row.summary.median), y: y + 25)
            }
            Plot.line(x.start, bottom, x.end, bottom, style: "base")
            Plot.below(x, bottom, "median time of a call (log)", format: Format.timeAxis)
        }
    }
}
