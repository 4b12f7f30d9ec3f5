import MoEKernel

/// Whether the layer is as fast as it should be, as ratios to what this machine does in the same run.
///
/// The limits hold on any processor that the library has kernels for, also one that others use meanwhile; what is reached on a quiet one
/// is higher. A ratio that fails is measured once more before it counts.
struct PerformanceChapter {
    let runner: WorkloadRunner
    let interruption: Interruption
    /// Of timed calls for each workload.
    let seconds: Double

    /// A workload, and what the layer must reach of the larger of its two bounds.
    private struct Bar {
        let workload: Workload
        let ofCeiling: Double
    }

    private static let bars = [
        Bar(
            workload: Workload(
                name: "prefill, fp32", tokens: 512, hidden: 512, expertHidden: 2048, experts: 8, topK: 2),
            ofCeiling: 0.55),
        Bar(
            workload: Workload(
                name: "prefill, bf16", tokens: 128, hidden: 1024, expertHidden: 512, experts: 32, topK: 4,
                weightType: .bfloat16), ofCeiling: 0.5),
        Bar(
            workload: Workload(
                name: "decode, bf16", tokens: 1, hidden: 2048, expertHidden: 768, experts: 64, topK: 8,
                weightType: .bfloat16), ofCeiling: 0.6),
    ]
    /// Of the ideal ratio to a dense baseline.
    private static let ofIdeal = 0.8

    func run(_ report: (Predicate) -> Void) throws(MoEError) {
        for bar in Self.bars {
            try look(report) { () throws(MoEError) in judge(bar, try runner.run(bar.workload, budget: seconds)) }
        }
        var specialisation = runner
        specialisation.contest = .ablation(.specialisation)
        try look(report) { () throws(MoEError) in
            [
                ratio(
                    "kernels compiled for their shapes, over a generic one",
                    try specialisation.run(Self.bars[0].workload, budget: seconds / 2),
                    of: SpecialisationAblation.specialised, over: SpecialisationAblation.generic, atLeast: 1.2)
            ]
        }
    }

    /// Reports what a measurement shows, or where something fails what a second one does.
    private func look(
        _ report: (Predicate) -> Void, _ measure: () throws(MoEError) -> [Predicate]
    ) throws(MoEError) {
        if interruption.isRequested { return }
        var predicates = try measure()
        if !interruption.isRequested, predicates.contains(where: { !$0.holds }) { predicates = try measure() }
        if interruption.isRequested { return }
        for predicate in predicates { report(predicate) }
    }

    private func judge(_ bar: Bar, _ report: WorkloadReport) -> [Predicate] {
        let workload = bar.workload
        let results = report.comparison.results
        let failures = results.compactMap { result in result.failure.map { "\(result.subject.name): \($0)" } }
        var predicates = [
            Predicate(
                .performance, "\(workload.name): contenders with a right answer", results.count - failures.count,
                of: results.count, firstProblem: failures.first)
        ]
        let layer = results.first { $0.subject.name == WorkloadRunner.wholeLayer }?.measurement
        let bound = layer.flatMap { report.comparison.ceilings.bound(of: $0.work) }
        let name =
            "\(workload.name): the layer's share of its ceiling" + (bound.map { " (\($0.resource.rawValue))" } ?? "")
        if let median = layer?.summary?.median, let share = bound?.knownShare(ofSeconds: median) {
            predicates.append(Predicate(.performance, name, ratio: share, atLeast: bar.ofCeiling))
        } else {
            predicates.append(
                Predicate(
                    .performance, name, value: bound == nil ? "not measured" : "disturbed",
                    limit: "at least \(Format.fixed(bar.ofCeiling, 2))", holds: false))
        }
        predicates.append(
            ratio(
                "\(workload.name): the layer over a dense one of its active size", report,
                of: WorkloadRunner.wholeLayer, over: DenseIsoActive.name, atLeast: Self.ofIdeal))
        let sparsity = workload.denseOverRouted
        predicates.append(
            ratio(
                "\(workload.name): the layer over all experts on every token, ideally \(Format.fixed(sparsity, 2))",
                report,
                of: WorkloadRunner.wholeLayer, over: DenseAllExperts.name, atLeast: Self.ofIdeal * sparsity))
        return predicates
    }

    private func ratio(
        _ name: String, _ report: WorkloadReport, of candidate: String, over baseline: String, atLeast limit: Double
    ) -> Predicate {
        func measurement(_ name: String) -> Measurement? {
            report.comparison.results.first { $0.subject.name == name }?.measurement
        }
        guard let fast = measurement(candidate), let slow = measurement(baseline) else {
            return Predicate(
                .performance, name, value: "not measured", limit: "at least \(Format.fixed(limit, 2))", holds: false)
        }
        do throws(Speedup.Refused) {
            return Predicate(.performance, name, ratio: try Speedup(of: fast, over: slow).ratio, atLeast: limit)
        } catch {
            return Predicate(
                .performance, name, value: "refused: \(error)", limit: "at least \(Format.fixed(limit, 2))",
                holds: false)
        }
    }
}
