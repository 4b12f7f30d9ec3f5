import CPlatform

/// How evenly the router uses its experts. All sums run in float64 over the raw logits, in token order.
extension Routing {
    /// Choices that fell on each expert, [experts]; they sum to tokens · topK.
    public var tokensPerExpert: [Int] {
        var counts = [Int](repeating: 0, count: experts)
        for index in expertIndices { counts[Int(index)] += 1 }
        return counts
    }

    /// E · Σₑ fₑ Pₑ, where fₑ is the share of tokens that chose expert e (Σ f = k) and Pₑ the mean softmax probability of e.
    /// Perfect balance gives k; 0 for no tokens.
    ///
    /// Source: Fedus, Zoph, Shazeer, "Switch Transformers", 2021, in the form published Mixtral and Qwen models train with.
    public var loadBalancingLoss: Double {
        guard tokens > 0 else { return 0 }
        let probabilities = meanProbabilities
        let sum = zip(tokensPerExpert, probabilities).reduce(0) { $0 + Double($1.0) * $1.1 }
        return Double(experts) * sum / Double(tokens)
    }

    /// Mean over tokens of (log Σ exp z)²: keeps logits small. 0 for no tokens.
    ///
    /// Source: Zoph et al., "ST-MoE", 2022.
    public var zLoss: Double {
        guard tokens > 0 else { return 0 }
        return (0..<tokens).reduce(0) { sum, token in
            let z = logSumExp(token)
            return sum + z * z
        } / Double(tokens)
    }

    /// Entropy in nats of the share of choices per expert; log E when perfectly even. 0 for no tokens.
    public var loadEntropy: Double {
        let total = Double(expertIndices.count)
        guard total > 0 else { return 0 }
        return tokensPerExpert.reduce(0) { sum, count in
            let share = Double(count) / total
            return count == 0 ? sum : sum - share * log(share)
        }
    }

    /// The busiest expert's load over the mean load; 1 when perfectly even. 0 for no tokens.
    public var maxOverMeanLoad: Double {
        guard !expertIndices.isEmpty else { return 0 }
        return Double(tokensPerExpert.max() ?? 0) * Double(experts) / Double(expertIndices.count)
    }

    /// Pₑ: the softmax probability of each expert, averaged over tokens.
    private var meanProbabilities: [Double] {
        var sums = [Double](repeating: 0, count: experts)
        for token in 0..<tokens {
            let z = logSumExp(token)
            for expert in 0..<experts { sums[expert] += exp(Double(logits[token * experts + expert]) - z) }
        }
        return sums.map { $0 / Double(tokens) }
    }

    private func logSumExp(_ token: Int) -> Double {
        let row = logits[token * experts..<(token + 1) * experts]
        let highest = Double(row.max() ?? 0)
        return highest + log(row.reduce(0) { $0 + exp(Double($1) - highest) })
    }
}
