import MoEKernel

/// One dense FFN of width k·F: as much arithmetic as the routed layer, and nothing of routing. Its routing (all tokens to the
/// one expert) is made once, outside the timed call; what is timed is the leanest dense FFN that these kernels can be.
package final class DenseIsoActive: Implementation {
    package static let name = "dense-iso-active"

    package let subject: Subject
    package let work: Work
    private let layer: MoELayer
    private let inputs: Inputs
    private let boxes: [WorkspaceBox]
    private var y: OutputBuffer

    /// - Parameter layer: One expert of width k·F.
    package init(_ layer: MoELayer, subject: Subject, work: Work, inputs: Inputs) throws(MoEError) {
        self.layer = layer
        self.subject = subject
        self.work = work
        self.inputs = inputs
        boxes = inputs.batches.map { _ in WorkspaceBox() }
        y = OutputBuffer(count: inputs.tokens * inputs.hidden)
        for (box, x) in zip(boxes, inputs.batches) {
            try LayerStage.route(layer, x, box)
        }
    }

    package func run(_ batch: Int) throws(MoEError) { try run(inputs.batches[batch], boxes[batch]) }

    private func run(_ x: [Float], _ box: WorkspaceBox) throws(MoEError) {
        try layer.runExperts(x.span, workspace: &box.workspace)
        try y.write { (out) throws(MoEError) in try layer.runCombine(into: &out, workspace: &box.workspace) }
    }

    /// The decoy's expert outputs lie in the workspace, NaN in y.
    package func poison(_ batch: Int) throws(MoEError) {
        try layer.runExperts(inputs.decoy(of: batch).span, workspace: &boxes[batch].workspace)
        y.poison()
    }

    package func output(_ batch: Int) -> StageOutput { .activations(y.elements) }
}
