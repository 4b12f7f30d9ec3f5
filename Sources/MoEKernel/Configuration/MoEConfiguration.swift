/// What a Mixture-of-Experts layer is: its sizes, how it routes, what an expert computes.
///
/// A published model family is one value of this type; nothing is subclassed. Sizes are checked once, here.
public struct MoEConfiguration: Sendable, Hashable {
    /// E, the number of routed experts.
    public let experts: Int
    /// k, experts each token is sent to.
    public let topK: Int
    /// H, the model's width: the length of a token's activations.
    public let hidden: Int
    /// F, the inner width of one expert.
    public let expertHidden: Int
    /// From logits to the experts' weights.
    public let router: RouterConfiguration
    /// What one expert computes.
    public let expert: ExpertKind
    /// An expert that every token visits, beside the routed ones.
    public let shared: SharedExpert
    /// How weights are kept in memory; nil keeps each tensor as its source stores it (random weights then are fp32).
    public let weightType: ElementType?

    /// Describes a layer.
    ///
    /// - Throws: ``MoEError/configuration(field:value:expectation:)`` naming the first field that cannot be: a size below 1,
    ///   `topK` above `experts`, more than 65,536 experts, or sizes whose product overflows.
    public init(
        experts: Int, topK: Int, hidden: Int, expertHidden: Int, router: RouterConfiguration = .init(),
        expert: ExpertKind = .gated(.silu), shared: SharedExpert = .none, weightType: ElementType? = nil
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
        guard topK <= experts else {
            throw .configuration(field: "topK", value: "\(topK)", expectation: "at most experts, \(experts)")
        }
        if let width = shared.width { try positive(width, "shared width") }
        for (field, width) in [("expertHidden", expertHidden), ("shared width", shared.width ?? 1), ("hidden", hidden)]
        where width > Self.maximumWidth {
            throw .configuration(field: field, value: "\(width)", expectation: "at most \(Self.maximumWidth)")
        }
        // Three matrices of H·F, four bytes each at the most, for every expert: what the layer must be able to address.
        let bytes = [12, experts, hidden, max(expertHidden, shared.width ?? 1)].reduce((1, false)) { partial, factor in
            let (product, overflow) = partial.0.multipliedReportingOverflow(by: factor)
            return (product, partial.1 || overflow)
        }
        guard !bytes.1, bytes.0 <= Int.max / 4 else {
            throw .configuration(
                field: "experts × hidden × expertHidden", value: "\(experts) × \(hidden) × \(expertHidden)",
                expectation: "weights of less than 2^61 bytes")
        }
        try router.validate()
        self.experts = experts
        self.topK = topK
        self.hidden = hidden
        self.expertHidden = expertHidden
        self.router = router
        self.expert = expert
        self.shared = shared
        self.weightType = weightType
    }

    /// The most experts a layer may have: expert ids are stored in 32 bits and E² must not overflow.
    public static let maximumExperts = 65_536
    /// The widest `hidden` or `expertHidden`.
    public static let maximumWidth = 1 << 30
}
