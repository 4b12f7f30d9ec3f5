import MicroKernels

/// Memory of the CPU stages for batches of up to some number of tokens: one region, cut into the arrays below.
struct CPUStageBuffers: @unchecked Sendable {
    /// Tokens of the current call.
    var tokens: Int
    /// Experts a token visits in the dispatch: k, or all of them for the dense baseline.
    var slots: Int
    /// Input tokens packed for the router and the shared expert.
    let tokenTiles: UnsafeMutablePointer<Float>
    /// [tokens, logitStride]: the experts' logits, then the shared gate's.
    let logits: UnsafeMutablePointer<Float>
    /// [tokens, topK]
    let indices: UnsafeMutablePointer<Int32>
    let weights: UnsafeMutablePointer<Float>
    /// Choices and weights as dispatched, [tokens, slots]; the same arrays unless every expert is visited.
    let denseIndices: UnsafeMutablePointer<Int32>?
    let denseWeights: UnsafeMutablePointer<Float>?
    let offsets: UnsafeMutablePointer<Int32>
    let rowTokens: UnsafeMutablePointer<Int32>
    let slotRows: UnsafeMutablePointer<Int32>
    /// First tile of each expert, [experts + 1].
    let expertTiles: UnsafeMutablePointer<Int32>
    /// Gathered activations, the experts' inner activations, their outputs [rows, hidden].
    let rowTiles: UnsafeMutablePointer<Float>
    let innerTiles: UnsafeMutablePointer<Float>
    let rows: UnsafeMutablePointer<Float>
    let sharedTiles: UnsafeMutablePointer<Float>
    let sharedRows: UnsafeMutablePointer<Float>
    let tasks: UnsafeMutablePointer<SweepTask>
    let scratch: UnsafeMutablePointer<Float>
    let scratchFloats: Int
}

/// How many tokens and slots a workspace is made for.
struct BatchCapacity: Hashable {
    var tokens: Int
    var slots: Int

    func covers(_ other: BatchCapacity) -> Bool { tokens >= other.tokens && slots >= other.slots }
    func union(_ other: BatchCapacity) -> BatchCapacity {
        BatchCapacity(tokens: max(tokens, other.tokens), slots: max(slots, other.slots))
    }
}

/// Scratch memory of one call at a time. It grows to the largest batch it has seen; from then on a forward allocates nothing.
///
/// Give every concurrent call its own. One workspace may serve all layers of a model in turn.
public struct MoEWorkspace: ~Copyable {
    private var region: MemoryRegion?
    private var capacity = BatchCapacity(tokens: 0, slots: 0)
    private var owner: ObjectIdentifier?
    private(set) var buffers: CPUStageBuffers?
    private(set) var topK = 0
    private(set) var experts = 0
    private(set) var logitStride = 0
    var hasRouting = false

    /// An empty workspace; the first call sizes it.
    public init() {}

    /// Bytes it holds.
    public var byteCount: Int { region?.byteCount ?? 0 }

    /// The experts' logits of the last batch, [tokens, experts], copied out; empty before the first.
    package var logits: [Float] {
        guard let buffers else { return [] }
        return (0..<buffers.tokens).flatMap { token in
            UnsafeBufferPointer(start: buffers.logits + token * logitStride, count: experts)
        }
    }

    /// The routing of the last call, copied out; nil before the first.
    public var routing: Routing? {
        guard hasRouting, let buffers else { return nil }
        let tokens = buffers.tokens
        let choices = tokens * topK
        return Routing(
            unchecked: tokens, experts: experts, topK: topK, logits: logits,
            expertIndices: Array(UnsafeBufferPointer(start: buffers.indices, count: choices)),
            weights: Array(UnsafeBufferPointer(start: buffers.weights, count: choices)),
            appliedWeights: Array(UnsafeBufferPointer(start: buffers.weights, count: choices)))
    }

    /// Rows each expert works on in the last call, [experts], lent to `body` without a copy; empty before the first call.
    public func withTokensPerExpert<Result>(_ body: (Span<Int32>) -> Result) -> Result {
        guard hasRouting, let buffers else { return body(Span()) }
        // offsets[e + 1] - offsets[e] is the load; the differences are written after the offsets, where room was kept.
        let loads = buffers.offsets + (experts + 1)
        for expert in 0..<experts { loads[expert] = buffers.offsets[expert + 1] - buffers.offsets[expert] }
        return body(UnsafeBufferPointer(start: loads, count: experts).span)
    }

    /// Makes room for a batch of a layer and sets the batch's sizes.
    mutating func prepare(_ backend: CPUBackend, tokens: Int, slots: Int) throws(MoEError) {
        let wanted = BatchCapacity(tokens: tokens, slots: slots)
        let sameOwner = owner == ObjectIdentifier(backend)
        if !sameOwner || !capacity.covers(wanted) {
            let larger = sameOwner ? capacity.union(wanted) : wanted
            var layout = RegionLayout()
            let planned = try backend.planBuffers(larger, layout: &layout)
            if layout.byteCount > byteCount {
                region = nil
                buffers = nil
                capacity = BatchCapacity(tokens: 0, slots: 0)
                region = try MemoryRegion(bytes: layout.byteCount, purpose: "the workspace of \(tokens) tokens")
            }
            buffers = planned(region!.base)
            capacity = larger
            owner = ObjectIdentifier(backend)
            topK = backend.configuration.topK
            experts = backend.configuration.experts
            logitStride = backend.weights.router.columns
        }
        hasRouting = false
        buffers!.tokens = tokens
        buffers!.slots = slots
    }
}
