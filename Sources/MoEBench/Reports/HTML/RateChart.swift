/// A sweep over request rates: what was served well, and how long it took, against what was offered.
enum RateChart {
    /// Runs that differ in their rate only, by rate; those of one rate alone make no chart.
    static func groups(_ runs: [ServingFigures]) -> [[ServingFigures]] {
        struct Rest: Hashable {
            let workload: Workload
            let layers, threads, waiting, running, batch: Int
            let instructionSet, device, arrivals: String
            let objective: ServingRecord.Objective
            let machine: Machine?
        }
        var order: [Rest] = []
        var groups: [Rest: [ServingFigures]] = [:]
        for run in runs {
            let record = run.record
            let rest = Rest(
                workload: record.workload, layers: record.layers, threads: record.threads,
                waiting: record.maximumWaiting,
                running: record.maximumRunning, batch: record.maximumBatchTokens, instructionSet: record.instructionSet,
                device: record.device, arrivals: record.arrivals, objective: record.objective,
                machine: run.machine)
            if groups[rest] == nil { order.append(rest) }
            groups[rest, default: []].append(run)
        }
        return order.compactMap { groups[$0] }.filter { Set($0.map(\.record.rate)).count > 1 }
            .map { $0.sorted { $0.record.rate < $1.record.rate } }
    }

    static func figures(_ runs: [ServingFigures]) -> [Markup] {
        groups(runs).flatMap { [goodput($0), latency($0)].compactMap { $0 } }
    }

    private static func goodput(_ runs: [ServingFigures]) -> Markup {
        let height = 290.0
        let x = Scale.linear(runs.map(\.record.rate), from: Plot.left, to: Plot.right)
        let y = Scale.linear(runs.flatMap { [$0.summary.goodput, $0.record.rate] }, from: height - 46, to: 28)
        let objective = runs[0].record.objective
        var table = PageTable([
            "offered", "requests", "goodput", "finished", "rejected", "cancelled", "failed", "generated tokens/s",
        ])
        for run in runs {
            table.rows.append([
                "\(Format.significant(run.record.rate))/s", "\(run.record.requests.count)",
                "\(Format.significant(run.summary.goodput))/s", "\(run.summary.count(.finished))",
                "\(run.summary.count(.rejected))",
                "\(run.summary.count(.cancelled))", "\(run.summary.count(.failed))",
                Format.count(run.summary.generatedPerSecond),
            ])
        }
        return Plot.figure(
            title: "Goodput against offered rate",
            description: "Requests a second that kept the objective, against those that were offered. "
                + runs.map {
                    "\(Format.significant($0.record.rate)) offered: \(Format.significant($0.summary.goodput)) kept it"
                }
                .joined(separator: "; ") + ".",
            height: height, legend: [.series(0, "kept the objective"), .line("all that was offered", style: "ideal")],
            note: "Objective: first token within \(Format.time(objective.firstToken)), then a token every "
                + "\(Format.time(objective.perToken)) in the mean.",
            table: table.markup("rates")
        ) {
            Plot.axes(
                x: x, y: y, xLabel: "offered requests/s", yLabel: "requests/s", xFormat: Format.axis,
                yFormat: Format.axis)
            let most = min(x.domain.upperBound, y.domain.upperBound)
            Plot.path([(x(0), y(0)), (x(most), y(most))], style: "ideal")
            Plot.path(runs.map { (x($0.record.rate), y($0.summary.goodput)) }, style: "curve \(Plot.series(0))")
            for run in runs { Plot.mark(0, x: x(run.record.rate), y: y(run.summary.goodput)) }
        }
    }

    private static func latency(_ runs: [ServingFigures]) -> Markup? {
        let curves: [(name: String, points: [(rate: Double, value: Double)])] = [
            ("TTFT", \ServingFigures.firstToken), ("TPOT", \.perToken), ("end to end", \.endToEnd),
        ].map { (name: String, values: KeyPath<ServingFigures, [Double]>) in
            (
                "\(name), p95",
                runs.compactMap { run in
                    ServingFigures.percentile(0.95, of: run[keyPath: values]).map { (run.record.rate, max($0, 1e-6)) }
                }
            )
        }.filter { $0.points.count > 1 }
        guard !curves.isEmpty else { return nil }
        let height = 290.0
        let x = Scale.linear(runs.map(\.record.rate), from: Plot.left, to: Plot.right)
        let y = Scale.logarithmic(curves.flatMap { $0.points.map(\.value) }, padding: 1.3, from: height - 46, to: 28)
        var table = PageTable(["offered"] + curves.map(\.name))
        for run in runs {
            table.rows.append(
                ["\(Format.significant(run.record.rate))/s"]
                    + curves.map { curve in
                        curve.points.first { $0.rate == run.record.rate }.map { Format.time($0.value) } ?? "too few"
                    })
        }
        return Plot.figure(
            title: "Latency against offered rate",
            description: "95th percentiles of finished requests, on a logarithmic axis. "
                + curves.map { curve in
                    "\(curve.name): "
                        + curve.points.map { "\(Format.time($0.value)) at \(Format.significant($0.rate)) a second" }
                        .joined(separator: ", ")
                }.joined(separator: "; ") + ".",
            height: height, legend: curves.enumerated().map { .series($0, $1.name) },
            note: "Of requests that finished, counted from the scheduled arrival.", table: table.markup("ratelatency")
        ) {
            Plot.axes(
                x: x, y: y, xLabel: "offered requests/s", yLabel: "95th percentile (log)", xFormat: Format.axis,
                yFormat: Format.timeAxis)
            for (index, curve) in curves.enumerated() {
                Plot.path(curve.points.map { (x($0.rate), y($0.value)) }, style: "curve \(Plot.series(index))")
                for point in curve.points { Plot.mark(index, x: x(point.rate), y: y(point.value), size: 4) }
            }
        }
    }
}
