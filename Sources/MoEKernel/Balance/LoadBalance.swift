import CPlatform

/// How evenly the router uses its experts.
extension Routing {
    /// Choices that fell on each expert, [experts], those that a capacity drops included. They sum to tokens · topK, or where
    /// experts choose, to the choices there are.
    ///
    /// This is the load of an expert in the sense of DeepSeek-V3; over several batches see
    /// ``expertLoad(of:)``.
    public var tokensPerExpert: [Int] {
        var counts = [Int](repeating: 0, count: experts)
        addChoices(of: 0..<tokens, to: &counts)
        return counts
    }

    /// Entropy in nats of the share of choices per expert; log E when perfectly even. 0 for no tokens.
    public var loadEntropy: Double {
        let counts = tokensPerExpert
        let total = Double(counts.reduce(0, +))
        guard total > 0 else { return 0 }
        return counts.reduce(0) { sum, count in
            let share = Double(count) / total
            return count == 0 ? sum : sum - share * log(share)
        }
    }

    /// The busiest expert's load over the mean load; 1 when perfectly even. 0 for no tokens.
    public var maxOverMeanLoad: Double {
        let counts = tokensPerExpert
        let total = counts.reduce(0, +)
        return total == 0 ? 0 : Double(counts.max() ?? 0) * Double(experts) / Double(total)
    }

    /// Counts the router's choices of some tokens by expert, dropped ones included. Where experts choose tokens, a slot that
    /// is not kept holds no choice and does not count.
    func addChoices(of tokens: Range<Int>, to counts: inout [Int]) {
        for slot in tokens.lowerBound * topK..<tokens.upperBound * topK where isChoice(slot) {
            counts[Int(expertIndices[slot])] += 1
        }
    }

    /// Whether a slot of ``expertIndices`` holds a choice, computed or dropped.
    func isChoice(_ slot: Int) -> Bool { !chosenByExperts || kept?[slot] ?? true }
}

extension Routing {
    /// Choices that fell on each expert over several batches of one layer, [experts], dropped ones included: the load that
    /// ``SelectionBiasUpdate`` looks at, where a step's batch was run in parts. Empty for no batches.
    ///
    /// - Parameter batches: Their routings.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` where the routings differ in their number of experts.
    public static func expertLoad(of batches: some Collection<Routing>) throws(MoEError) -> [Int] {
        var counts = [Int](repeating: 0, count: batches.first?.experts ?? 0)
        for routing in batches {
            try routing.check(experts: counts.count)
            routing.addChoices(of: 0..<routing.tokens, to: &counts)
        }
        return counts
    }
}
