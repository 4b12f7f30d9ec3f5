import MoEKernel

/// What happens as one parameter grows and everything else stays.
enum SweepChart {
    enum Parameter: CaseIterable {
        case tokens, threads, experts, topK

        var name: String {
            switch self {
            case .tokens: "tokens of a call"
            case .threads: "threads"
            case .experts: "experts (E)"
            case .topK: "experts for each token (k)"
            }
        }

        func value(_ entry: ReportData.Entry) -> Int {
            switch self {
            case .tokens: entry.recorded.workload.tokens
            case .threads: entry.recorded.threads
            case .experts: entry.recorded.workload.experts
            case .topK: entry.recorded.workload.topK
            }
        }
    }

    /// What entries have in common that differ in a parameter only.
    private struct Rest: Hashable {
        let workload: Workload
        let threads: Int
        let instructionSet: String
        let tuning: String?
        let caches: CacheState
        let machine: Machine
        /// A GPU by its name.
        let device: String?
    }

    /// Entries that differ in one parameter only, each value of it once.
    struct Group {
        let parameter: Parameter
        /// By the parameter, rising.
        let entries: [ReportData.Entry]
        /// Values that were there more than once; the last file's counts.
        let repeated: Bool
    }

    static func groups(_ data: ReportData, by parameter: Parameter) -> [Group] {
        let groups = Dictionary(grouping: data.entries.indices) { index -> Rest in
            let entry = data.entries[index]
            var workload = entry.recorded.workload
            // A name may tell of the parameter; what was measured is what counts.
            workload.name = ""
            if parameter == .tokens { workload.tokens = 1 }
            if parameter == .experts { workload.experts = 1 }
            if parameter == .topK { workload.topK = 1 }
            return Rest(
                workload: workload, threads: parameter == .threads ? 1 : entry.recorded.threads,
                instructionSet: entry.recorded.instructionSet, tuning: entry.recorded.tuning,
                caches: entry.recorded.caches ?? .warm, machine: data.inputs[entry.file].results.machine,
                device: entry.rows.first?.subject.device)
        }
        return groups.values.sorted { $0[0] < $1[0] }.compactMap { indices in
            var byValue: [Int: ReportData.Entry] = [:]
            for index in indices { byValue[parameter.value(data.entries[index])] = data.entries[index] }
            guard byValue.count > 1 else { return nil }
            return Group(
                parameter: parameter, entries: byValue.sorted { $0.key < $1.key }.map(\.value),
                repeated: byValue.count < indices.count)
        }
    }

    /// A line of a chart: one implementation over the parameter.
    private struct Line {
        let name: String
        let isExternal: Bool
        let points: [(x: Double, row: ReportData.Row)]
    }

    private static func lines(_ group: Group, only name: String? = nil) -> [Line] {
        var order: [String] = []
        var lines: [String: Line] = [:]
        for entry in group.entries {
            for row in entry.byImportance where name == nil || row.name == name {
                let key = row.name + (row.program.map { ", \($0)" } ?? "")
                if lines[key] == nil { order.append(key) }
                lines[key] = Line(
                    name: key, isExternal: row.program != nil,
                    points: (lines[key]?.points ?? []) + [(Double(group.parameter.value(entry)), row)])
            }
        }
        // The layer first also where the first entry has it not: its colour is the same in every chart.
        let references = Set(group.entries.compactMap(\.reference))
        order = order.filter(references.contains) + order.filter { !references.contains($0) }
        return order.compactMap { lines[$0] }.filter { $0.points.count > 1 }
    }

    static func figures(_ data: ReportData) -> [Markup] {
        Parameter.allCases.flatMap { parameter in
            groups(data, by: parameter).flatMap { group -> [Markup] in
                var figures = [latency(group)]
                if parameter == .tokens { figures.append(throughput(group)) }
                if parameter == .threads { figures.append(scaling(group)) }
                return figures.compactMap { $0 }
            }
        }
    }

    /// Median time of a call, with its interval.
    private static func latency(_ group: Group) -> Markup? {
        chart(
            group, lines(group), title: "Time of a call against \(group.parameter.name)", yLabel: "median (log)",
            yFormat: Format.timeAxis, cell: { Format.time($0) },
            value: { $0.summary.median }, interval: { $0.summary.medianInterval })
    }

    private static func throughput(_ group: Group) -> Markup? {
        let lines = lines(group).filter { line in
            line.points.contains { $0.row.speedup != nil || isReference($0.row, group) }
        }
        return chart(
            group, lines, title: "Throughput against \(group.parameter.name)", yLabel: "tokens/s (log)",
            yFormat: Format.axis, cell: { Format.count($0) }, value: { $0.tokensPerSecond ?? 0 },
            interval: { row in
                row.summary.medianInterval.flatMap { interval in
                    let tokens = Double(row.subject.workload.tokens)
                    return interval.lowerBound > 0 ? tokens / interval.upperBound...tokens / interval.lowerBound : nil
                }
            })
    }

    private static func isReference(_ row: ReportData.Row, _ group: Group) -> Bool {
        row.program == nil && group.entries.contains { $0.reference == row.name }
    }

    /// How many times faster the layer is than with the fewest threads, beside a machine that loses nothing.
    private static func scaling(_ group: Group) -> Markup? {
        guard let reference = group.entries.first?.reference, let line = lines(group, only: reference).first,
            let first = line.points.first, first.row.summary.median > 0
        else { return nil }
        let base = RatioInterval.Factor(first.row.samples)
        let points = line.points.map { point in
            (
                x: point.x, y: point.row.summary.median > 0 ? first.row.summary.median / point.row.summary.median : 0,
                interval: RatioInterval.of([base], over: [RatioInterval.Factor(point.row.samples)])
            )
        }
        let height = 290.0
        let ideal = points.map { $0.x / first.x }
        let x = Scale.logarithmic(points.map(\.x), padding: 1.1, from: Plot.left, to: Plot.right)
        let y = Scale.logarithmic(points.map(\.y) + ideal, padding: 1.15, from: height - 46, to: 28)
        var table = PageTable(["threads", "median", "faster by", "ideal", "part of the ideal"])
        for (index, point) in points.enumerated() {
            table.rows.append([
                "\(Int(point.x))", Format.time(line.points[index].row.summary.median), Format.fixed(point.y, 2) + "×",
                Format.fixed(ideal[index], 2) + "×", Format.significant(point.y / ideal[index] * 100) + " %",
            ])
        }
        return Plot.figure(
            title: "Scaling with threads: \(reference)",
            description:
                "Speed-up over \(Int(first.x)) thread\(first.x == 1 ? "" : "s") against the number of threads. "
                + points.map { "\(Int($0.x)) threads: \(Format.fixed($0.y, 2)) times" }.joined(separator: ", ") + ".",
            height: height, legend: [.series(0, reference), .line("ideal", style: "ideal")],
            note: subtitle(group), table: table.markup("threads")
        ) {
            Plot.axes(
                x: x, y: y, xLabel: "threads (log)",
                yLabel: "times faster than \(Int(first.x)) thread\(first.x == 1 ? "" : "s") (log)",
                xTicks: x.spaced(points.map(\.x), apart: 24), xFormat: Format.axis,
                yFormat: { Format.axis($0) + "×" })
            Plot.path(zip(points, ideal).map { (x($0.x), y($1)) }, style: "ideal")
            Plot.path(points.map { (x($0.x), y($0.y)) }, style: "curve \(Plot.series(0))")
            for point in points {
                if let interval = point.interval {
                    Plot.whisker(x: x(point.x), y(interval.lowerBound), y(interval.upperBound), series: 0)
                }
                Plot.mark(0, x: x(point.x), y: y(point.y))
            }
        }
    }

    private static func chart(
        _ group: Group, _ lines: [Line], title: String, yLabel: String, yFormat: (Double) -> String,
        cell: (Double) -> String, value: (ReportData.Row) -> Double,
        interval: (ReportData.Row) -> ClosedRange<Double>?
    ) -> Markup? {
        guard !lines.isEmpty else { return nil }
        let height = 290.0
        let xs = lines.flatMap { $0.points.map(\.x) }
        let x = Scale.logarithmic(xs, padding: 1.1, from: Plot.left, to: Plot.right)
        let y = Scale.logarithmic(
            lines.flatMap(\.points).flatMap { point in
                [value(point.row)] + (interval(point.row).map { [$0.lowerBound, $0.upperBound] } ?? [])
            }, padding: 1.2, from: height - 46, to: 28)
        let values = Set(xs).sorted()
        var table = PageTable([group.parameter.name] + lines.map(\.name))
        for at in values {
            table.rows.append(
                ["\(Int(at))"]
                    + lines.map { line in line.points.first { $0.x == at }.map { cell(value($0.row)) } ?? "–" })
        }
        return Plot.figure(
            title: title,
            description: "Both axes are logarithmic. "
                + lines.map { line in
                    "\(line.name): "
                        + line.points.map { "\(cell(value($0.row))) at \(Int($0.x))" }.joined(separator: ", ")
                }.joined(separator: "; ") + ".",
            height: height,
            legend: lines.enumerated().map { .series($0, $1.name + ($1.isExternal ? " (external)" : "")) },
            note: subtitle(group), table: table.markup("sweep")
        ) {
            Plot.axes(
                x: x, y: y, xLabel: group.parameter.name + " (log)", yLabel: yLabel,
                xTicks: x.spaced(values, apart: 24), xFormat: Format.axis, yFormat: yFormat)
            for (index, line) in lines.enumerated() {
                Plot.path(
                    line.points.map { (x($0.x), y(value($0.row))) },
                    style: (line.isExternal ? "curve external " : "curve ") + Plot.series(index))
                for point in line.points {
                    if let interval = interval(point.row) {
                        Plot.whisker(x: x(point.x), y(interval.lowerBound), y(interval.upperBound), series: index)
                    }
                    Plot.mark(index, x: x(point.x), y: y(value(point.row)), size: 4)
                }
            }
        }
    }

    /// What stays the same.
    private static func subtitle(_ group: Group) -> String {
        let first = group.entries[0], workload = first.recorded.workload
        let sizes = [
            group.parameter == .tokens ? nil : "T \(workload.tokens)", "H \(workload.hidden)",
            "F \(workload.expertHidden)",
            group.parameter == .experts ? nil : "E \(workload.experts)",
            group.parameter == .topK ? nil : "k \(workload.topK)", workload.dtype,
            group.parameter == .threads
                ? nil : "\(first.recorded.threads) thread\(first.recorded.threads == 1 ? "" : "s")",
            first.recorded.instructionSet,
        ].compactMap { $0 }
        return "Fixed: " + sizes.joined(separator: ", ") + "."
            + (group.repeated ? " Some values were measured more than once; the last file's are shown." : "")
    }
}
