/// How a router turns logits into experts and weights: input → logits → score → selection → transform → normalise → scale.
///
/// Router arithmetic is fp32 whatever the type of the weights. Every published router is one value of this type.
public struct RouterConfiguration: Sendable, Hashable {
    /// What the router sees of a token.
    public var input: RouterInput
    /// Whether a learned bias [E] is added to the logits (gpt-oss).
    public var hasBias: Bool
    /// From logits to scores.
    public var score: RouterScore
    /// Whether a learned correction [E] is added to the scores for choosing experts, and only for that: weights come from the
    /// scores without it.
    ///
    /// Source: Wang et al., "Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts", 2024.
    public var hasSelectionBias: Bool
    /// Who is chosen.
    public var selection: ExpertSelection
    /// What becomes of the chosen scores first.
    public var weightTransform: WeightTransform
    /// What they are divided by.
    public var normalisation: RouterNormalisation
    /// A factor on every weight, after normalisation (`routed_scaling_factor` in published configurations).
    public var scale: Float
    /// Whether a learned factor [E] scales each expert's weight (Gemma 4).
    public var hasExpertScale: Bool

    /// Softmax over all experts, the k best, weights divided by their sum: Mixtral's router.
    public init(
        input: RouterInput = .identity, hasBias: Bool = false, score: RouterScore = .softmax,
        hasSelectionBias: Bool = false, selection: ExpertSelection = .topK, weightTransform: WeightTransform = .none,
        normalisation: RouterNormalisation = .sum(epsilon: 0), scale: Float = 1, hasExpertScale: Bool = false
    ) {
        self.input = input
        self.hasBias = hasBias
        self.score = score
        self.hasSelectionBias = hasSelectionBias
        self.selection = selection
        self.weightTransform = weightTransform
        self.normalisation = normalisation
        self.scale = scale
        self.hasExpertScale = hasExpertScale
    }
}

/// What a router multiplies its matrix with.
public enum RouterInput: Sendable, Hashable {
    /// The layer's own input.
    case identity
    /// x / √(mean x² + epsilon) · scale, times a learned vector [H] (Gemma 4, where `scale` is H^-½).
    case rootMeanSquareNormalised(epsilon: Float, scale: Float)
}

/// From a token's logits z to its scores.
public enum RouterScore: Sendable, Hashable, CaseIterable {
    /// exp(zₑ) / Σ exp(z) over all experts.
    case softmax
    /// 1 / (1 + exp(-zₑ)) (DeepSeek-V3).
    case sigmoid
    /// √log(1 + exp zₑ) (DeepSeek-V4).
    case sqrtSoftplus
    /// zₑ itself, for a ``WeightTransform`` to work on.
    case logits
}

/// Who is chosen, from a token's scores plus the selection bias. Ties go to the lower index.
public enum ExpertSelection: Sendable, Hashable {
    /// The k best.
    case topK
    /// The k best of the `keep` best of `groups` equal groups of consecutive experts (DeepSeek-V2, V3).
    case grouped(groups: Int, keep: Int, by: GroupScore)
    /// Two experts, each by argmax, its weight a softmax over the experts within 2·epsilon of it (Phi-3.5-MoE). Yields its own
    /// weights: ``RouterConfiguration/score`` is ``RouterScore/logits`` and nothing is normalised.
    ///
    /// Source: Liu et al., "GRIN: GRadient-INformed MoE", 2024, in its inference form.
    case sparseMixer(epsilon: Float)
    /// The k experts that a learned table [vocabulary, k] lists for the token's id; weights still come from the scores
    /// (DeepSeek-V4's first layers).
    case table(vocabulary: Int)
    /// Two levels: a router over `groups` equal groups of consecutive experts keeps the `keep` best, and in each of these
    /// the router within chooses k / keep experts. Both levels score with ``RouterConfiguration/score``, the inner one over
    /// its group alone; a weight is the product of the two. A token's experts stand group by group, best group first.
    ///
    /// Source: Shazeer et al., "Outrageously Large Neural Networks", 2017, appendix B.
    case hierarchical(groups: Int, keep: Int)
    /// Experts choose: each takes the ⌈T·k/E⌉ tokens that score it highest, so that load is even and a token visits between
    /// none and all experts, k on average. A token's result then depends on the batch around it.
    ///
    /// Source: Zhou et al., "Mixture-of-Experts with Expert Choice Routing", 2022.
    case expertChoice
}

/// What ranks a group of experts.
public enum GroupScore: Sendable, Hashable {
    /// Its best expert's score (DeepSeek-V2).
    case max
    /// The sum of its two best (DeepSeek-V3).
    case topTwoSum
}

/// What becomes of the k chosen scores before they are normalised.
public enum WeightTransform: Sendable, Hashable {
    case none
    /// Softmax over the k chosen values (gpt-oss, Granite).
    case softmaxOverSelected
    /// σ of each (Llama 4).
    case sigmoid
}

/// What the k chosen scores are divided by. Where that is zero, the weights are zero.
public enum RouterNormalisation: Sendable, Hashable {
    /// The scores are the weights.
    case none
    /// Their sum plus epsilon (`norm_topk_prob` in published configurations).
    case sum(epsilon: Float)
    /// Their sum, or `minimum` where that is larger (Ernie 4.5).
    case clampedSum(minimum: Float)
    /// (Σ |w|^p)^(1/p) (DBRX).
    case norm(p: Float)
}

extension RouterConfiguration {
    /// Groups of experts, 1 where there are none.
    var groups: Int {
        switch selection {
        case .grouped(let groups, _, _), .hierarchical(let groups, _): groups
        default: 1
        }
    }

    /// Whether experts of a token are chosen by looking at all tokens.
    package var isExpertChoice: Bool { selection == .expertChoice }

    /// Whether it looks tokens' ids up.
    var usesTokenIDs: Bool {
        if case .table = selection { true } else { false }
    }

    /// - Parameter choices: E, identity experts included.
    func validate(choices: Int, topK: Int) throws(MoEError) {
        func positive(_ value: Int, _ field: String) throws(MoEError) {
            guard value >= 1 else { throw .configuration(field: field, value: "\(value)", expectation: "1 or more") }
        }
        func finite(_ value: Float, _ field: String, orNegative: Bool = false) throws(MoEError) {
            guard value.isFinite, orNegative || value >= 0 else {
                throw .configuration(
                    field: field, value: "\(value)",
                    expectation: orNegative ? "a finite number" : "finite, 0 or more")
            }
        }
        func checkGroups(_ groups: Int, _ keep: Int) throws(MoEError) {
            try positive(groups, "router.selection groups")
            guard choices.isMultiple(of: groups) else {
                throw .configuration(
                    field: "router.selection groups", value: "\(groups)",
                    expectation: "a divisor of experts, \(choices)")
            }
            guard (1...groups).contains(keep) else {
                throw .configuration(
                    field: "router.selection kept groups", value: "\(keep)", expectation: "1 to groups, \(groups)")
            }
            guard topK <= keep * (choices / groups) else {
                throw .configuration(
                    field: "topK", value: "\(topK)",
                    expectation: "at most the \(keep * (choices / groups)) experts of \(keep) kept groups")
            }
        }
        func only(_ condition: Bool, _ field: String, _ value: String, _ expectation: String) throws(MoEError) {
            guard condition else { throw .configuration(field: field, value: value, expectation: expectation) }
        }

        try finite(scale, "router.scale", orNegative: true)
        if case .rootMeanSquareNormalised(let epsilon, let factor) = input {
            try finite(epsilon, "router.input epsilon")
            try finite(factor, "router.input scale", orNegative: true)
        }
        switch normalisation {
        case .none: break
        case .sum(let epsilon): try finite(epsilon, "router.normalisation epsilon")
        case .clampedSum(let minimum): try finite(minimum, "router.normalisation minimum")
        case .norm(let p):
            try only(p.isFinite && p > 0, "router.normalisation p", "\(p)", "a finite number above 0")
        }
        switch selection {
        case .topK: break
        case .grouped(let groups, let keep, let score):
            try checkGroups(groups, keep)
            try only(
                score != .topTwoSum || choices / groups >= 2, "router.selection groups", "\(groups)",
                "groups of two experts or more, to rank them by their best two")
        case .sparseMixer(let epsilon):
            try finite(epsilon, "router.selection epsilon")
            try only(topK == 2 && choices >= 2, "topK", "\(topK)", "2, the only one that sparseMixer defines")
            try only(score == .logits, "router.score", "\(score)", "logits: sparseMixer makes its own weights")
            try only(
                !hasSelectionBias && weightTransform == .none && normalisation == .none, "router",
                "a sparseMixer with selection bias, transform or normalisation", "none of these")
        case .table(let vocabulary):
            try positive(vocabulary, "router.selection vocabulary")
            try only(
                vocabulary <= Int(Int32.max) / topK, "router.selection vocabulary", "\(vocabulary)",
                "less than 2^31 entries in the table")
        case .hierarchical(let groups, let keep):
            try checkGroups(groups, keep)
            try only(
                topK.isMultiple(of: keep), "topK", "\(topK)", "a multiple of the kept groups, \(keep)")
            try only(
                score != .logits && !hasSelectionBias, "router",
                "hierarchical with raw logits or a selection bias", "scores of both levels, without a bias")
        case .expertChoice:
            try only(
                normalisation == .none && weightTransform == .none, "router",
                "expertChoice with a transform or normalisation", "neither: a token's experts are not known beforehand")
        }
    }
}
