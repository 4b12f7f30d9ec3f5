import MoEKernel

/// A workspace cannot be copied, and boxes of them can be kept in arrays.
final class DeviceWorkspaceBox {
    var workspace = CUDAWorkspace()
}

/// What implementations on a device read: the input batches, and other tokens to ruin with.
struct DeviceInputs {
    let batches: [DeviceTensor]
    let decoys: [DeviceTensor]
    let stream: CUDAStream
    private let host: Inputs
    private let type: ElementType
    private let ahead: Int

    /// - Parameters:
    ///   - inputs: Numbers that `type` holds.
    ///   - ahead: As ``DeviceClock/init(_:ahead:)``.
    init(_ inputs: Inputs, _ type: ElementType, on stream: CUDAStream, ahead: Int) throws(MoEError) {
        self.ahead = ahead
        let shape = [inputs.tokens, inputs.hidden]
        func tensors(_ values: (Int) -> [Float]) throws(MoEError) -> [DeviceTensor] {
            try inputs.batches.indices.map { (batch) throws(MoEError) in
                let tensor = try DeviceTensor(shape: shape, type, on: stream)
                try tensor.copy(fromFloats: values(batch), on: stream)
                return tensor
            }
        }
        batches = try tensors { inputs.batches[$0] }
        decoys = try tensors { inputs.decoy(of: $0).map(type.rounded) }
        host = inputs
        self.type = type
        self.stream = stream
    }

    func clock() throws(MoEError) -> DeviceClock { try DeviceClock(stream, ahead: ahead) }

    func output() throws(MoEError) -> DeviceTensor { try DeviceTensor(shape: batches[0].shape, type, on: stream) }

    /// Whether a batch on the device is what was brought there.
    func isIntact(_ batch: Int) throws(MoEError) -> Bool {
        try batches[batch].floats(on: stream) == host.batches[batch]
    }
}

/// The whole layer on a GPU, on tensors in its memory.
///
/// Calls rotate over the input batches, and over copies of the layer where all its weights would stay in the GPU's cache. As graphs, each
/// pair of a batch and a copy that a call may meet is recorded.
final class DeviceLayer: Implementation {
    let subject: Subject
    let work: Work
    let clock: any CallClock
    private let layers: [MoELayer]
    private let inputs: DeviceInputs
    private let y: DeviceTensor
    /// One for each copy.
    private let boxes: [DeviceWorkspaceBox]
    /// Of batch i modulo the batches with copy i modulo the copies; none where calls are eager.
    private var graphs: [CUDAGraph] = []
    /// Calls that each batch has had.
    private var calls: [Int]
    /// Pairs of a batch and a copy, a multiple of the batches.
    private let pairs: Int

    init(
        _ layers: [MoELayer], subject: Subject, work: Work, inputs: DeviceInputs, asGraph: Bool = false
    ) throws(MoEError) {
        self.layers = layers
        self.subject = subject
        self.work = work
        self.inputs = inputs
        clock = try inputs.clock()
        y = try inputs.output()
        boxes = layers.map { _ in DeviceWorkspaceBox() }
        let batches = inputs.batches.count
        calls = Array(repeating: 0, count: batches)
        pairs = (max(batches, layers.count) + batches - 1) / batches * batches
        guard asGraph else { return }
        for pair in 0..<pairs {
            let x = inputs.batches[pair % batches], layer = layers[pair % layers.count]
            let box = boxes[pair % layers.count]
            try layer.prepare(&box.workspace, tokens: x.rows, output: y.elementType, on: inputs.stream)
            graphs.append(
                try CUDAGraph(capturing: inputs.stream) { () throws(MoEError) in
                    try layer.forward(x, into: y, workspace: &box.workspace, on: inputs.stream)
                })
        }
    }

    /// The pair that the next call on a batch is of.
    private func pair(_ batch: Int) -> Int {
        let batches = inputs.batches.count
        return batch + batches * (calls[batch] % (pairs / batches))
    }

    func run(_ batch: Int) throws(MoEError) {
        let pair = pair(batch)
        calls[batch] += 1
        if !graphs.isEmpty { return try graphs[pair].launch(on: inputs.stream) }
        try forward(inputs.batches[batch], copy: pair % layers.count)
    }

    private func forward(_ x: DeviceTensor, copy: Int) throws(MoEError) {
        try layers[copy].forward(x, into: y, workspace: &boxes[copy].workspace, on: inputs.stream)
    }

    /// Leaves other tokens' results in all that the call will use.
    func poison(_ batch: Int) throws(MoEError) {
        try forward(inputs.decoys[batch], copy: pair(batch) % layers.count)
        try y.poison(on: inputs.stream)
    }

    func output(_ batch: Int) throws(MoEError) -> StageOutput { .activations(try y.floats(on: inputs.stream)) }

    func isInputIntact(_ batch: Int) throws(MoEError) -> Bool? { try inputs.isIntact(batch) }
}

/// Stages on workspaces in which those before have run.
final class DeviceStages: Implementation {
    let subject: Subject
    let work: Work
    let clock: any CallClock
    private let stages: ArraySlice<MoELayer.DeviceStage>
    private let layers: [MoELayer]
    private let inputs: DeviceInputs
    private let y: DeviceTensor
    /// One for each batch.
    private let boxes: [DeviceWorkspaceBox]

    /// - Parameters:
    ///   - stages: Neighbours, of ``MoELayer/DeviceStage/allCases``.
    ///   - layers: Copies that batches rotate over.
    init(
        _ stages: ClosedRange<Int>, of layers: [MoELayer], subject: Subject, work: Work, inputs: DeviceInputs
    ) throws(MoEError) {
        self.stages = MoELayer.DeviceStage.allCases[stages]
        self.layers = layers
        self.subject = subject
        self.work = work
        self.inputs = inputs
        clock = try inputs.clock()
        y = try inputs.output()
        boxes = inputs.batches.map { _ in DeviceWorkspaceBox() }
        for (batch, x) in inputs.batches.enumerated() {
            try layer(batch).forward(x, into: y, workspace: &boxes[batch].workspace, on: inputs.stream)
        }
    }

    private func layer(_ batch: Int) -> MoELayer { layers[batch % layers.count] }

    private func run(
        _ stages: some Sequence<MoELayer.DeviceStage>, on x: DeviceTensor, _ batch: Int
    ) throws(MoEError) {
        for stage in stages {
            try layer(batch).run(stage, x, into: y, workspace: &boxes[batch].workspace, on: inputs.stream)
        }
    }

    func run(_ batch: Int) throws(MoEError) { try run(stages, on: inputs.batches[batch], batch) }

    /// Runs everything on other tokens, then only what precedes the stages on the right ones.
    func poison(_ batch: Int) throws(MoEError) {
        try run(MoELayer.DeviceStage.allCases, on: inputs.decoys[batch], batch)
        try y.poison(on: inputs.stream)
        try run(MoELayer.DeviceStage.allCases[..<stages.startIndex], on: inputs.batches[batch], batch)
    }

    func output(_ batch: Int) throws(MoEError) -> StageOutput {
        if stages.last == .router {
            guard let routing = try boxes[batch].workspace.routing(on: inputs.stream) else {
                throw .unavailable(what: "the routing", reason: "the workspace holds none")
            }
            return .routing(routing)
        }
        try run(MoELayer.DeviceStage.allCases[stages.endIndex...], on: inputs.batches[batch], batch)
        return .activations(try y.floats(on: inputs.stream))
    }

    func isInputIntact(_ batch: Int) throws(MoEError) -> Bool? { try inputs.isIntact(batch) }
}

/// One dense FFN, a layer of one expert whose routing was made beforehand; calls rotate over copies of it.
final class DenseDevice: Implementation {
    let subject: Subject
    let work: Work
    let clock: any CallClock
    private let copies: [MoELayer]
    private let inputs: DeviceInputs
    private let y: DeviceTensor
    /// One for each copy: all tokens go to the one expert, whatever the batch.
    private let boxes: [DeviceWorkspaceBox]
    private var calls = 0

    init(_ copies: [MoELayer], subject: Subject, work: Work, inputs: DeviceInputs) throws(MoEError) {
        self.copies = copies
        self.subject = subject
        self.work = work
        self.inputs = inputs
        clock = try inputs.clock()
        y = try inputs.output()
        boxes = copies.map { _ in DeviceWorkspaceBox() }
        for (copy, box) in zip(copies, boxes) {
            try copy.forward(inputs.batches[0], into: y, workspace: &box.workspace, on: inputs.stream)
        }
    }

    private func compute(_ x: DeviceTensor) throws(MoEError) {
        let copy = calls % copies.count
        for stage in [MoELayer.DeviceStage.experts, .combine] {
            try copies[copy].run(stage, x, into: y, workspace: &boxes[copy].workspace, on: inputs.stream)
        }
    }

    func run(_ batch: Int) throws(MoEError) {
        try compute(inputs.batches[batch])
        calls += 1
    }

    func poison(_ batch: Int) throws(MoEError) {
        try compute(inputs.decoys[batch])
        try y.poison(on: inputs.stream)
    }

    func output(_ batch: Int) throws(MoEError) -> StageOutput { .activations(try y.floats(on: inputs.stream)) }

    func isInputIntact(_ batch: Int) throws(MoEError) -> Bool? { try inputs.isIntact(batch) }
}
