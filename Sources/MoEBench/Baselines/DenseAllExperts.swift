import MoEKernel

/// Every token through every expert, the unselected with weight 0: the same function from x to y, router included, on the same
/// kernels. A layer that routes saves E/k of its expert arithmetic.
package final class DenseAllExperts: Implementation {
    package static let name = "dense-all-experts"

    package let subject: Subject
    package let work: Work
    private let layer: MoELayer
    private let inputs: Inputs
    private let box = WorkspaceBox()
    private var y: OutputBuffer

    package init(_ layer: MoELayer, subject: Subject, work: Work, inputs: Inputs) {
        self.layer = layer
        self.subject = subject
        self.work = work
        self.inputs = inputs
        y = OutputBuffer(count: inputs.tokens * inputs.hidden)
    }

    package func run(_ batch: Int) throws(MoEError) {
        let x = inputs.batches[batch]
        try layer.runLogits(x.span, workspace: &box.workspace, everyExpert: true)
        try layer.runSelection(workspace: &box.workspace)
        try layer.runDispatch(workspace: &box.workspace, everyExpert: true)
        try layer.runExperts(x.span, workspace: &box.workspace)
        try y.write { (out) throws(MoEError) in try layer.runCombine(into: &out, workspace: &box.workspace) }
    }

    package func poison(_ batch: Int) { y.poison() }

    package func output(_ batch: Int) -> StageOutput { .activations(y.elements) }
}
