/// How a router turns logits into experts and weights: score → top-k → normalise → scale.
///
/// Router arithmetic is fp32 whatever the type of the weights.
public struct RouterConfiguration: Sendable, Hashable {
    /// From logits to scores.
    public var score: RouterScore
    /// What is done to the selected scores.
    public var normalisation: RouterNormalisation
    /// A factor on every weight, after normalisation (`routed_scaling_factor` in published configurations).
    public var scale: Float

    /// Softmax over all experts, weights divided by their sum: Mixtral's router.
    public init(score: RouterScore = .softmax, normalisation: RouterNormalisation = .sum(epsilon: 0), scale: Float = 1)
    {
        self.score = score
        self.normalisation = normalisation
        self.scale = scale
    }

    func validate() throws(MoEError) {
        guard scale.isFinite else {
            throw .configuration(field: "router.scale", value: "\(scale)", expectation: "a finite number")
        }
        if case .sum(let epsilon) = normalisation, !(epsilon.isFinite && epsilon >= 0) {
            throw .configuration(
                field: "router.normalisation epsilon", value: "\(epsilon)", expectation: "finite, 0 or more")
        }
    }
}

/// From a token's logits z to its scores.
public enum RouterScore: Sendable, Hashable {
    /// exp(zₑ) / Σ exp(z) over all E experts.
    case softmax
}

/// What is done to the k selected scores.
public enum RouterNormalisation: Sendable, Hashable {
    /// The scores are the weights.
    case none
    /// Divided by their sum plus epsilon (`norm_topk_prob` in published configurations).
    case sum(epsilon: Float)
}
