#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// What an entry's rows reach beside what the machine could do at their ratio of arithmetic to memory traffic.
/// Source: Williams, Waterman, Patterson, "Roofline: An Insightful Visual Performance Model for Multicore Architectures", 2009.
enum RooflineChart {
    static func figure(_ entry: ReportData.Entry) -> Markup? {
        let points = entry.byImportance.compactMap { row -> (row: ReportData.Row, intensity: Double, rate: Double)? in
            guard let rate = row.flopsPerSecond, row.work.bytes > 0 else { return nil }
            return (row, Double(row.work.flops) / Double(row.work.bytes), rate * 1e-9)
        }
        let ceilings = entry.recorded.ceilings
        let flat = [
            ("products in fp32", ceilings.multiplyAdd), ("products of bytes", ceilings.byteDot),
            ("products of bf16 pairs", ceilings.pairDot),
        ].compactMap { name, series in
            series.map { (name: ceilings.isDevice ? "products" : name, rate: $0.rate * 1e-9) }
        }
        .filter { $0.rate > 0 }
        let slopes = (ceilings.copies ?? ceilings.reads ?? []).map {
            (
                name: "\(ceilings.isDevice ? "copying" : "reading") \(Format.bytes($0.bufferBytes))",
                rate: $0.series.rate * 1e-9
            )
        }.filter { $0.rate > 0 }.sorted { $0.rate < $1.rate }
        guard !points.isEmpty, let peak = flat.map(\.rate).max() else { return nil }

        let named =
            (flat.map { "\($0.name) \(Format.significant($0.rate)) GFLOP/s" }
            + slopes.map { "\($0.name) \(Format.significant($0.rate)) GB/s" }).joined(separator: ", ")
        let height = 300.0
        let ridge = slopes.map { peak / $0.rate }
        let x = Scale.logarithmic(points.map(\.intensity) + ridge, padding: 4, from: Plot.left, to: Plot.right)
        let y = Scale.logarithmic(points.map(\.rate) + [peak], padding: 2, from: height - 46, to: 28)
        var table = PageTable(["", "FLOP a byte", "GFLOP/s", "limit", "of limit"], text: [0, 3])
        for point in points {
            table.rows.append([
                point.row.name, Format.significant(point.intensity), Format.significant(point.rate),
                point.row.bound.map(\.resource.rawValue) ?? "–",
                point.row.shareOfBound.map { Format.significant($0 * 100) + " %" } ?? "–",
            ])
        }
        for roof in flat { table.rows.append([roof.name, "–", Format.significant(roof.rate), "ceiling", "–"]) }
        for slope in slopes {
            table.rows.append([slope.name, "–", "\(Format.significant(slope.rate)) GB/s", "ceiling", "–"])
        }
        return Plot.figure(
            title: "Roofline",
            description: "Arithmetic a second against operations for each byte of weights, both logarithmic. "
                + "The measured ceilings are the roofs: "
                + named + ". "
                + points.map { "\($0.row.name): \(Format.significant($0.rate)) GFLOP/s" }.joined(separator: ", ") + ".",
            height: height,
            legend: points.enumerated().map { .series($0, $1.row.name + ($1.row.program == nil ? "" : " (external)")) }
                + [.line("measured ceilings: " + named, style: "roof")],
            table: table.markup("roofline")
        ) {
            Plot.axes(
                x: x, y: y, xLabel: "FLOP for each byte of weights", yLabel: "GFLOP/s", xFormat: Format.axis,
                yFormat: Format.axis)
            for (index, slope) in slopes.enumerated() {
                let start = max(x.domain.lowerBound, y.domain.lowerBound / slope.rate)
                let end = min(x.domain.upperBound, peak / slope.rate)
                if start < end {
                    Plot.line(x(start), y(start * slope.rate), x(end), y(end * slope.rate), style: "roof")
                    if index == 0 || index == slopes.count - 1 {
                        label(
                            slope, from: (x(start), y(start * slope.rate)), to: (x(end), y(end * slope.rate)),
                            below: index == 0)
                    }
                }
            }
            for (index, roof) in flat.enumerated() {
                let from = slopes.map { roof.rate / $0.rate }.min() ?? x.domain.lowerBound
                Plot.line(x(from), y(roof.rate), x.end, y(roof.rate), style: "roof")
                Plot.text(
                    "\(roof.name) \(Format.significant(roof.rate)) GFLOP/s", x: x.end,
                    y: y(roof.rate) + (index == 0 || roof.rate == peak ? -5 : 13), anchor: .end, style: "roofname")
            }
            for (index, point) in points.enumerated() {
                Plot.mark(
                    index, x: x(point.intensity), y: y(point.rate),
                    label: "\(point.row.name): \(Format.significant(point.rate)) GFLOP/s")
            }
        }
    }

    /// A name along a slope, on its outer side.
    private static func label(
        _ slope: (name: String, rate: Double), from start: (x: Double, y: Double), to end: (x: Double, y: Double),
        below: Bool
    ) -> Markup {
        let angle = atan2(end.y - start.y, end.x - start.x)
        let text = "\(slope.name) \(Format.significant(slope.rate)) GB/s"
        let length = hypot(end.x - start.x, end.y - start.y)
        guard length > 5.2 * Double(text.count) + 8 else { return .empty }
        let offset = below ? 14.0 : -6.0
        return Plot.text(
            text, x: start.x + 8 * cos(angle) - offset * sin(angle), y: start.y + 8 * sin(angle) + offset * cos(angle),
            style: "roofname", turn: angle * 180 / .pi)
    }
}

extension Format {
    /// A tick of an axis: no digits that say nothing.
    static func axis(_ value: Double) -> String {
        let text = count(value)
        guard let point = text.firstIndex(of: ".") else { return text }
        let digits = text[point...].prefix { $0 == "." || $0.isNumber }
        let kept = digits.reversed().drop { $0 == "0" }.drop { $0 == "." }
        return text[..<point] + String(kept.reversed()) + text[digits.endIndex...]
    }

    /// A tick of an axis of seconds.
    static func timeAxis(_ seconds: Double) -> String {
        let text = time(seconds)
        let parts = text.split(separator: " ")
        guard parts.count == 2, let value = Double(parts[0]) else { return text }
        return "\(axis(value)) \(parts[1])"
    }
}
