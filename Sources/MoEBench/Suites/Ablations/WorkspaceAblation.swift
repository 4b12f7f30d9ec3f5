import MoEKernel

/// What keeping one region of scratch memory from call to call buys over asking the system for it in each.
enum WorkspaceAblation {
    static let kept = "workspace kept"
    static let fresh = "workspace a call"

    static func contenders(_ trial: WorkloadTrial) throws(MoEError) -> [Contender] {
        let layer = WholeLayer(
            trial.layer, subject: trial.subject(fresh), work: trial.whole, inputs: trial.inputs, keepsWorkspace: false)
        return [
            trial.whole(trial.layer, trial.subject(kept), check: trial.check),
            Contender(layer, check: try trial.sameBits(as: trial.layer, of: kept)),
        ]
    }
}
