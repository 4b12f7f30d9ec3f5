/// Where every token goes: the router's result.
public struct Routing: Sendable, Hashable {
    /// T, tokens routed.
    public let tokens: Int
    /// E, experts to choose from, identity experts included.
    public let experts: Int
    /// k, slots of each token; as many as experts where experts choose tokens.
    public let topK: Int
    /// Raw router logits, [tokens, experts].
    public let logits: [Float]
    /// Chosen experts, [tokens, topK], always in 0..<experts. Best first, ties to the lower index, but for the selections that say
    /// otherwise: a table's own order, group by group for two levels, ascending where experts choose.
    public let expertIndices: [Int32]
    /// The router's weight of each choice, [tokens, topK], before any is dropped.
    public let weights: [Float]
    /// Whether each choice is computed, [tokens, topK]; nil where all are. Where experts choose tokens, the slots of a token
    /// that hold no choice come last and are not kept.
    public let kept: [Bool]?
    /// What each choice's output is multiplied with, [tokens, topK]: its weight, unless the layer's ``Capacity`` changed it; 0
    /// for a dropped choice.
    public let appliedWeights: [Float]

    /// Whether experts chose their tokens (``ExpertSelection/expertChoice``).
    public let chosenByExperts: Bool

    /// A routing made elsewhere, for instance to replay recorded choices.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` when an array's length does not fit, or an expert's index is out of
    ///   range.
    public init(
        tokens: Int, experts: Int, topK: Int, logits: [Float], expertIndices: [Int32], weights: [Float],
        kept: [Bool]? = nil, chosenByExperts: Bool = false
    ) throws(MoEError) {
        guard tokens >= 0, experts >= 1, topK >= 1, topK <= experts,
            tokens <= Int(Int32.max) / max(topK, experts)
        else {
            throw .input(
                name: "routing", value: "\(tokens) tokens, \(experts) experts, top \(topK)",
                expectation: "0 or more tokens, 1 ≤ topK ≤ experts, tokens · experts below 2^31")
        }
        for (name, count, expected) in [
            ("logits", logits.count, tokens * experts), ("expertIndices", expertIndices.count, tokens * topK),
            ("weights", weights.count, tokens * topK), ("kept", kept?.count ?? tokens * topK, tokens * topK),
        ] where count != expected {
            throw .input(name: name, value: "\(count) values", expectation: "\(expected)")
        }
        if let odd = expertIndices.first(where: { $0 < 0 || $0 >= experts }) {
            throw .input(name: "expertIndices", value: "an index of \(odd)", expectation: "0..<\(experts)")
        }
        let applied = kept.map { kept in zip(weights, kept).map { $1 ? $0 : 0 } } ?? weights
        self.init(
            unchecked: tokens, experts: experts, topK: topK, logits: logits, expertIndices: expertIndices,
            weights: weights, kept: kept, appliedWeights: applied, chosenByExperts: chosenByExperts)
    }

    init(
        unchecked tokens: Int, experts: Int, topK: Int, logits: [Float], expertIndices: [Int32], weights: [Float],
        kept: [Bool]? = nil, appliedWeights: [Float], chosenByExperts: Bool = false
    ) {
        self.tokens = tokens
        self.experts = experts
        self.topK = topK
        self.logits = logits
        self.expertIndices = expertIndices
        self.weights = weights
        self.kept = kept
        self.appliedWeights = appliedWeights
        self.chosenByExperts = chosenByExperts
    }

    /// Choices that no expert computes because its capacity was reached, or its token is padding. 0 where experts choose
    /// tokens: there an empty slot is no choice.
    public var droppedChoices: Int {
        guard let kept, !chosenByExperts else { return 0 }
        return kept.count { !$0 }
    }

    /// ``droppedChoices`` over all choices; 0 for no tokens.
    public var dropRate: Double { weights.isEmpty ? 0 : Double(droppedChoices) / Double(weights.count) }

    /// Choices of each token that are computed, [tokens].
    public var keptPerToken: [Int] {
        guard let kept else { return Array(repeating: topK, count: tokens) }
        return (0..<tokens).map { token in kept[token * topK..<(token + 1) * topK].count { $0 } }
    }
}
