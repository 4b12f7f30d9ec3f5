/// The router z-loss, which keeps logits small.
extension Routing {
    /// Mean over tokens of (log Σₑ exp zₑ)², in nats². (log E)² for logits of zero; 0 for no tokens, NaN where a logit is NaN
    /// or +∞.
    ///
    /// Source: Zoph et al., "ST-MoE", 2022, which multiplies it with 0.001 (`router_z_loss_coef`).
    public var zLoss: Double {
        guard tokens > 0 else { return 0 }
        return zSum(mask: []).sum / Double(tokens)
    }

    /// The z-loss of the tokens that count.
    ///
    /// - Parameter mask: Whether each token counts, [tokens]; empty counts all.
    /// - Returns: The loss; 0 where no token counts.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for a mask of another length.
    public func zLoss(mask: [Bool]) throws(MoEError) -> Double {
        try Self.zLoss(ofLayers: CollectionOfOne(self), mask: mask)
    }

    /// The z-loss of a model: the mean over the tokens of all layers.
    ///
    /// - Parameters:
    ///   - layers: The routing of each MoE layer in one forward of the model.
    ///   - mask: Whether each token counts, [tokens], the same in every layer; empty counts all.
    /// - Returns: The loss; 0 where no token counts.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for a mask whose length is not that of every layer.
    public static func zLoss(
        ofLayers layers: some Collection<Routing>, mask: [Bool] = []
    ) throws(MoEError) -> Double {
        var (sum, counted) = (0.0, 0)
        for routing in layers {
            try routing.check(mask: mask)
            let part = routing.zSum(mask: mask)
            sum += part.sum
            counted += part.tokens
        }
        return counted == 0 ? 0 : sum / Double(counted)
    }

    /// Σ (log Σ exp z)² and how many tokens are in it.
    private func zSum(mask: [Bool]) -> (sum: Double, tokens: Int) {
        var (sum, counted) = (0.0, 0)
        for token in 0..<tokens where mask.isEmpty || mask[token] {
            let z = logSumExp(token)
            sum += z * z
            counted += 1
        }
        return (sum, counted)
    }
}
