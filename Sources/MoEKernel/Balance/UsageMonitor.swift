import CPlatform

/// Watches how a layer's experts are used from call to call: load shares, their spread, drops, and experts that nobody visits.
///
/// The caller owns one a layer and tells it of every call. An observation costs O(E), under a microsecond for 256 experts, and
/// allocates nothing as long as the monitor is not copied.
///
/// ```swift
/// var monitor = try UsageMonitor(experts: layer.configuration.choices)
/// try layer.forward(x.span, into: &y.mutableSpan, workspace: &workspace)
/// try monitor.observe(workspace)
/// monitor.maxOverMean       // 1 when even
/// monitor.deadExperts
/// ```
///
/// Loads are choices that experts compute: what a capacity dropped counts in ``dropRate`` alone. For demand before dropping, see
/// ``AdaptiveCapacity``.
///
/// A call without a single choice, computed or dropped, says nothing and is not counted.
public struct UsageMonitor: Sendable {
    /// E, identity experts included.
    public let experts: Int
    /// The weight of the past in averages: each observation counts `decay` times the one after it, whatever their numbers of
    /// tokens. About 1 / (1 - decay) observations matter.
    public let decay: Double
    /// Observations without a token after which an expert is dead.
    public let deadAfter: Int
    /// Observations counted.
    public private(set) var batches = 0
    /// Choices in them, computed and dropped.
    public private(set) var choices = 0

    /// Decayed sums; divided by their weight they are averages, from the first observation on.
    private var shareSums: [Double]
    private var shareWeight = 0.0
    private var dropSum = 0.0
    private var dropWeight = 0.0
    /// Observations with tokens up to the one in which each expert last had some.
    private var lastSeen: [Int]
    private var loadedBatches = 0
    /// Room to count a routing's choices.
    private var counts: [Int32]

    /// A monitor that has seen nothing.
    ///
    /// - Parameters:
    ///   - experts: E, identity experts included (``MoEConfiguration/choices``).
    ///   - decay: At least 0, which keeps the last observation alone, and below 1.
    ///   - deadAfter: Observations without a token that make an expert dead, 1 or more. Small batches need many: at one token a
    ///     call, an expert of a balanced layer that chooses 8 of 256 waits 32 calls on average, and more than 300
    ///     about once in ten thousand.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for any other value.
    public init(experts: Int, decay: Double = 0.99, deadAfter: Int = 1000) throws(MoEError) {
        guard (1...MoEConfiguration.maximumExperts).contains(experts) else {
            throw .input(
                name: "experts", value: "\(experts)", expectation: "1 to \(MoEConfiguration.maximumExperts)")
        }
        guard decay >= 0, decay < 1 else {
            throw .input(name: "decay", value: "\(decay)", expectation: "at least 0 and below 1")
        }
        guard deadAfter >= 1 else {
            throw .input(name: "deadAfter", value: "\(deadAfter)", expectation: "1 or more")
        }
        self.experts = experts
        self.decay = decay
        self.deadAfter = deadAfter
        shareSums = Array(repeating: 0, count: experts)
        lastSeen = Array(repeating: 0, count: experts)
        counts = Array(repeating: 0, count: experts)
    }

    // MARK: Observing

    /// Takes in one call.
    ///
    /// - Parameters:
    ///   - tokensPerExpert: Choices each expert computed, [experts], as ``MoEWorkspace/withTokensPerExpert(_:)`` lends them.
    ///   - droppedChoices: Choices that nobody computed.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for another length or a negative number; nothing is then taken in.
    public mutating func observe(tokensPerExpert: Span<Int32>, droppedChoices: Int = 0) throws(MoEError) {
        guard tokensPerExpert.count == experts else {
            throw .input(
                name: "tokensPerExpert", value: "\(tokensPerExpert.count) values",
                expectation: "\(experts), one an expert")
        }
        guard droppedChoices >= 0 else {
            throw .input(name: "droppedChoices", value: "\(droppedChoices)", expectation: "0 or more")
        }
        var (computed, lowest) = (0, Int32(0))
        for expert in 0..<experts {
            computed += Int(tokensPerExpert[expert])
            lowest = min(lowest, tokensPerExpert[expert])
        }
        guard lowest >= 0 else {
            throw .input(name: "tokensPerExpert", value: "a load of \(lowest)", expectation: "0 or more")
        }
        // Dropped choices of one call fit 32 bits; anything larger must not make the sum below trap.
        let (total, overflow) = computed.addingReportingOverflow(droppedChoices)
        guard !overflow else {
            throw .input(name: "droppedChoices", value: "\(droppedChoices)", expectation: "a total that fits")
        }
        guard total > 0 else { return }

        batches += 1
        choices &+= total
        dropSum = decay * dropSum + (1 - decay) * Double(droppedChoices) / Double(total)
        dropWeight = decay * dropWeight + (1 - decay)
        guard computed > 0 else { return }
        loadedBatches += 1
        shareWeight = decay * shareWeight + (1 - decay)
        let scale = (1 - decay) / Double(computed)
        let (experts, decay, batch) = (experts, decay, loadedBatches)
        var sums = shareSums.mutableSpan
        for expert in 0..<experts { sums[expert] = decay * sums[expert] + scale * Double(tokensPerExpert[expert]) }
        var seen = lastSeen.mutableSpan
        for expert in 0..<experts { seen[expert] = tokensPerExpert[expert] > 0 ? batch : seen[expert] }
    }

    /// Takes in one call from the workspace it used.
    ///
    /// - Parameter workspace: The workspace, after the call.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` where the call's layer has another number of experts. A workspace
    ///   without a call is not counted.
    public mutating func observe(_ workspace: borrowing MoEWorkspace) throws(MoEError) {
        let dropped = workspace.droppedChoices
        // The workspace's closure cannot throw: the error comes out as its value.
        let problem = workspace.withTokensPerExpert { load -> MoEError? in
            guard load.count > 0 else { return nil }
            do throws(MoEError) {
                try observe(tokensPerExpert: load, droppedChoices: dropped)
                return nil
            } catch {
                return error
            }
        }
        if let problem { throw problem }
    }

    /// Takes in one call from its routing, O(T·k + E).
    ///
    /// - Parameter routing: What the call returned.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` where the routing has another number of experts.
    public mutating func observe(_ routing: Routing) throws(MoEError) {
        try routing.check(experts: experts)
        // Taken out while it is lent, so that the monitor itself can change.
        var loads: [Int32] = []
        swap(&loads, &counts)
        defer { swap(&loads, &counts) }
        for expert in 0..<experts { loads[expert] = 0 }
        for (slot, expert) in routing.expertIndices.enumerated() where routing.kept?[slot] ?? true {
            loads[Int(expert)] += 1
        }
        try observe(tokensPerExpert: loads.span, droppedChoices: routing.droppedChoices)
    }

    /// Forgets everything seen.
    public mutating func reset() {
        for expert in 0..<experts {
            shareSums[expert] = 0
            lastSeen[expert] = 0
        }
        (shareWeight, dropSum, dropWeight) = (0, 0, 0)
        (batches, choices, loadedBatches) = (0, 0, 0)
    }

    // MARK: What was seen

    private func share(of expert: Int) -> Double { shareWeight == 0 ? 0 : shareSums[expert] / shareWeight }

    /// The average share of computed choices that fell on each expert, [experts]; they sum to 1, or to 0 before the first token.
    ///
    ///     share ← (Σᵢ decayⁱ · load of e, i calls ago / all loads, i calls ago) / Σᵢ decayⁱ
    public var shares: [Double] { (0..<experts).map(share(of:)) }

    /// -Σ share · log share in nats: log E when even, 0 when all fall on one expert, and before the first token.
    public var entropy: Double {
        var sum = 0.0
        for expert in 0..<experts {
            let share = share(of: expert)
            if share > 0 { sum -= share * log(share) }
        }
        return sum
    }

    /// ``entropy`` over log E: 1 when even. 1 for a single expert, 0 before the first token.
    public var normalisedEntropy: Double {
        guard shareWeight > 0 else { return 0 }
        return experts == 1 ? 1 : entropy / log(Double(experts))
    }

    /// The busiest expert's average share over 1/E: 1 when even, at most E; 0 before the first token.
    public var maxOverMean: Double {
        var highest = 0.0
        for expert in 0..<experts { highest = max(highest, share(of: expert)) }
        return highest * Double(experts)
    }

    /// The average share of choices dropped, 0 to 1; 0 before the first observation.
    public var dropRate: Double { dropWeight == 0 ? 0 : dropSum / dropWeight }

    private func isDead(_ expert: Int) -> Bool { loadedBatches - lastSeen[expert] >= deadAfter }

    /// How many experts are dead.
    public var deadExpertCount: Int {
        var count = 0
        for expert in 0..<experts where isDead(expert) { count += 1 }
        return count
    }

    /// The dead experts, in ascending order: those without a token in the last ``deadAfter`` observations that had tokens at all.
    /// Nobody is dead before there were as many. One token revives an expert.
    public var deadExperts: [Int] { (0..<experts).filter(isDead) }
}
