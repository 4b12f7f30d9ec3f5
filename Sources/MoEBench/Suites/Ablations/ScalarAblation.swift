import MoEKernel

/// What vector kernels, their tiles and their packing buy over nested loops, thread for thread.
enum ScalarAblation {
    static let vector = "vector kernels"

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
