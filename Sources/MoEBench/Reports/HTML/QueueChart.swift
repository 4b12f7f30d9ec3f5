/// Requests that waited and that were computed, as the run went.
enum QueueChart {
    /// Points across; of more steps, the most of each stretch.
    private static let columns = 240

    static func figure(_ run: ServingFigures) -> Markup? {
        let steps = run.record.steps.sorted { $0.time < $1.time }
        guard steps.count > 1, let last = steps.last, last.time > 0 else { return nil }
        let height = 250.0
        let curves: [(name: String, value: (ServingRecord.Step) -> Int)] = [
            ("waiting", { $0.waiting }), ("being computed", { $0.running }),
        ]
        let x = Scale.linear([last.time], from: Plot.left, to: Plot.right)
        let y = Scale.linear(
            steps.flatMap { [Double($0.waiting), Double($0.running)] }, from: height - 46, to: 28)
        var table = PageTable(["", "mean", "greatest", "limit"])
        let limits = [run.record.maximumWaiting, run.record.maximumRunning]
        let means = [run.summary.meanWaiting, run.summary.meanRunning]
        for ((curve, limit), mean) in zip(zip(curves, limits), means) {
            table.rows.append([
                curve.name, Format.significant(mean), "\(steps.map(curve.value).max() ?? 0)", "\(limit)",
            ])
        }
        return Plot.figure(
            title: "Queue, \(run.label)",
            description: "Requests over the seconds of the run. "
                + curves.map { curve in "\(curve.name): at most \(steps.map(curve.value).max() ?? 0)" }.joined(
                    separator: "; ")
                + ".",
            height: height, legend: curves.enumerated().map { .series($0, $1.name) },
            note: steps.count > columns ? "Of each stretch, the greatest number." : nil, table: table.markup("queue")
        ) {
            Plot.axes(
                x: x, y: y, xLabel: "seconds since the start", yLabel: "requests", xFormat: Format.axis,
                yFormat: Format.axis)
            for (index, curve) in curves.enumerated() {
                Plot.path(
                    stretches(steps, until: last.time, curve.value).map { (x($0.time), y($0.value)) },
                    style: "curve \(Plot.series(index))")
                if let peak = steps.max(by: { curve.value($0) < curve.value($1) }) {
                    Plot.mark(index, x: x(peak.time), y: y(Double(curve.value(peak))), size: 4)
                }
            }
        }
    }

    private static func stretches(
        _ steps: [ServingRecord.Step], until end: Double, _ value: (ServingRecord.Step) -> Int
    ) -> [(time: Double, value: Double)] {
        var points: [(time: Double, value: Double)] = []
        var column = -1
        for step in steps {
            let at = Int(step.time / end * Double(columns))
            if at == column, let last = points.last {
                if Double(value(step)) > last.value { points[points.count - 1] = (step.time, Double(value(step))) }
            } else {
                points.append((step.time, Double(value(step))))
                column = at
            }
        }
        return points
    }
}
