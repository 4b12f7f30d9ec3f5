/// A Mixture-of-Experts layer: each token visits its top-k experts, and its output is their weighted sum.
///
/// ```swift
/// let configuration = try MoEConfiguration(experts: 8, topK: 2, hidden: 512, expertHidden: 2048)
/// let layer = try MoELayer(configuration, weights: .random(seed: 1))
/// let output = try layer.forward(x)     // x [tokens, 512] → output.y [tokens, 512]
/// ```
///
/// A layer is immutable and may be used from several tasks at once. On the CPU a token's result is bitwise the same whatever the
/// number of threads and, unless a capacity or expert choice makes tokens compete, the batch around it. On a GPU
/// (``init(_:weights:device:pool:)``) it is the same in every run of the same batch.
public final class MoELayer: Sendable {
    /// What the layer is.
    public let configuration: MoEConfiguration
    /// Where it runs.
    public var device: Device {
        switch backend {
        case .cpu: .cpu
        case .cuda(let cuda): .cuda(cuda.device.index)
        }
    }
    /// The threads it runs on; nil on a GPU.
    public var pool: ThreadPool? { backend.onCPU?.pool }
    /// The instruction set of its kernels; nil on a GPU.
    public var instructionSet: CPUInstructionSet? { backend.onCPU?.instructionSet }
    /// The tile sizes and cuts of its kernels; nil on a GPU.
    public var tuning: CPUTuning? { backend.onCPU?.tuning }
    /// How its experts multiply. A GPU multiplies numbers of the weights' own type: activations are rounded to bf16 or fp16 where weights
    /// are that.
    public var arithmetic: ExpertArithmetic { backend.onCPU?.arithmetic ?? .exact }
    /// Bytes of packed weights.
    public var weightByteCount: Int {
        switch backend {
        case .cpu(let cpu): cpu.weights.byteCount
        case .cuda(let cuda): cuda.weights.byteCount
        }
    }

    let backend: LayerBackend

    /// Reads and packs the weights.
    ///
    /// - Parameters:
    ///   - configuration: What the layer is.
    ///   - weights: Where its weights come from.
    ///   - pool: Threads to run on, for all layers of a model to share; nil starts a pool of this layer's own.
    ///   - instructionSet: Kernels to use; nil takes ``CPUInstructionSet/chosen()``.
    ///   - arithmetic: How experts multiply.
    ///   - tuning: Tile sizes and cuts; nil takes ``CPUTuning/chosen(_:)``. No tuning changes a result.
    /// - Throws: ``MoEError``: weights that are missing, of the wrong shape or not finite; memory that cannot be had; an
    ///   instruction set that this machine lacks; a tuning that its kernels cannot run with; an arithmetic that the experts'
    ///   weights are not made for.
    public convenience init(
        _ configuration: MoEConfiguration, weights: MoEWeights, pool: ThreadPool? = nil,
        instructionSet: CPUInstructionSet? = nil, arithmetic: ExpertArithmetic = .exact, tuning: CPUTuning? = nil
    ) throws(MoEError) {
        let set = if let instructionSet { instructionSet } else { try CPUInstructionSet.chosen() }
        guard CPUInstructionSet.supported.contains(set) else {
            throw .unavailable(what: "instruction set \(set.rawValue)", reason: "this processor does not have it")
        }
        let tuning = if let tuning { tuning } else { try CPUTuning.chosen(set) }
        try tuning.check(for: set)
        let threads = if let pool { pool } else { try ThreadPool() }
        let source = try weights.source(configuration)
        self.init(
            .cpu(
                try CPUBackend(
                    configuration, source: source, pool: threads, instructionSet: set, tuning: tuning,
                    arithmetic: arithmetic)))
    }

    init(_ backend: LayerBackend) {
        self.backend = backend
        configuration = backend.configuration
    }

    /// The layer's output for a batch, with the routing that led to it.
    ///
    /// - Parameters:
    ///   - x: Activations of shape [tokens, hidden], [batch, sequence, hidden], or any shape that ends in hidden.
    ///   - context: What the layer needs to know of the tokens beside their activations; most layers need nothing.
    /// - Returns: y of x's shape and element type, and the routing.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` when the last dimension is not `hidden`, or the context does not
    ///   fit; ``MoEError/outOfMemory(bytes:purpose:)``.
    public func forward<Element>(
        _ x: Tensor<Element>, context: TokenContext = TokenContext()
    ) throws(MoEError) -> MoEOutput<Element> {
        try checkWidth(x)
        var workspace = MoEWorkspace()
        var y = try Tensor<Element>(shape: x.shape, repeating: Element(0))
        try forward(x.span, into: &y.mutableSpan, workspace: &workspace, context: sequenced(context, x))
        return MoEOutput(y: y, routing: workspace.routing ?? emptyRouting)
    }

    /// The server's form: reads and writes the caller's memory, and allocates nothing once the workspace has seen a batch as
    /// large.
    ///
    /// - Parameters:
    ///   - x: [tokens, hidden], row-major; tokens follow from its length.
    ///   - y: [tokens, hidden], overwritten. Its element type may differ from x's.
    ///   - workspace: Scratch memory; one a concurrent call.
    ///   - context: As for ``forward(_:context:)``; without a sequence length the batch is one sequence.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` when a length does not fit; y is then untouched.
    ///   ``MoEError/cuda(_:)`` on a GPU.
    ///
    /// On a GPU x and y are copied, through page-locked memory of the workspace. A server keeps its activations on the device:
    /// ``forward(_:into:workspace:on:context:)``.
    public func forward<X: ActivationElement, Y: ActivationElement>(
        _ x: Span<X>, into y: inout MutableSpan<Y>, workspace: inout MoEWorkspace,
        context: TokenContext = TokenContext()
    ) throws(MoEError) {
        let tokens = try tokens(x, context)
        try check(count: y.count, "y", tokens: tokens)
        switch backend {
        case .cpu(let cpu):
            try prepare(cpu, tokens: tokens, &workspace, context)
            let memory = workspace.buffers!
            x.withUnsafeBytes { x in
                y.withUnsafeMutableBytes { y in
                    guard let from = x.baseAddress, let to = y.baseAddress, tokens > 0 else { return }
                    cpu.forward(
                        Activations(base: from, type: X.elementType, tokens: tokens),
                        into: CPUBackend.Output(base: to, type: Y.elementType), memory)
                }
            }
            workspace.hasRouting = true
        case .cuda(let cuda):
            let memory = try workspace.prepare(cuda)
            try x.withUnsafeBytes { x throws(MoEError) in
                try y.withUnsafeMutableBytes { y throws(MoEError) in
                    try memory.forward(
                        cuda, x, X.elementType, into: y, Y.elementType, tokens: tokens, context: context)
                }
            }
        }
    }

    /// The same layer with another selection bias, for balancing without a loss: its weights are shared, not copied.
    ///
    /// - Parameter bias: [experts].
    /// - Throws: ``MoEError/input(name:value:expectation:)`` when the router has no selection bias, or the length or a value is
    ///   not as it should be.
    public func withSelectionBias(_ bias: [Float]) throws(MoEError) -> MoELayer {
        guard configuration.router.hasSelectionBias else {
            throw .input(name: "selection bias", value: "given", expectation: "a router that has one")
        }
        guard bias.count == configuration.choices, bias.allSatisfy(\.isFinite) else {
            throw .input(
                name: "selection bias", value: "\(bias.count) values",
                expectation: "\(configuration.choices) finite ones")
        }
        switch backend {
        case .cpu(let cpu): return MoELayer(.cpu(CPUBackend(cpu, selectionBias: bias)))
        case .cuda(let cuda): return MoELayer(.cuda(try CUDABackend(cuda, selectionBias: bias)))
        }
    }

    /// The same layer with another tuning, to compare the two: its weights are shared, not copied.
    ///
    /// - Throws: What ``CPUTuning/check(for:)`` throws; ``MoEError/unavailable(what:reason:)`` on a GPU.
    public func withTuning(_ tuning: CPUTuning) throws(MoEError) -> MoELayer {
        let cpu = try backend.cpu("a CPU's tuning")
        try tuning.check(for: cpu.instructionSet)
        return MoELayer(.cpu(CPUBackend(cpu, tuning: tuning)))
    }

    /// [experts], added to the scores for choosing; nil where the router has none.
    public var selectionBias: [Float]? {
        switch backend {
        case .cpu(let cpu): cpu.selectionBias
        case .cuda(let cuda): cuda.selectionBias
        }
    }

    private var emptyRouting: Routing {
        Routing(
            unchecked: 0, experts: configuration.choices, topK: configuration.slots, logits: [], expertIndices: [],
            weights: [], appliedWeights: [])
    }

    // MARK: Checks

    func checkWidth<Element>(_ x: Tensor<Element>) throws(MoEError) {
        guard x.columns == configuration.hidden else {
            throw .input(
                name: "x", value: "of shape \(x.shape)", expectation: "a last dimension of \(configuration.hidden)")
        }
    }

    /// A context whose sequence length comes from x's shape where it gives none.
    func sequenced<Element>(_ context: TokenContext, _ x: Tensor<Element>) -> TokenContext {
        var context = context
        if context.sequenceLength == nil, x.shape.count >= 3, x.rows > 0 {
            context.sequenceLength = x.shape[x.shape.count - 2]
        }
        return context
    }

    private func check(count: Int, _ name: String, tokens: Int) throws(MoEError) {
        guard count == tokens * configuration.hidden else {
            throw .input(
                name: name, value: "\(count) values",
                expectation: "\(tokens * configuration.hidden) (\(tokens) tokens of \(configuration.hidden))")
        }
    }

    /// Tokens in x, which the context fits.
    func tokens<X>(_ x: Span<X>, _ context: TokenContext) throws(MoEError) -> Int {
        guard x.count % configuration.hidden == 0 else {
            throw .input(
                name: "x", value: "\(x.count) values", expectation: "a multiple of hidden, \(configuration.hidden)")
        }
        let tokens = x.count / configuration.hidden
        try context.check(for: configuration, tokens: tokens)
        return tokens
    }

    /// Makes room for a batch on the CPU and takes its context over.
    func prepare(
        _ cpu: CPUBackend, tokens: Int, _ workspace: inout MoEWorkspace, _ context: TokenContext = TokenContext(),
        everyExpert: Bool = false
    ) throws(MoEError) {
        try workspace.prepare(
            cpu, tokens: tokens, slots: everyExpert ? configuration.choices : configuration.slots,
            routerInput: !context.routerInput.isEmpty)
        workspace.take(context, tokens: tokens, sequenceLength: context.sequenceLength ?? tokens)
    }
}

/// What computes a layer.
enum LayerBackend: Sendable {
    case cpu(CPUBackend)
    case cuda(CUDABackend)

    var configuration: MoEConfiguration {
        switch self {
        case .cpu(let cpu): cpu.configuration
        case .cuda(let cuda): cuda.configuration
        }
    }

    /// nil on a GPU.
    var onCPU: CPUBackend? { if case .cpu(let cpu) = self { cpu } else { nil } }

    /// - Throws: ``MoEError/unavailable(what:reason:)`` on a GPU.
    func cpu(_ what: String) throws(MoEError) -> CPUBackend {
        switch self {
        case .cpu(let cpu): return cpu
        case .cuda(let cuda):
            throw .unavailable(what: what, reason: "this layer runs on \(Device.cuda(cuda.device.index))")
        }
    }
}

/// What a forward returns.
public struct MoEOutput<Element: ActivationElement>: Sendable {
    /// The layer's output, of the input's shape.
    public let y: Tensor<Element>
    /// Where the tokens went.
    public let routing: Routing
}
