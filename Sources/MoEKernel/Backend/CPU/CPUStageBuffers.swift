/// Memory of the CPU stages for batches of up to some number of tokens: one region, cut into the arrays below. Those that a layer
/// has no use for are nil.
struct CPUStageBuffers: @unchecked Sendable {
    /// Tokens of the current call.
    var tokens: Int
    /// Slots a token has in the dispatch: the configuration's, or one for every expert in the dense baseline.
    var slots: Int
    /// Tokens of each sequence of the current call.
    var sequenceLength = 1
    /// Choices an expert accepts, where the call says so.
    var capacity: Int?
    /// Whether the call gives the router an input of its own.
    var hasRouterInput = false
    /// Whether the call tells padding from real tokens.
    var hasMask = false
    /// Tokens packed for the router, the shared expert and the latent projection.
    let tokenTiles: UnsafeMutablePointer<Float>
    /// [tokens, hidden], what the router reads where that is not x.
    let routerRowsStorage: UnsafeMutablePointer<Float>?
    /// [tokens], each within the vocabulary.
    let tokenIDs: UnsafeMutablePointer<Int32>?
    /// [tokens], 0 for padding.
    let maskStorage: UnsafeMutablePointer<UInt8>
    /// [tokens, columns of the router]: the choices' logits, then the groups', then the shared gate's.
    let logits: UnsafeMutablePointer<Float>
    let selectScratch: UnsafeMutablePointer<Float>
    /// [tokens, configuration slots]
    let indices: UnsafeMutablePointer<Int32>
    let weights: UnsafeMutablePointer<Float>
    /// Whether each choice is computed, and its weight then; nil where all are, as chosen.
    let kept: UnsafeMutablePointer<UInt8>?
    let applied: UnsafeMutablePointer<Float>?
    /// Scratch of whoever decides that.
    let order: UnsafeMutablePointer<Int32>?
    let served: UnsafeMutablePointer<Int32>?
    /// Choices and weights as dispatched to every expert, [tokens, slots].
    let denseIndices: UnsafeMutablePointer<Int32>?
    let denseWeights: UnsafeMutablePointer<Float>?
    let offsets: UnsafeMutablePointer<Int32>
    let rowTokens: UnsafeMutablePointer<Int32>
    /// [rows], where weights act on inputs.
    let rowWeights: UnsafeMutablePointer<Float>?
    let slotRows: UnsafeMutablePointer<Int32>
    /// Gathered and inner activations of the experts that are being worked on (see ``ExpertSchedule``), in tiles of so many floats.
    let rowTiles: UnsafeMutablePointer<Float>
    let rowTileFloats: Int
    /// Few tokens' rows, each a tile, for experts that have but one; nil where rows are weighted.
    let loneTiles: UnsafeMutablePointer<Float>?
    let innerTiles: UnsafeMutablePointer<Float>
    let innerTileFloats: Int
    /// Sums of a task of each worker, so many floats, where the activation is a pass of its own.
    let keptSums: UnsafeMutablePointer<Float>?
    let keptSumsFloats: Int
    /// The experts' outputs, [rows, expert width].
    let rows: UnsafeMutablePointer<Float>
    /// [tokens, latent]: x in the latent width, later the experts' sum; and that in the model's, [tokens, hidden].
    let latentRows: UnsafeMutablePointer<Float>?
    let latentOutput: UnsafeMutablePointer<Float>?
    /// That sum packed, to be multiplied.
    let latentTiles: UnsafeMutablePointer<Float>?
    let sharedRows: UnsafeMutablePointer<Float>
    /// The experts' schedule, empty.
    let schedule: ExpertSchedule
    let scratch: SweepScratch

    /// What the router reads in place of x in this call.
    var routerRows: UnsafeMutablePointer<Float>? { hasRouterInput || normalisesRouterInput ? routerRowsStorage : nil }
    /// Whether the router normalises its input.
    var normalisesRouterInput = false
    /// [tokens], 0 for padding; nil where all tokens are real.
    var mask: UnsafePointer<UInt8>? { hasMask ? UnsafePointer(maskStorage) : nil }
}
