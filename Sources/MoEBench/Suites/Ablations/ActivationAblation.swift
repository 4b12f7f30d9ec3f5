import MoEKernel

/// What it buys that the activation is the epilogue of gate and up: the layer as it is, beside one whose tasks store the sums of gate and
/// up and pass over them once more, by the same vector functions. The down product reads the same activations, bit for bit.
enum ActivationAblation {
    static let fused = "activated in the product"
    static let separate = "activated in a pass"
    private static let lack = "a pass of its own for the activation"

    static func contenders(_ trial: WorkloadTrial) throws(MoEError) -> [Contender] {
        guard trial.workload.arithmetic == .exact else {
            throw .unavailable(what: lack, reason: "this layer rounds activations where it computes them")
        }
        return try trial.tuned(fused, against: separate, lack: lack) {
            $0.fusesActivation = false
        }
    }
}
