/// Where every token goes: the router's result.
public struct Routing: Sendable, Hashable {
    /// T, tokens routed.
    public let tokens: Int
    /// E, experts to choose from.
    public let experts: Int
    /// k, experts chosen for each token.
    public let topK: Int
    /// Raw router logits, [tokens, experts].
    public let logits: [Float]
    /// Chosen experts, [tokens, topK], best first; ties go to the lower index. Always in 0..<experts.
    public let expertIndices: [Int32]
    /// The weight of each choice, [tokens, topK].
    public let weights: [Float]

    /// A routing made elsewhere, for instance to replay recorded choices.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` when an array's length does not fit, or an expert's index is out of
    ///   range.
    public init(
        tokens: Int, experts: Int, topK: Int, logits: [Float], expertIndices: [Int32], weights: [Float]
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
            ("weights", weights.count, tokens * topK),
        ] where count != expected {
            throw .input(name: name, value: "\(count) values", expectation: "\(expected)")
        }
        if let odd = expertIndices.first(where: { $0 < 0 || $0 >= experts }) {
            throw .input(name: "expertIndices", value: "an index of \(odd)", expectation: "0..<\(experts)")
        }
        self.init(
            unchecked: tokens, experts: experts, topK: topK, logits: logits, expertIndices: expertIndices,
            weights: weights)
    }

    init(
        unchecked tokens: Int, experts: Int, topK: Int, logits: [Float], expertIndices: [Int32], weights: [Float]
    ) {
        self.tokens = tokens
        self.experts = experts
        self.topK = topK
        self.logits = logits
        self.expertIndices = expertIndices
        self.weights = weights
    }
}
