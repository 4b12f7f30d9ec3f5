import MoEKernel

/// One call's scratch memory in a box: a `MoEWorkspace` cannot be copied, and stages keep one for each input batch.
final class WorkspaceBox {
    var workspace = MoEWorkspace()
}

/// The whole layer, as a server calls it.
package final class WholeLayer: Implementation {
    package let subject: Subject
    package let work: Work
    private let layer: MoELayer
    private let inputs: Inputs
    private let box = WorkspaceBox()
    private let keepsWorkspace: Bool
    private var y: OutputBuffer

    /// - Parameter keepsWorkspace: Whether scratch memory is kept from call to call; else each call gets it and gives it back.
    package init(_ layer: MoELayer, subject: Subject, work: Work, inputs: Inputs, keepsWorkspace: Bool = true) {
        self.keepsWorkspace = keepsWorkspace
        self.layer = layer
        self.subject = subject
        self.work = work
        self.inputs = inputs
        y = OutputBuffer(count: inputs.tokens * inputs.hidden)
    }

    package func run(_ batch: Int) throws(MoEError) {
        let x = inputs.batches[batch]
        try y.write { (out) throws(MoEError) in
            try layer.forward(x.span, into: &out, workspace: &box.workspace)
        }
        if !keepsWorkspace { box.workspace = MoEWorkspace() }
    }

    package func poison(_ batch: Int) { y.poison() }

    package func output(_ batch: Int) -> StageOutput { .activations(y.elements) }
}

/// One stage of the layer on workspaces in which the stages before it have run: one workspace for every batch.
package final class LayerStage: Implementation {
    package enum Stage: String, Sendable, CaseIterable {
        case gating
        case routing = "top-k routing"
        case experts = "expert computation"
    }

    package let subject: Subject
    package let work: Work
    private let stage: Stage
    private let layer: MoELayer
    private let inputs: Inputs
    private let boxes: [WorkspaceBox]

    package init(
        _ stage: Stage, of layer: MoELayer, subject: Subject, work: Work, inputs: Inputs
    ) throws(MoEError) {
        self.stage = stage
        self.layer = layer
        self.subject = subject
        self.work = work
        self.inputs = inputs
        boxes = inputs.batches.map { _ in WorkspaceBox() }
        for (box, x) in zip(boxes, inputs.batches) { try before(on: x, box) }
    }

    package func run(_ batch: Int) throws(MoEError) { try run(on: inputs.batches[batch], boxes[batch]) }

    private func run(on x: [Float], _ box: WorkspaceBox) throws(MoEError) {
        switch stage {
        case .gating:
            try layer.runLogits(x.span, workspace: &box.workspace)
        case .routing:
            try layer.runSelection(workspace: &box.workspace)
            try layer.runDispatch(workspace: &box.workspace)
        case .experts:
            try layer.runExperts(x.span, workspace: &box.workspace)
        }
    }

    /// The stages that this one reads from.
    private func before(on x: [Float], _ box: WorkspaceBox) throws(MoEError) {
        switch stage {
        case .gating: break
        case .routing: try layer.runLogits(x.span, workspace: &box.workspace)
        case .experts: try Self.route(layer, x, box)
        }
    }

    static func route(_ layer: MoELayer, _ x: [Float], _ box: WorkspaceBox) throws(MoEError) {
        try layer.runLogits(x.span, workspace: &box.workspace)
        try layer.runSelection(workspace: &box.workspace)
        try layer.runDispatch(workspace: &box.workspace)
    }

    /// Runs the stage on other tokens, then only what precedes it on the right ones.
    package func poison(_ batch: Int) throws(MoEError) {
        let decoy = inputs.decoy(of: batch)
        try before(on: decoy, boxes[batch])
        try run(on: decoy, boxes[batch])
        try before(on: inputs.batches[batch], boxes[batch])
    }

    package func output(_ batch: Int) throws(MoEError) -> StageOutput {
        let box = boxes[batch]
        if stage == .experts {
            var y = OutputBuffer(count: inputs.tokens * inputs.hidden)
            try y.write { (out) throws(MoEError) in try layer.runCombine(into: &out, workspace: &box.workspace) }
            return .activations(y.elements)
        }
        if stage == .gating { return .logits(box.workspace.logits) }
        guard let routing = box.workspace.routing else {
            throw .unavailable(what: "the routing", reason: "the workspace holds none")
        }
        return .routing(routing)
    }
}
