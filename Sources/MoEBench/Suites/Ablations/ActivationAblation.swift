import MoEKernel

/// What it buys that the activation is the epilogue of gate and up: the layer as it is, beside one whose tasks store the sums of gate and
/// up and pass over them once more, by the same vector functions. The down product reads the same activations, bit for bit.
enum ActivationAblation {
    static let fused = "activated in the product"
    static let separate = "activated in a pass"

    static func contenders(_ trial: WorkloadTrial) throws(MoEError) -> [Contender] {
        guard var tuning = trial.layer.tuning, trial.workload.arithmetic == .exact else {
            throw .unavailable(
                what: "the activation ablation", reason: "it is for layers on a CPU whose activations are not rounded")
        }
        tuning.fusesActivation = false
        return [
            trial.whole(trial.layer, trial.subject(fused), check: trial.check),
            trial.whole(
                try trial.layer.withTuning(tuning), trial.subject(separate),
                check: try trial.sameBits(as: trial.layer, of: fused)),
        ]
    }
}
