/// How the samples of each row lie around its median: the calls themselves, not a summary of them.
enum SampleStrips {
    /// Strokes a row: of more samples, as many that lie evenly in their order.
    private static let strokes = 160

    static func figure(_ entry: ReportData.Entry) -> Markup? {
        let rows = entry.rows.filter { $0.summary.median > 0 }
        guard !rows.isEmpty else { return nil }
        let top = 8.0, step = 46.0
        let height = top + Double(rows.count) * step + 42, bottom = height - 42
        // What almost all samples of all rows need; the rest is counted at the edge.
        let spread = rows.flatMap { row -> [Double] in
            let sorted = row.samples.sorted()
            return [0.01, 0.95].map { Summary.quantile($0, ofSorted: sorted) / row.summary.median }
        }
        let x = Scale.logarithmic(
            spread.map { min(max($0, 0.25), 4) } + [0.8, 1.25], padding: 1.05, from: 12, to: Plot.right - 36)
        let ticks = [0.25, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 3, 4].filter(x.domain.contains)
        var table = PageTable([
            "", "samples", "least", "p25", "median", "95 % interval", "p75", "p95", "p99", "greatest",
        ])
        for row in rows {
            let sorted = row.samples.sorted()
            table.rows.append(
                [row.name, "\(row.summary.count)", Format.time(row.summary.minimum)]
                    + [
                        Format.time(Summary.quantile(0.25, ofSorted: sorted)), Format.time(row.summary.median),
                        row.summary.medianInterval.map(Format.interval) ?? "too few samples",
                        Format.time(Summary.quantile(0.75, ofSorted: sorted)),
                    ] + [row.summary.p95, row.summary.p99].map { $0.map(Format.time) ?? "too few samples" }
                    + [Format.time(sorted.last ?? 0)])
        }
        return Plot.figure(
            title: "Samples",
            description:
                "Every call's time beside the median of its row, on a logarithmic axis; a stroke is a call, the box holds "
                + "the middle half, the bar is the 95 % interval of the median. "
                + rows.map { "\($0.name): median \(Format.time($0.summary.median)), \($0.summary.count) samples" }
                .joined(separator: "; ") + ".",
            height: height,
            legend: [
                .init(name: "a call", swatch: Plot.line(9, 2, 9, 12, style: "stroke")),
                .init(
                    name: "middle half",
                    swatch: .element("rect", ["x": "1", "y": "3", "width": "16", "height": "8", "class": "box"])),
                .line("95 % interval of the median", style: "median"),
            ],
            note: rows.contains { $0.summary.count > strokes }
                ? "Of more than \(strokes) samples, \(strokes) that lie evenly in their order are drawn." : nil,
            table: table.markup("samples")
        ) {
            for (index, row) in rows.enumerated() {
                Plot.rules(x, ticks, y: top + Double(index) * step)
                strip(row, y: top + Double(index) * step, x)
            }
            Plot.line(x.start, bottom, x.end, bottom, style: "base")
            Plot.below(x, bottom, "time beside the row's median (log)", ticks: ticks) { Format.axis($0) + "×" }
        }
    }

    private static func strip(_ row: ReportData.Row, y: Double, _ x: Scale) -> [Markup] {
        let sorted = row.samples.sorted()
        let median = row.summary.median
        let values = "\(Format.time(median)), n = \(row.summary.count)"
        var parts = Plot.row(row.name + (row.program == nil ? "" : " (external)"), value: values, y: y)
        let low = Summary.quantile(0.25, ofSorted: sorted) / median,
            high = Summary.quantile(0.75, ofSorted: sorted) / median
        parts.append(
            .element(
                "rect",
                [
                    "x": Plot.px(x(low)), "y": Plot.px(y + 20), "width": Plot.px(max(x(high) - x(low), 1)),
                    "height": "16",
                    "class": "box",
                ]))
        let shown = min(sorted.count, strokes)
        var path = ""
        for index in 0..<shown {
            let sample = shown == 1 ? sorted[0] : sorted[index * (sorted.count - 1) / (shown - 1)]
            guard x.domain.contains(sample / median) else { continue }
            path += "M\(Plot.px(x(sample / median))) \(Plot.px(y + 22))v12"
        }
        parts.append(.element("path", ["d": path, "class": "stroke"]))
        if let interval = row.summary.medianInterval {
            parts.append(
                Plot.line(
                    x(interval.lowerBound / median), y + 28, x(interval.upperBound / median), y + 28, style: "median"))
        }
        parts.append(Plot.line(x(1), y + 18, x(1), y + 38, style: "medianmark"))
        let above = sorted.count { $0 / median > x.domain.upperBound },
            below = sorted.count { $0 / median < x.domain.lowerBound }
        if above > 0 {
            parts.append(Plot.text("+\(above) ▸", x: Plot.right, y: y + 32, anchor: .end, style: "beyond"))
        }
        if below > 0 { parts.append(Plot.text("◂ +\(below)", x: 10, y: y + 32, style: "beyond")) }
        return parts
    }
}

extension Format {
    /// "3.61–3.70 ms": both ends in the unit that suits the lower.
    static func interval(_ interval: ClosedRange<Double>) -> String {
        let low = time(interval.lowerBound), high = time(interval.upperBound)
        let a = low.split(separator: " "), b = high.split(separator: " ")
        return a.count == 2 && b.count == 2 && a[1] == b[1] ? "\(a[0])–\(high)" : "\(low)–\(high)"
    }
}
