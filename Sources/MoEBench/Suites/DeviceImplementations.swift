import MoEKernel

/// The whole layer on a GPU, on tensors in its memory.
///
/// Calls rotate over the input batches, and over copies of the layer where all its weights would stay in the GPU's cache.
final class DeviceLayer: Implementation {
    let subject: Subject
    let work: Work
    let clock: any CallClock
    private let layers: [MoELayer]
    private let stream: CUDAStream
    private let batches: [DeviceTensor]
    private let y: DeviceTensor
    private var workspaces: [DeviceWorkspaceBox]
    /// One for every batch, where calls are launches of graphs.
    private let graphs: [CUDAGraph]
    private var calls = 0

    /// - Parameter asGraph: Whether each batch's call is recorded and launched as a whole.
    init(
        _ layers: [MoELayer], subject: Subject, work: Work, batches: [DeviceTensor], on stream: CUDAStream,
        asGraph: Bool = false
    ) throws(MoEError) {
        self.layers = layers
        self.subject = subject
        self.work = work
        self.stream = stream
        self.batches = batches
        clock = try DeviceClock(stream)
        let y = try DeviceTensor(shape: batches[0].shape, batches[0].elementType, on: stream)
        self.y = y
        let box = DeviceWorkspaceBox()
        workspaces = [box]
        var graphs: [CUDAGraph] = []
        if asGraph {
            for (index, x) in batches.enumerated() {
                let layer = layers[index % layers.count]
                try layer.prepare(&box.workspace, tokens: x.rows, output: y.elementType, on: stream)
                graphs.append(
                    try CUDAGraph(capturing: stream) { () throws(MoEError) in
                        try layer.forward(x, into: y, workspace: &box.workspace, on: stream)
                    })
            }
        }
        self.graphs = graphs
    }

    func run(_ batch: Int) throws(MoEError) {
        if !graphs.isEmpty { return try graphs[batch].launch(on: stream) }
        let layer = layers[calls % layers.count]
        calls += 1
        try layer.forward(batches[batch], into: y, workspace: &workspaces[0].workspace, on: stream)
    }

    func poison(_ batch: Int) throws(MoEError) { try y.poison(on: stream) }

    func output(_ batch: Int) throws(MoEError) -> StageOutput { .activations(try y.floats(on: stream)) }
}

/// A workspace cannot be copied, and stages keep one for each batch.
final class DeviceWorkspaceBox {
    var workspace = CUDAWorkspace()
}

/// One stage on workspaces in which the stages before it have run.
final class DeviceStage: Implementation {
    let subject: Subject
    let work: Work
    let clock: any CallClock
    private let stage: MoELayer.DeviceStage
    private let layer: MoELayer
    private let stream: CUDAStream
    private let batches: [DeviceTensor]
    /// Other tokens, to ruin with.
    private let decoys: [DeviceTensor]
    private let y: DeviceTensor
    private let boxes: [DeviceWorkspaceBox]

    init(
        _ stage: MoELayer.DeviceStage, of layer: MoELayer, subject: Subject, work: Work, batches: [DeviceTensor],
        decoys: [DeviceTensor], on stream: CUDAStream
    ) throws(MoEError) {
        self.stage = stage
        self.layer = layer
        self.subject = subject
        self.work = work
        self.stream = stream
        self.batches = batches
        self.decoys = decoys
        clock = try DeviceClock(stream)
        y = try DeviceTensor(shape: batches[0].shape, batches[0].elementType, on: stream)
        boxes = batches.map { _ in DeviceWorkspaceBox() }
        for (box, x) in zip(boxes, batches) { try layer.forward(x, into: y, workspace: &box.workspace, on: stream) }
    }

    private func run(_ stages: some Sequence<MoELayer.DeviceStage>, on x: DeviceTensor, _ batch: Int) throws(MoEError) {
        for stage in stages { try layer.run(stage, x, into: y, workspace: &boxes[batch].workspace, on: stream) }
    }

    private var before: ArraySlice<MoELayer.DeviceStage> {
        MoELayer.DeviceStage.allCases.prefix { $0 != stage }
    }

    func run(_ batch: Int) throws(MoEError) {
        try layer.run(stage, batches[batch], into: y, workspace: &boxes[batch].workspace, on: stream)
    }

    /// Runs everything on other tokens, then only what precedes the stage on the right ones.
    func poison(_ batch: Int) throws(MoEError) {
        try run(MoELayer.DeviceStage.allCases, on: decoys[batch], batch)
        try y.poison(on: stream)
        try run(before, on: batches[batch], batch)
    }

    func output(_ batch: Int) throws(MoEError) -> StageOutput {
        if stage == .router {
            guard let routing = try boxes[batch].workspace.routing(on: stream) else {
                throw .unavailable(what: "the routing", reason: "the workspace holds none")
            }
            return .routing(routing)
        }
        let after = MoELayer.DeviceStage.allCases.drop { $0 != stage }.dropFirst()
        try run(after, on: batches[batch], batch)
        return .activations(try y.floats(on: stream))
    }
}
