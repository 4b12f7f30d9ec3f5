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

    package init(
        tokens: Int, experts: Int, topK: Int, logits: [Float], expertIndices: [Int32], weights: [Float]
    ) {
        self.tokens = tokens
        self.experts = experts
        self.topK = topK
        self.logits = logits
        self.expertIndices = expertIndices
        self.weights = weights
    }
}
