import MoEKernel

/// What keeping one region of scratch memory from call to call buys over asking the system for it in each.
enum WorkspaceAblation {
    static let kept = "workspace kept"
    static let fresh = "workspace a call"

    static func contenders(_ trial: WorkloadTrial) throws(MoEError) -> [Contender] {
        let layer = FreshWorkspace(
            trial.layer, subject: trial.subject(fresh), work: trial.whole, inputs: trial.inputs)
        return [
            trial.whole(trial.layer, trial.subject(kept), check: trial.check),
            Contender(layer, check: try trial.sameBits(as: trial.layer, of: kept)),
        ]
    }
}

/// The whole layer on memory that each call gets and gives back.
private final class FreshWorkspace: Implementation {
    let subject: Subject
    let work: Work
    private let layer: MoELayer
    private let inputs: Inputs
    private var y: OutputBuffer

    init(_ layer: MoELayer, subject: Subject, work: Work, inputs: Inputs) {
        self.layer = layer
        self.subject = subject
        self.work = work
        self.inputs = inputs
        y = OutputBuffer(count: inputs.tokens * inputs.hidden)
    }

    func run(_ batch: Int) throws(MoEError) {
        let x = inputs.batches[batch]
        try y.write { (out) throws(MoEError) in
            var workspace = MoEWorkspace()
            try layer.forward(x.span, into: &out, workspace: &workspace)
        }
    }

    func poison(_ batch: Int) { y.poison() }

    func output(_ batch: Int) -> StageOutput { .activations(y.elements) }
}
