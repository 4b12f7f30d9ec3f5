import MoEKernel

/// What vector kernels, their tiles and their packing buy over nested loops, thread for thread.
package enum ScalarAblation {
    static let vector = "vector kernels"

    /// FLOPs of one call of plain loops, which need some seconds for so many.
    package static let mostFLOPs = 4_000_000_000

    /// - Throws: ``MoEError/unavailable(what:reason:)`` for work that would take plain loops far longer than a study's seconds.
    package static func check(_ workload: Workload) throws(MoEError) {
        let flops = Work.product(Work.flopsPerToken(workload), workload.tokens)
        guard flops > mostFLOPs else { return }
        throw .unavailable(
            what: "the study scalar on \(workload.sizes)",
            reason: "\(Format.significant(Double(flops) * 1e-9)) GFLOP a call; plain loops are timed up to "
                + "\(Format.significant(Double(mostFLOPs) * 1e-9))")
    }

    static func contenders(_ trial: WorkloadTrial) throws(MoEError) -> [Contender] {
        let layer = trial.pool.threads == 1 ? trial.layer : try trial.layer(on: try ThreadPool(threads: 1))
        let scalar = try ScalarBaseline(
            trial.configuration, source: trial.source,
            subject: trial.subject(ScalarBaseline.name, threads: 1, instructionSet: "plain Swift"), work: trial.whole,
            inputs: trial.inputs)
        return [
            trial.whole(layer, trial.subject(vector, threads: 1), check: trial.check),
            Contender(scalar, check: LayerCheck(trial.oracle, tolerance: Tolerance(chain: Tolerance.singleChain))),
        ]
    }
}
