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

    /// What there is to say; nothing by default.
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

extension TokenContext {
    /// Whether it fits a layer and a batch.
    func check(for configuration: MoEConfiguration, tokens: Int) throws(MoEError) {
        if let sequenceLength, tokens > 0 {
            guard sequenceLength >= 1, tokens.isMultiple(of: sequenceLength) else {
                throw .input(
                    name: "sequenceLength", value: "\(sequenceLength)", expectation: "a divisor of \(tokens) tokens")
            }
        }
        if case .table(let vocabulary) = configuration.router.selection {
            guard tokenIDs.count == tokens else {
                throw .input(
                    name: "tokenIDs", value: "\(tokenIDs.count) values",
                    expectation: "\(tokens), one a token: this layer chooses experts by token id")
            }
            if let odd = tokenIDs.first(where: { $0 < 0 || $0 >= vocabulary }) {
                throw .input(name: "tokenIDs", value: "an id of \(odd)", expectation: "0..<\(vocabulary)")
            }
        }
        // Not a list of the three: that would be a block of the heap in every forward.
        func check(_ name: String, count: Int, _ expected: Int) throws(MoEError) {
            guard count == 0 || count == expected else {
                throw .input(name: name, value: "\(count) values", expectation: "\(expected), or none")
            }
        }
        try check("tokenIDs", count: tokenIDs.count, tokens)
        try check("attentionMask", count: attentionMask.count, tokens)
        try check("routerInput", count: routerInput.count, tokens * configuration.hidden)
        if let capacity {
            guard (0...Int(Int32.max)).contains(capacity) else {
                throw .input(name: "capacity", value: "\(capacity)", expectation: "0 or more choices")
            }
            guard configuration.capacity != .unlimited else {
                throw .input(
                    name: "capacity", value: "\(capacity)", expectation: "none: this layer's capacity is unlimited")
            }
        }
    }
}
