/// What some layers need to know of a batch's tokens beside their activations. Most need nothing of it.
public struct TokenContext: Sendable {
    /// Tokens of each sequence, for a capacity counted by sequence: the batch is cut into sequences of this length. Nil takes
    /// it from the input's shape, [batch, sequence, hidden]; an input of two dimensions is one sequence.
    public var sequenceLength: Int?
    /// The id of each token in the vocabulary, [tokens], for ``ExpertSelection/table(vocabulary:)``.
    public var tokenIDs: [Int32]
    /// Whether each token is real, [tokens]; empty where all are. Padding matters to a capacity that drops it, and to losses.
    public var attentionMask: [Bool]
    /// What the router sees in place of the layer's input, [tokens, hidden], for models that normalise the two differently
    /// (Gemma 4); empty takes the layer's input.
    public var routerInput: [Float]
    /// Choices that an expert accepts in this call, in place of the ``CapacityRule/limit`` of the layer's rule; nil keeps
    /// that. See ``AdaptiveCapacity``.
    public var capacity: Int?

    public init(
        sequenceLength: Int? = nil, tokenIDs: [Int32] = [], attentionMask: [Bool] = [], routerInput: [Float] = [],
        capacity: Int? = nil
    ) {
        self.sequenceLength = sequenceLength
        self.tokenIDs = tokenIDs
        self.attentionMask = attentionMask
        self.routerInput = routerInput
        self.capacity = capacity
    }
}
