/// What a Mixture-of-Experts layer is: its sizes, how it routes, what an expert computes.
///
/// A published model family is one value of this type; nothing is subclassed. Sizes are checked once, here.
public struct MoEConfiguration: Sendable, Hashable {
    /// E, the number of routed experts that have weights.
    public let experts: Int
    /// Z, experts that return their input (LongCat's zero-computation experts). They follow the others: indices E..<E + Z.
    public let identityExperts: Int
    /// k, experts each token is sent to; the mean where experts choose (``ExpertSelection/expertChoice``).
    public let topK: Int
    /// H, the model's width: the length of a token's activations.
    public let hidden: Int
    /// F, the inner width of one expert.
    public let expertHidden: Int
    /// From logits to the experts' weights.
    public let router: RouterConfiguration
    /// Where a routing weight acts.
    public let weightSide: WeightSide
    /// How many tokens an expert accepts.
    public let capacity: Capacity
    /// What one expert computes.
    public let expert: ExpertKind
    /// A factor on every expert's output beside its weight (NLLB: 1 - `moe_token_dropout`).
    public let expertOutputScale: Float
    /// The width that routed experts work in where that is not H: x is projected down before them, their sum up after them
    /// (Nemotron-H).
    public let latent: Int?
    /// Whether a learned vector [H] is added once to every token's output (JetMoE).
    public let hasOutputBias: Bool
    /// An expert that every token visits, beside the routed ones.
    public let shared: SharedExpert
    /// How its output joins the routed sum.
    public let sharedCombine: SharedCombine
    /// Whether the shared expert's matrices add biases.
    public let hasSharedBiases: Bool
    /// How weights are kept in memory; nil keeps each tensor as its source stores it (random weights then are fp32).
    public internal(set) var weightType: ElementType?

    /// Router outputs: the experts a token may choose among, E + Z.
    public var choices: Int { experts + identityExperts }
    /// The length of an expert's input and output: H, or the latent width.
    public var expertWidth: Int { latent ?? hidden }
    /// Slots for experts that a token needs: k, or all where experts choose.
    public var slots: Int { router.isExpertChoice ? choices : topK }

    /// Describes a layer.
    ///
    /// - Throws: ``MoEError/configuration(field:value:expectation:)`` naming the first field that cannot be: a size below 1,
    ///   `topK` above the experts there are, groups that do not divide them, more than 65,536 experts, or sizes whose product
    ///   overflows.
    public init(
        experts: Int, topK: Int, hidden: Int, expertHidden: Int, router: RouterConfiguration = .init(),
        expert: ExpertKind = .gated(.silu), shared: SharedExpert = .none, weightType: ElementType? = nil,
        weightSide: WeightSide = .output, capacity: Capacity = .unlimited, identityExperts: Int = 0,
        expertOutputScale: Float = 1, latent: Int? = nil, hasOutputBias: Bool = false,
        sharedCombine: SharedCombine = .sum, hasSharedBiases: Bool = false
    ) throws(MoEError) {
        func positive(_ value: Int, _ field: String) throws(MoEError) {
            guard value >= 1 else { throw .configuration(field: field, value: "\(value)", expectation: "1 or more") }
        }
        try positive(experts, "experts")
        try positive(topK, "topK")
        try positive(hidden, "hidden")
        try positive(expertHidden, "expertHidden")
        guard experts <= Self.maximumExperts else {
            throw .configuration(
                field: "experts", value: "\(experts)", expectation: "at most \(Self.maximumExperts)")
        }
        guard (0...Self.maximumExperts - experts).contains(identityExperts) else {
            throw .configuration(
                field: "identityExperts", value: "\(identityExperts)",
                expectation: "0 or more, with experts at most \(Self.maximumExperts)")
        }
        guard topK <= experts + identityExperts else {
            throw .configuration(
                field: "topK", value: "\(topK)", expectation: "at most experts, \(experts + identityExperts)")
        }
        if let width = shared.width { try positive(width, "shared width") }
        if let latent { try positive(latent, "latent") }
        for (field, width) in [
            ("expertHidden", expertHidden), ("shared width", shared.width ?? 1), ("latent", latent ?? 1),
            ("hidden", hidden),
        ]
        where width > Self.maximumWidth {
            throw .configuration(field: field, value: "\(width)", expectation: "at most \(Self.maximumWidth)")
        }
        // Three matrices of four bytes a weight at the most, for every expert, the shared one and the latent width: what the layer
        // must be able to address, with room to pad.
        let matrices = [
            [12, experts, latent ?? hidden, expertHidden], [12, hidden, shared.width ?? 0], [8, hidden, latent ?? 0],
            [4, experts + identityExperts, hidden],
        ]
        var bytes = 0
        var overflow = false
        for factors in matrices {
            var product = 1
            for factor in factors {
                let (next, over) = product.multipliedReportingOverflow(by: factor)
                (product, overflow) = (next, overflow || over)
            }
            let (sum, over) = bytes.addingReportingOverflow(product)
            (bytes, overflow) = (sum, overflow || over)
        }
        guard !overflow, bytes <= Int.max / 4 else {
            throw .configuration(
                field: "experts × hidden × expertHidden", value: "\(experts) × \(latent ?? hidden) × \(expertHidden)",
                expectation: "weights of less than 2^61 bytes")
        }
        try router.validate(choices: experts + identityExperts, topK: topK)
        if let rule = capacity.rule {
            try rule.limit.validate()
            try rule.renormalisation.validate()
            guard !router.isExpertChoice else {
                throw .configuration(
                    field: "capacity", value: "limited",
                    expectation: "unlimited: expertChoice fills every expert evenly")
            }
        }
        guard expertOutputScale.isFinite else {
            throw .configuration(
                field: "expertOutputScale", value: "\(expertOutputScale)", expectation: "a finite number")
        }
        if case .gatedClamped(let gate, _) = expert {
            guard gate.limit > 0, gate.alpha.isFinite, gate.upOffset.isFinite, !gate.limit.isNaN else {
                throw .configuration(
                    field: "expert clamp", value: "limit \(gate.limit), alpha \(gate.alpha), offset \(gate.upOffset)",
                    expectation: "a limit above 0 and finite numbers")
            }
        }
        guard weightSide == .output || identityExperts == 0 else {
            throw .configuration(
                field: "identityExperts", value: "\(identityExperts)", expectation: "0 where weights act on inputs")
        }
        guard latent == nil || identityExperts == 0 else {
            throw .configuration(
                field: "identityExperts", value: "\(identityExperts)",
                expectation: "0 where experts work in a latent width")
        }
        guard !hasSharedBiases || shared != .none else {
            throw .configuration(field: "hasSharedBiases", value: "true", expectation: "a shared expert to have them")
        }
        self.experts = experts
        self.identityExperts = identityExperts
        self.topK = topK
        self.hidden = hidden
        self.expertHidden = expertHidden
        self.router = router
        self.weightSide = weightSide
        self.capacity = capacity
        self.expert = expert
        self.expertOutputScale = expertOutputScale
        self.latent = latent
        self.hasOutputBias = hasOutputBias
        self.shared = shared
        self.sharedCombine = sharedCombine
        self.hasSharedBiases = hasSharedBiases
        self.weightType = weightType
    }

    /// The most experts a layer may have: expert ids are stored in 32 bits and E² must not overflow.
    public static let maximumExperts = 65_536
    /// The widest `hidden` or `expertHidden`.
    public static let maximumWidth = 1 << 30
}
