/// Where the router sent tokens: a row for each workload, a column for each expert.
enum LoadHeatMap {
    /// Columns that a telephone can still show; of more experts, neighbours share one.
    private static let columns = 128

    /// Rows of one drawing.
    private static let most = 8

    static func figures(_ entries: [ReportData.Entry]) -> [Markup] {
        let maps = entries.compactMap { entry in
            entry.recorded.load.tokensPerExpert.flatMap { tokens in
                tokens.contains { $0 > 0 } ? (entry: entry, tokens: tokens) : nil
            }
        }
        return stride(from: 0, to: maps.count, by: most).map { figure(Array(maps[$0..<min($0 + most, maps.count)])) }
    }

    private static func figure(_ maps: [(entry: ReportData.Entry, tokens: [Int])]) -> Markup {
        let step = 42.0, top = 6.0
        let height = top + Double(maps.count) * step + 44
        let left = 12.0, width = Plot.right - left
        let busiest = max(maps.map { loads($0.tokens).max() ?? 1 }.max() ?? 1, 1)
        var table = PageTable([
            "workload", "experts", "without a token", "max / mean", "least / mean", "coefficient of variation",
        ])
        for map in maps {
            let loads = map.tokens.map { Double($0) }
            let mean = loads.reduce(0, +) / Double(loads.count)
            let variance = loads.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(loads.count)
            table.rows.append([
                map.entry.label, "\(loads.count)", "\(loads.count { $0 == 0 })",
                Format.fixed((loads.max() ?? 0) / mean, 2), Format.fixed((loads.min() ?? 0) / mean, 2),
                Format.fixed(variance.squareRoot() / mean, 2),
            ])
        }
        let isBinned = maps.contains { $0.tokens.count > columns }
        return Plot.figure(
            title: "Load of each expert",
            description:
                "A row of cells for each workload, a cell for each expert, darker the more tokens the router sent there; "
                + "1 is the mean. "
                + maps.map {
                    "\($0.entry.label): the busiest has \(Format.fixed(loads($0.tokens).max() ?? 0, 2)) times the mean"
                }
                .joined(separator: "; ") + ".",
            height: height,
            note: isBinned
                ? "Where there are more than \(columns) experts, neighbours share a cell, which shows their mean."
                : nil,
            table: table.markup("load")
        ) {
            for (index, map) in maps.enumerated() {
                let y = top + Double(index) * step
                let cells = binned(loads(map.tokens))
                let cell = width / Double(cells.count)
                let value = "\(map.tokens.count) experts, max \(Format.fixed(loads(map.tokens).max() ?? 0, 2))×"
                Plot.row(map.entry.label, value: value, y: y)
                Markup.element(
                    "rect",
                    [
                        "x": Plot.px(left), "y": Plot.px(y + 18), "width": Plot.px(width), "height": "18",
                        "class": "heatframe",
                    ])
                for (column, load) in cells.enumerated() where load > 0 {
                    Markup.element(
                        "rect",
                        [
                            "x": Format.fixed(left + Double(column) * cell, 2), "y": Plot.px(y + 18),
                            "width": Format.fixed(max(cell - (cell > 4 ? 1 : 0), 0.5), 2), "height": "18",
                            "class": "heat",
                            "fill-opacity": Format.fixed(opacity(load, busiest), 2),
                        ])
                }
            }
            // The key: from nothing to the busiest.
            let y = height - 34
            for part in 0..<24 {
                Markup.element(
                    "rect",
                    [
                        "x": Plot.px(left + Double(part) * 8), "y": Plot.px(y), "width": "8", "height": "10",
                        "class": "heat",
                        "fill-opacity": Format.fixed(opacity(busiest * (Double(part) + 0.5) / 24, busiest), 2),
                    ])
            }
            Plot.text("0", x: left, y: y + 24, style: "tick")
            if busiest > 1.3 { Plot.text("1", x: left + 192 / busiest, y: y + 24, anchor: .middle, style: "tick") }
            Plot.text(Format.fixed(busiest, 1), x: left + 192, y: y + 24, anchor: .middle, style: "tick")
            Plot.text("tokens beside the mean", x: left + 210, y: y + 9, style: "axis")
        }
    }

    /// Tokens over the mean.
    private static func loads(_ tokens: [Int]) -> [Double] {
        let mean = tokens.reduce(0) { $0 + Double($1) } / Double(max(tokens.count, 1))
        return tokens.map { mean > 0 ? Double($0) / mean : 0 }
    }

    private static func binned(_ loads: [Double]) -> [Double] {
        guard loads.count > columns else { return loads }
        return (0..<columns).map { column in
            let part = loads[column * loads.count / columns..<(column + 1) * loads.count / columns]
            return part.reduce(0, +) / Double(part.count)
        }
    }

    private static func opacity(_ load: Double, _ busiest: Double) -> Double {
        0.06 + 0.94 * (load / busiest).squareRoot()
    }
}
