#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// What charts have in common: a size that is read on a telephone as well, axes, series told apart by shape and colour, the chart's
/// frame on the page.
enum Plot {
    /// Units of the drawing. A telephone shows 360 of its points across, so text of 12 units stays readable there.
    static let width = 420.0
    static let left = 52.0
    static let right = 404.0

    /// A coordinate as text.
    static func px(_ value: Double) -> String {
        let text = Format.fixed(value.isFinite ? value : 0, 1)
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }

    enum Anchor: String { case start, middle, end }

    static func text(
        _ content: String, x: Double, y: Double, anchor: Anchor = .start, style: String? = nil, turn: Double? = nil
    ) -> Markup {
        .element(
            "text",
            [
                "x": px(x), "y": px(y), "text-anchor": anchor == .start ? nil : anchor.rawValue, "class": style,
                "transform": turn.map { "rotate(\(px($0)) \(px(x)) \(px(y)))" },
            ]
        ) { content }
    }

    static func line(_ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, style: String) -> Markup {
        .element("line", ["x1": px(x1), "y1": px(y1), "x2": px(x2), "y2": px(y2), "class": style])
    }

    /// A line through points, in order.
    static func path(_ points: [(x: Double, y: Double)], style: String) -> Markup {
        .element(
            "polyline", ["points": points.map { "\(px($0.x)),\(px($0.y))" }.joined(separator: " "), "class": style])
    }

    /// Classes of the series at a place; colours repeat after six, shapes after seven.
    static func series(_ index: Int) -> String { "s\(index % 6)" }

    /// The mark of a series: seven shapes, so that colour is never all that tells them apart.
    static func mark(_ series: Int, x: Double, y: Double, size: Double = 4.5, label: String? = nil) -> Markup {
        let s = size
        let outline: [(Double, Double)] =
            switch series % 7 {
            case 0: (0..<12).map { (s * cos(Double($0) * .pi / 6), s * sin(Double($0) * .pi / 6)) }
            case 1: [(-0.85 * s, -0.85 * s), (0.85 * s, -0.85 * s), (0.85 * s, 0.85 * s), (-0.85 * s, 0.85 * s)]
            case 2: [(0, -1.15 * s), (1.1 * s, 0.85 * s), (-1.1 * s, 0.85 * s)]
            case 3: [(0, -1.25 * s), (1.25 * s, 0), (0, 1.25 * s), (-1.25 * s, 0)]
            case 4: [(0, 1.15 * s), (1.1 * s, -0.85 * s), (-1.1 * s, -0.85 * s)]
            case 5:
                [
                    (-0.35, -1.1), (0.35, -1.1), (0.35, -0.35), (1.1, -0.35), (1.1, 0.35), (0.35, 0.35), (0.35, 1.1),
                    (-0.35, 1.1), (-0.35, 0.35), (-1.1, 0.35), (-1.1, -0.35), (-0.35, -0.35),
                ].map { ($0.0 * s, $0.1 * s) }
            default: [(-1.3 * s, -0.5 * s), (1.3 * s, -0.5 * s), (1.3 * s, 0.5 * s), (-1.3 * s, 0.5 * s)]
            }
        return .element(
            "g", ["class": "mark \(Self.series(series))"]
        ) {
            Markup.element(
                "polygon", ["points": outline.map { "\(px(x + $0.0)),\(px(y + $0.1))" }.joined(separator: " ")])
            label.map { label in Markup.element("title") { label } }
        }
    }

    /// Grid, ticks and labels. The vertical axis is named above its upper end, where nothing has to be turned to be read.
    static func axes(
        x: Scale, y: Scale, xLabel: String, yLabel: String, xTicks: [Double]? = nil, yTicks: [Double]? = nil,
        xFormat: (Double) -> String, yFormat: (Double) -> String
    ) -> [Markup] {
        var parts = [text(yLabel, x: 2, y: y.end - 12, style: "axis")]
        for tick in yTicks ?? y.ticks {
            parts.append(line(x.start, y(tick), x.end, y(tick), style: "rule"))
            parts.append(text(yFormat(tick), x: x.start - 6, y: y(tick) + 4, anchor: .end, style: "tick"))
        }
        parts.append(line(x.start, y.start, x.end, y.start, style: "base"))
        parts += below(x, y.start, xLabel, ticks: xTicks, format: xFormat)
        return parts
    }

    /// The ticks and the name of a horizontal axis.
    static func below(
        _ x: Scale, _ bottom: Double, _ label: String, ticks: [Double]? = nil, format: (Double) -> String
    ) -> [Markup] {
        var parts: [Markup] = []
        // What is as near to its neighbour as a label is wide has none.
        var free = -Double.infinity
        for tick in ticks ?? x.ticks {
            let label = format(tick)
            let half = 3.4 * Double(label.count)
            parts.append(line(x(tick), bottom, x(tick), bottom + 4, style: "base"))
            guard x(tick) - half > free else { continue }
            free = x(tick) + half + 4
            let at = min(max(x(tick), half), width - half - 2)
            parts.append(text(label, x: at, y: bottom + 17, anchor: .middle, style: "tick"))
        }
        parts.append(text(label, x: (x.start + x.end) / 2, y: bottom + 34, anchor: .middle, style: "axis"))
        return parts
    }

    /// A vertical interval with caps.
    static func whisker(x: Double, _ low: Double, _ high: Double, series: Int) -> Markup {
        .element(
            "path",
            [
                "d":
                    "M\(px(x - 3)) \(px(low))H\(px(x + 3))M\(px(x)) \(px(low))V\(px(high))M\(px(x - 3)) \(px(high))H\(px(x + 3))",
                "class": "whisker \(Self.series(series))",
            ])
    }

    /// One entry of a legend: its mark, and what it stands for.
    struct Key {
        let name: String
        let swatch: Markup

        static func series(_ index: Int, _ name: String) -> Key {
            Key(name: name, swatch: mark(index, x: 9, y: 7, size: 4.5))
        }

        static func line(_ name: String, style: String) -> Key {
            Key(name: name, swatch: Plot.line(1, 7, 17, 7, style: style))
        }
    }

    /// A chart on the page: its title, the drawing with a text alternative, its legend, a note, and its figures as a table.
    static func figure(
        title: String, description: String, height: Double, legend: [Key] = [], note: String? = nil,
        table: Markup? = nil, style: String? = nil, @MarkupBuilder _ drawing: () -> [Markup]
    ) -> Markup {
        .element("figure", ["class": style]) {
            Markup.element("h3") { title }
            Markup.element("div", ["class": "plot"]) {
                Markup.element("svg", ["viewBox": "0 0 \(px(width)) \(px(height))", "role": "img"]) {
                    Markup.element("title") { title }
                    Markup.element("desc") { description }
                    drawing()
                }
            }
            if !legend.isEmpty {
                Markup.element("ul", ["class": "legend"]) {
                    for key in legend {
                        Markup.element("li") {
                            Markup.element(
                                "svg", ["viewBox": "0 0 18 14", "width": "18", "height": "14", "aria-hidden": "true"]
                            ) { key.swatch }
                            key.name
                        }
                    }
                }
            }
            if let note { Markup.element("p", ["class": "note"]) { note } }
            if let table {
                Markup.element("details") {
                    Markup.element("summary") { "As a table" }
                    table
                }
            }
        }
    }
}

/// A table whose first column is text and whose others are figures.
struct PageTable {
    /// Columns of text, by index.
    var textColumns: Set<Int> = [0]
    var columns: [String]
    var rows: [[String]] = []
    /// Rows that stand out.
    var strong: Set<Int> = []

    init(_ columns: [String], text: Set<Int> = [0]) {
        self.columns = columns
        textColumns = text
    }

    /// Takes a column out.
    mutating func drop(_ column: Int) {
        columns.remove(at: column)
        for row in rows.indices { rows[row].remove(at: column) }
        textColumns = Set(textColumns.filter { $0 != column }.map { $0 > column ? $0 - 1 : $0 })
    }

    /// - Parameter name: A name by which programs find it; tests do.
    func markup(_ name: String? = nil) -> Markup {
        .element("div", ["class": "scroll", "tabindex": "0", "role": "region", "aria-label": "table"]) {
            Markup.element("table", ["data-name": name]) {
                Markup.element("thead") {
                    Markup.element("tr") {
                        for (index, column) in columns.enumerated() {
                            Markup.element("th", ["scope": "col", "class": textColumns.contains(index) ? "text" : nil])
                            {
                                column
                            }
                        }
                    }
                }
                Markup.element("tbody") {
                    for (index, row) in rows.enumerated() {
                        Markup.element("tr", ["class": strong.contains(index) ? "strong" : nil]) {
                            for (column, cell) in row.enumerated() {
                                if column == 0 {
                                    Markup.element("th", ["scope": "row", "class": "text"]) { cell }
                                } else {
                                    Markup.element("td", ["class": textColumns.contains(column) ? "text" : nil]) {
                                        cell
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

extension Plot {
    /// The lines of an axis behind what is drawn for a row; names stay free of them.
    static func rules(_ x: Scale, _ ticks: [Double], y: Double) -> [Markup] {
        ticks.map { line(x($0), y + 18, x($0), y + 38, style: $0 == 1 ? "unity" : "rule") }
    }

    /// A row's name at the left and its figure at the right, above what is drawn for it.
    static func row(_ name: String, value: String, y: Double) -> [Markup] {
        [
            text(fit(name, room: right - 20 - 7.4 * Double(value.count)), x: 12, y: y + 13, style: "label"),
            text(value, x: right, y: y + 13, anchor: .end, style: "value"),
        ]
    }

    /// Text cut to a width; the whole of it is in the table.
    static func fit(_ text: String, room: Double) -> String {
        let characters = max(Int(room / 6.6), 4)
        return text.count <= characters ? text : text.prefix(characters - 1) + "…"
    }
}
