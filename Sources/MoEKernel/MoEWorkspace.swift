/// Tells layers apart: a workspace that holds one never takes a new layer for a freed one at the same address.
final class LayerIdentity: Sendable {}

/// Scratch memory of one call at a time. It grows to the largest batch it has seen; from then on a forward allocates nothing.
///
/// Give every concurrent call its own. One workspace may serve all layers of a model in turn.
public struct MoEWorkspace: ~Copyable {
    private var region: MemoryRegion?
    private var capacity = BatchCapacity(tokens: 0, slots: 0, routerInput: false)
    private var owner: LayerIdentity?
    private(set) var buffers: CPUStageBuffers?
    private(set) var slots = 0
    private(set) var choices = 0
    private(set) var logitStride = 0
    private(set) var chosenByExperts = false
    /// Of a layer on a GPU.
    private var cuda: CUDAHostMemory?
    /// Whether the last call left a routing in ``buffers``.
    var hasRouting = false

    /// An empty workspace; the first call sizes it.
    public init() {}

    /// Bytes it holds, on the host and on a GPU.
    public var byteCount: Int { (region?.byteCount ?? 0) + (cuda?.byteCount ?? 0) }

    /// The last call's routing, where it lies in the host's memory; nil before the first.
    private var arrays: RoutingArrays? {
        if let cuda { return cuda.routing }
        guard hasRouting else { return nil }
        return buffers.map { buffers in
            RoutingArrays(
                tokens: buffers.tokens, slots: slots, choices: choices, chosenByExperts: chosenByExperts,
                logits: buffers.logits, logitStride: logitStride, indices: buffers.indices, weights: buffers.weights,
                kept: buffers.kept, applied: buffers.applied, offsets: buffers.offsets)
        }
    }

    /// The experts' logits of the last batch, [tokens, experts], copied out; empty before the first.
    package var logits: [Float] {
        if let cuda { return cuda.routing?.copiedLogits ?? [] }
        guard let buffers else { return [] }
        return (0..<buffers.tokens).flatMap { token in
            UnsafeBufferPointer(start: buffers.logits + token * logitStride, count: choices)
        }
    }

    /// The routing of the last call, copied out; nil before the first.
    public var routing: Routing? { arrays?.routing }

    /// Rows each expert works on in the last call, [experts], lent to `body` without a copy; empty before the first call.
    public func withTokensPerExpert<Result>(_ body: (Span<Int32>) -> Result) -> Result {
        guard let arrays else { return body(Span()) }
        // offsets[e + 1] - offsets[e] is the load; the differences are written after the offsets, where room was kept.
        let loads = arrays.offsets + (arrays.choices + 1)
        for expert in 0..<arrays.choices { loads[expert] = arrays.offsets[expert + 1] - arrays.offsets[expert] }
        return body(UnsafeBufferPointer(start: loads, count: arrays.choices).span)
    }

    /// Choices of the last call that no expert computed, as ``Routing/droppedChoices``.
    public var droppedChoices: Int {
        guard let arrays, !arrays.chosenByExperts else { return 0 }
        return arrays.tokens * arrays.slots - Int(arrays.offsets[arrays.choices])
    }

    /// The memory of calls of a layer on a GPU; what was kept for the CPU goes.
    mutating func prepare(_ backend: CUDABackend) throws(MoEError) -> CUDAHostMemory {
        if let cuda, cuda.device === backend.device { return cuda }
        let memory = try CUDAHostMemory(on: backend.device)
        self = MoEWorkspace()
        cuda = memory
        return memory
    }

    /// Makes room for a batch of a layer and sets the batch's sizes.
    mutating func prepare(
        _ backend: CPUBackend, tokens: Int, slots: Int, routerInput: Bool = false
    ) throws(MoEError) {
        cuda = nil
        let wanted = BatchCapacity(tokens: tokens, slots: slots, routerInput: routerInput)
        let sameOwner = owner === backend.identity
        if !sameOwner || !capacity.covers(wanted) {
            let larger = sameOwner ? capacity.union(wanted) : wanted
            var layout = RegionLayout()
            let planned = try backend.planBuffers(larger, layout: &layout)
            if layout.byteCount > byteCount {
                region = nil
                buffers = nil
                capacity = BatchCapacity(tokens: 0, slots: 0, routerInput: false)
                region = try MemoryRegion(bytes: layout.byteCount, purpose: "the workspace of \(tokens) tokens")
            }
            buffers = planned(region!.base)
            capacity = larger
            owner = backend.identity
            self.slots = backend.configuration.slots
            choices = backend.configuration.choices
            logitStride = backend.weights.router.columns
            chosenByExperts = backend.configuration.router.isExpertChoice
        }
        hasRouting = false
        // Nothing runs for an empty batch; its loads are none.
        if tokens == 0 {
            for expert in 0...choices { buffers!.offsets[expert] = 0 }
        }
        buffers!.tokens = tokens
        buffers!.slots = slots
        buffers!.sequenceLength = max(tokens, 1)
        buffers!.capacity = nil
        buffers!.hasMask = false
        buffers!.hasRouterInput = false
        buffers!.normalisesRouterInput = backend.configuration.router.input != .identity
    }

    /// Takes over what a call says of its tokens, checked by the layer.
    mutating func take(_ context: TokenContext, tokens: Int, sequenceLength: Int) {
        buffers!.sequenceLength = max(sequenceLength, 1)
        buffers!.capacity = context.capacity
        buffers!.hasMask = !context.attentionMask.isEmpty
        for (token, real) in context.attentionMask.enumerated() { buffers!.maskStorage[token] = real ? 1 : 0 }
        if let ids = buffers!.tokenIDs {
            for (token, id) in context.tokenIDs.enumerated() { ids[token] = id }
        }
        if let rows = buffers!.routerRowsStorage, !context.routerInput.isEmpty {
            buffers!.hasRouterInput = true
            context.routerInput.withUnsafeBufferPointer { rows.update(from: $0.baseAddress!, count: $0.count) }
        }
    }
}

/// A call's routing in the host's memory.
struct RoutingArrays {
    let tokens: Int
    let slots: Int
    let choices: Int
    let chosenByExperts: Bool
    /// [tokens, stride], of which the first are the choices'
    let logits: UnsafePointer<Float>
    let logitStride: Int
    /// [tokens, slots]
    let indices: UnsafePointer<Int32>
    let weights: UnsafePointer<Float>
    let kept: UnsafePointer<UInt8>?
    let applied: UnsafePointer<Float>?
    /// [choices + 1], and as much room again
    let offsets: UnsafeMutablePointer<Int32>

    init(
        tokens: Int, slots: Int, choices: Int, chosenByExperts: Bool, logits: UnsafeMutablePointer<Float>,
        logitStride: Int, indices: UnsafeMutablePointer<Int32>, weights: UnsafeMutablePointer<Float>,
        kept: UnsafeMutablePointer<UInt8>?, applied: UnsafeMutablePointer<Float>?, offsets: UnsafeMutablePointer<Int32>
    ) {
        self.tokens = tokens
        self.slots = slots
        self.choices = choices
        self.chosenByExperts = chosenByExperts
        self.logits = UnsafePointer(logits)
        self.logitStride = logitStride
        self.indices = UnsafePointer(indices)
        self.weights = UnsafePointer(weights)
        self.kept = kept.map { UnsafePointer($0) }
        self.applied = applied.map { UnsafePointer($0) }
        self.offsets = offsets
    }

    var copiedLogits: [Float] {
        (0..<tokens).flatMap { UnsafeBufferPointer(start: logits + $0 * logitStride, count: choices) }
    }

    var routing: Routing {
        let count = tokens * slots
        let weights = Array(UnsafeBufferPointer(start: weights, count: count))
        return Routing(
            unchecked: tokens, experts: choices, topK: slots, logits: copiedLogits,
            expertIndices: Array(UnsafeBufferPointer(start: indices, count: count)), weights: weights,
            kept: kept.map { kept in (0..<count).map { kept[$0] != 0 } },
            appliedWeights: applied.map { Array(UnsafeBufferPointer(start: $0, count: count)) } ?? weights,
            chosenByExperts: chosenByExperts)
    }
}
