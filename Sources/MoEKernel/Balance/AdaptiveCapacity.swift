/// Finds a capacity that follows demand: tight where experts are used evenly, roomy where they are not.
///
/// Keeps a capacity factor. Each observation of how many choices fell on each expert, before any was dropped, moves it by
///
///     factor ← min(max((1 − rate) · factor + rate · headroom · max demand / mean demand, minimum), maximum)
///
/// and the capacity for T tokens counted together is ⌈factor · T · k / E⌉, at least 1 (``CapacityLimit/factor(_:)``). Under a
/// constant skew m = max/mean the factor tends to `headroom` · m, its distance from there times 1 − rate a step. Unless the
/// maximum is in the way, nothing is then dropped with a headroom of 1 or more. m is at least 1, so a `minimum` below
/// `headroom` is never reached from above.
///
/// ```swift
/// var capacity = try AdaptiveCapacity(experts: 64, topK: 6)
/// let context = TokenContext(capacity: try capacity.choices(tokens: x.rows))
/// // … a forward with this context, of a layer whose Capacity has a rule …
/// try capacity.observe(output.routing)
/// ```
///
/// The caller owns one a layer. Observing allocates nothing as long as it is not copied.
public struct AdaptiveCapacity: Sendable {
    /// E, identity experts included.
    public let experts: Int
    /// k.
    public let topK: Int
    /// Room above the busiest expert's demand, as a factor of it.
    public let headroom: Double
    /// The weight of an observation against all before it.
    public let rate: Double
    /// The least and the largest factor.
    public let bounds: ClosedRange<Double>
    /// The present factor.
    public private(set) var factor: Double
    /// Observations taken in.
    public private(set) var observations = 0

    /// Room to count a sequence's choices.
    private var counts: [Int]

    /// A capacity that has seen no demand yet.
    ///
    /// - Parameters:
    ///   - experts: E, identity experts included (``MoEConfiguration/choices``).
    ///   - topK: k, 1...experts.
    ///   - headroom: Finite, above 0. Below 1, drops under steady skew are accepted.
    ///   - rate: Above 0, at most 1, which follows the last observation alone.
    ///   - bounds: The least and largest factor, finite, above 0. A maximum of E / k or more allows that nothing is ever
    ///     dropped, for then an expert can take every token.
    ///   - initial: The factor to start from, within the bounds; nil starts at their minimum.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` naming the first value that cannot be.
    public init(
        experts: Int, topK: Int, headroom: Double = 1.25, rate: Double = 0.1, bounds: ClosedRange<Double> = 1.25...4,
        initial: Double? = nil
    ) throws(MoEError) {
        guard (1...MoEConfiguration.maximumExperts).contains(experts) else {
            throw .input(
                name: "experts", value: "\(experts)", expectation: "1 to \(MoEConfiguration.maximumExperts)")
        }
        guard (1...experts).contains(topK) else {
            throw .input(name: "topK", value: "\(topK)", expectation: "1 to experts, \(experts)")
        }
        guard headroom.isFinite, headroom > 0 else {
            throw .input(name: "headroom", value: "\(headroom)", expectation: "finite, above 0")
        }
        guard rate > 0, rate <= 1 else {
            throw .input(name: "rate", value: "\(rate)", expectation: "above 0, at most 1")
        }
        guard bounds.lowerBound > 0, bounds.upperBound.isFinite else {
            throw .input(name: "bounds", value: "\(bounds)", expectation: "finite, above 0")
        }
        let start = initial ?? bounds.lowerBound
        guard bounds.contains(start) else {
            throw .input(name: "initial", value: "\(start)", expectation: "within \(bounds)")
        }
        self.experts = experts
        self.topK = topK
        self.headroom = headroom
        self.rate = rate
        self.bounds = bounds
        factor = start
        counts = Array(repeating: 0, count: experts)
    }

    /// The capacity to pass as ``TokenContext/capacity``: ⌈factor · T · k / E⌉, at least 1.
    ///
    /// - Parameter tokens: T, the tokens counted together: those of the call, or of one sequence where the rule's
    ///   ``CapacityRule/scope`` is ``CapacityScope/sequence``.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for a negative number, or more than a call can have.
    public func choices(tokens: Int) throws(MoEError) -> Int {
        guard tokens >= 0, tokens <= Int(Int32.max) / topK else {
            throw .input(name: "tokens", value: "\(tokens)", expectation: "0 or more, tokens · topK below 2^31")
        }
        return CapacityLimit.factor(factor).choices(tokens: tokens, experts: experts, topK: topK)
    }

    /// Takes in a call's routing: all its choices, the dropped ones and those of padding included.
    ///
    /// - Parameters:
    ///   - routing: What the call returned.
    ///   - sequenceLength: Where capacity is counted by sequence, the tokens of one: the sequence with the largest skew then
    ///     tells the demand. Nil takes the batch as a whole.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for another number of experts, a length that does not divide the
    ///   tokens, or a routing in which experts chose their tokens and none is ever turned away.
    public mutating func observe(_ routing: Routing, sequenceLength: Int? = nil) throws(MoEError) {
        try routing.check(experts: experts)
        guard !routing.chosenByExperts else {
            throw .input(name: "routing", value: "of experts' choice", expectation: "one in which tokens choose")
        }
        let length = sequenceLength ?? max(routing.tokens, 1)
        let sequences = try routing.sequences(of: length)
        var skew = 0.0
        for sequence in 0..<sequences {
            for expert in 0..<experts { counts[expert] = 0 }
            routing.addChoices(of: sequence * length..<(sequence + 1) * length, to: &counts)
            var highest = 0
            for expert in 0..<experts { highest = max(highest, counts[expert]) }
            skew = max(skew, Double(highest) * Double(experts) / Double(length * routing.topK))
        }
        follow(skew)
    }

    /// Takes in the choices that fell on each expert, [experts], before any was dropped.
    ///
    /// ``MoEWorkspace/withTokensPerExpert(_:)`` has what was left after dropping, which cannot show demand beyond capacity: do
    /// not pass that of a layer that drops.
    ///
    /// - Parameter demand: [experts].
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for another length or a negative number.
    public mutating func observe(demand: Span<Int32>) throws(MoEError) {
        guard demand.count == experts else {
            throw .input(name: "demand", value: "\(demand.count) values", expectation: "\(experts), one an expert")
        }
        var (total, highest, lowest) = (0, Int32(0), Int32(0))
        for expert in 0..<experts {
            total += Int(demand[expert])
            highest = max(highest, demand[expert])
            lowest = min(lowest, demand[expert])
        }
        guard lowest >= 0 else {
            throw .input(name: "demand", value: "\(lowest) choices", expectation: "0 or more")
        }
        follow(total == 0 ? 0 : Double(highest) * Double(experts) / Double(total))
    }

    /// One step of the rule; a skew of 0 stands for no choices, which say nothing.
    private mutating func follow(_ skew: Double) {
        guard skew > 0 else { return }
        observations += 1
        let next = (1 - rate) * factor + rate * headroom * skew
        factor = min(max(next, bounds.lowerBound), bounds.upperBound)
    }
}
