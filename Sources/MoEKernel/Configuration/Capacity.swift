/// How many tokens an expert accepts. A choice beyond is dropped: it contributes zero, and is counted in
/// ``Routing/droppedChoices``.
public enum Capacity: Sendable, Hashable {
    /// Dropless: every choice is computed.
    case unlimited
    /// As the rule says.
    case limited(CapacityRule)

    /// The rule; nil for a dropless layer.
    public var rule: CapacityRule? {
        if case .limited(let rule) = self { rule } else { nil }
    }
}

/// Who is dropped when an expert is chosen by more tokens than it accepts.
public struct CapacityRule: Sendable, Hashable {
    /// Choices an expert accepts.
    public var limit: CapacityLimit
    /// Which tokens are counted together.
    public var scope: CapacityScope
    /// Who is served first.
    public var order: DropOrder
    /// Whether padding tokens are dropped before anybody queues (NLLB); they take part otherwise (Switch).
    public var dropsPadding: Bool
    /// What becomes of the weights of a token that lost some of its experts.
    public var renormalisation: CapacityRenormalisation

    /// A rule: by default counted over the batch, first come, first served.
    public init(
        limit: CapacityLimit, scope: CapacityScope = .batch, order: DropOrder = .position, dropsPadding: Bool = false,
        renormalisation: CapacityRenormalisation = .none
    ) {
        self.limit = limit
        self.scope = scope
        self.order = order
        self.dropsPadding = dropsPadding
        self.renormalisation = renormalisation
    }
}

/// C, the choices an expert accepts among T tokens counted together. E counts identity experts, which take their even share but
/// refuse nobody.
public enum CapacityLimit: Sendable, Hashable {
    /// C itself, 0 or more (`expert_capacity` in published configurations).
    case fixed(Int)
    /// C = ⌈factor · T · k / E⌉, at least 1. Source: Lepikhin et al., "GShard", 2020; Fedus et al., "Switch Transformers", 2021.
    case factor(Double)
    /// C = ⌈fraction · T⌉ (NLLB at evaluation).
    case tokenFraction(Double)
    /// C = 2 · ⌈T / E⌉ (NLLB without an `expert_capacity`).
    case twiceEvenShare

    /// C for `tokens` tokens counted together, of a limit that has been validated.
    package func choices(tokens: Int, experts: Int, topK: Int) -> Int {
        func rounded(_ value: Double) -> Int { value < Double(tokens * topK) ? Int(value.rounded(.up)) : tokens * topK }
        return switch self {
        case .fixed(let limit): limit
        case .factor(let factor): max(rounded(factor * Double(tokens * topK) / Double(experts)), 1)
        case .tokenFraction(let fraction): rounded(fraction * Double(tokens))
        case .twiceEvenShare: 2 * ((tokens + experts - 1) / experts)
        }
    }

    func validate() throws(MoEError) {
        let (value, valid): (String, Bool) =
            switch self {
            case .fixed(let limit): ("\(limit)", limit >= 0 && limit <= Int(Int32.max))
            case .factor(let factor): ("\(factor)", factor.isFinite && factor > 0)
            case .tokenFraction(let fraction): ("\(fraction)", fraction.isFinite && fraction > 0)
            case .twiceEvenShare: ("", true)
            }
        guard valid else {
            throw .configuration(
                field: "capacity limit", value: value, expectation: "a finite number above 0, or 0 or more choices")
        }
    }
}

/// Which tokens an expert's capacity is counted over.
public enum CapacityScope: Sendable, Hashable {
    /// Each sequence of the batch has its own count (Switch).
    case sequence
    /// All tokens of the call together.
    case batch
}

/// The order in which choices queue for an expert.
public enum DropOrder: Sendable, Hashable {
    /// Token by token. Source: Switch; Megatron-Core calls it "position".
    case position
    /// All first choices token by token, then all second choices, and so on. Source: GShard; NLLB.
    case choiceRank
    /// As ``choiceRank``, with tokens in descending order of their best weight. Source: Riquelme et al., "Scaling Vision with
    /// Sparse Mixture of Experts", 2021: batch-prioritised routing.
    case tokenPriority
    /// Each expert keeps the choices of highest weight. Megatron-Core calls it "probs".
    case weight
}

extension CapacityRenormalisation {
    func validate() throws(MoEError) {
        switch self {
        case .none: break
        case .allChoices(let minimum), .keptChoices(let minimum):
            guard minimum.isFinite, minimum >= 0 else {
                throw .configuration(
                    field: "capacity renormalisation minimum", value: "\(minimum)", expectation: "finite, 0 or more")
            }
        }
    }
}

/// What a token's weights are divided by once choices may have been dropped. Dropped choices weigh zero in any case.
public enum CapacityRenormalisation: Sendable, Hashable {
    case none
    /// Σ of all its weights, the dropped ones included, at least `minimum` (NLLB, `normalize_router_prob_before_dropping`).
    case allChoices(minimum: Float)
    /// Σ of the weights that were kept, at least `minimum` (NLLB).
    case keptChoices(minimum: Float)
}
