import MoEKernel

/// One dense FFN of width k·F: as much arithmetic as the routed layer, and nothing of routing. Its routing (all tokens to the
/// one expert) is made once, outside the timed call; what is timed is the leanest dense FFN that these kernels can be.
///
/// Input batches rotate over copies of it. The routed layer's calls walk over all experts that the batches touch, more than a
/// cache holds; one dense FFN called again and again would sit in the cache, which in a model of many layers it cannot either.
package final class DenseIsoActive: Implementation {
    package static let name = "dense-iso-active"

    package let subject: Subject
    package let work: Work
    private let copies: [MoELayer]
    private let inputs: Inputs
    private let boxes: [WorkspaceBox]
    private var y: OutputBuffer

    /// - Parameter copies: Equal layers of one expert of width k·F.
    package init(_ copies: [MoELayer], subject: Subject, work: Work, inputs: Inputs) throws(MoEError) {
        self.copies = copies
        self.subject = subject
        self.work = work
        self.inputs = inputs
        boxes = inputs.batches.map { _ in WorkspaceBox() }
        y = OutputBuffer(count: inputs.tokens * inputs.hidden)
        for (index, x) in inputs.batches.enumerated() { try LayerStage.route(layer(index), x, boxes[index]) }
    }

    /// Copies that walk over as much memory as `workingSet`, as far as it matters to any cache and there are batches for them.
    package static func copies(of bytes: Int, toCover workingSet: Int, batches: Int) -> Int {
        let enough = min(workingSet, 512 << 20)
        return max(1, min(batches, (enough + bytes - 1) / bytes))
    }

    private func layer(_ batch: Int) -> MoELayer { copies[batch % copies.count] }

    package func run(_ batch: Int) throws(MoEError) {
        let x = inputs.batches[batch]
        let layer = layer(batch), box = boxes[batch]
        try layer.runExperts(x.span, workspace: &box.workspace)
        try y.write { (out) throws(MoEError) in try layer.runCombine(into: &out, workspace: &box.workspace) }
    }

    /// The decoy's expert outputs lie in the workspace, NaN in y.
    package func poison(_ batch: Int) throws(MoEError) {
        try layer(batch).runExperts(inputs.decoy(of: batch).span, workspace: &boxes[batch].workspace)
        y.poison()
    }

    package func output(_ batch: Int) -> StageOutput { .activations(y.elements) }
}
