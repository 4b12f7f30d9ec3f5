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
    var hasRouting = false

    /// An empty workspace; the first call sizes it.
    public init() {}

    /// Bytes it holds.
    public var byteCount: Int { region?.byteCount ?? 0 }

    /// The experts' logits of the last batch, [tokens, experts], copied out; empty before the first.
    package var logits: [Float] {
        guard let buffers else { return [] }
        return (0..<buffers.tokens).flatMap { token in
            UnsafeBufferPointer(start: buffers.logits + token * logitStride, count: choices)
        }
    }

    /// The routing of the last call, copied out; nil before the first.
    public var routing: Routing? {
        guard hasRouting, let buffers else { return nil }
        let count = buffers.tokens * slots
        let weights = Array(UnsafeBufferPointer(start: buffers.weights, count: count))
        return Routing(
            unchecked: buffers.tokens, experts: choices, topK: slots, logits: logits,
            expertIndices: Array(UnsafeBufferPointer(start: buffers.indices, count: count)), weights: weights,
            kept: buffers.kept.map { kept in (0..<count).map { kept[$0] != 0 } },
            appliedWeights: buffers.applied.map { Array(UnsafeBufferPointer(start: $0, count: count)) } ?? weights,
            chosenByExperts: chosenByExperts)
    }

    /// Rows each expert works on in the last call, [experts], lent to `body` without a copy; empty before the first call.
    public func withTokensPerExpert<Result>(_ body: (Span<Int32>) -> Result) -> Result {
        guard hasRouting, let buffers else { return body(Span()) }
        // offsets[e + 1] - offsets[e] is the load; the differences are written after the offsets, where room was kept.
        let loads = buffers.offsets + (choices + 1)
        for expert in 0..<choices { loads[expert] = buffers.offsets[expert + 1] - buffers.offsets[expert] }
        return body(UnsafeBufferPointer(start: loads, count: choices).span)
    }

    /// Choices of the last call that no expert computed, as ``Routing/droppedChoices``.
    public var droppedChoices: Int {
        guard hasRouting, let buffers, !chosenByExperts else { return 0 }
        return buffers.tokens * slots - Int(buffers.offsets[choices])
    }

    /// Makes room for a batch of a layer and sets the batch's sizes.
    mutating func prepare(
        _ backend: CPUBackend, tokens: Int, slots: Int, routerInput: Bool = false
    ) throws(MoEError) {
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
