import MoEKernel

/// What a suite would measure, without measuring it: a row a run, in their order.
package struct SuiteList {
    private let points: [SweepPoint]
    private let varied: [String]
    private let skipped: [(combination: String, reason: String)]

    /// - Parameters:
    ///   - varied: What differs between the points, by name.
    ///   - skipped: Combinations that were left out.
    package init(
        _ points: [SweepPoint], varied: [String] = [], skipped: [(combination: String, reason: String)] = []
    ) {
        self.points = points
        self.varied = varied
        self.skipped = skipped
    }

    package func lines(_ terminal: Terminal) -> [String] {
        // Sizes have columns of their own.
        let sizes: Set = [
            "tokens", "hidden", "expert-hidden", "experts", "top-k", "dtype", "workload", "phase",
        ]
        let others = varied.indices.filter { !sizes.contains(varied[$0]) }
        let isAblation = points.contains { $0.contest.ablation != nil }
        var table = TextTable(
            [.init("run"), .init("workload", .left)] + (isAblation ? [.init("study", .left)] : [])
                + ["tokens", "hidden", "expert", "experts", "k"].map { .init($0) } + [.init("type", .left)]
                + others.map { .init(varied[$0]) } + [.init("seconds")])
        for (index, point) in points.enumerated() {
            let w = point.workload
            let study = isAblation ? [point.contest.ablation?.rawValue ?? "–"] : []
            var row = ["\(index + 1)", w.name] + study
            row += [w.tokens, w.hidden, w.expertHidden, w.experts, w.topK].map { "\($0)" }
            row.append(w.dtype)
            row += others.map { point.values[$0] }
            row.append(Format.fixed(point.budget, 0))
            table.add(row)
        }
        let seconds = points.reduce(0) { $0 + $1.budget }
        return table.render(terminal, indent: 0)
            + skipped.map { terminal.styled("left out: \($0.combination): \($0.reason)", .faint) }
            + [
                "",
                "\(points.count) run\(points.count == 1 ? "" : "s"), at most \(Format.fixed(seconds, 0)) s of timed calls.",
            ]
    }
}

extension WorkloadRunner.Contest {
    fileprivate var ablation: Ablation? { if case .ablation(let ablation) = self { ablation } else { nil } }
}
