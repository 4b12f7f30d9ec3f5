/// The load-balancing loss that most families train with.
extension Routing {
    /// ``loadBalancingLoss(mask:topK:)`` of all tokens.
    public var loadBalancingLoss: Double {
        var sums = BalanceSums(experts: experts)
        sums.add(self, topK: topK, mask: [])
        return sums.loss
    }

    /// L = E · Σₑ fₑ Pₑ of one layer, without unit, where with N tokens counted
    ///
    ///     fₑ = 1/N Σₜ [e is among the k largest of softmax(zₜ)]      Pₑ = 1/N Σₜ softmax(zₜ)ₑ
    ///
    /// Σ f is k, so perfect balance gives k; all tokens on the same k experts, with no probability elsewhere, give E. The loss
    /// looks at raw logits alone: plain softmax and its top k even where the layer scores by sigmoid, adds a selection bias,
    /// groups experts or drops choices. E counts identity experts. Several layers have one loss, not the mean of theirs:
    /// ``loadBalancingLoss(ofLayers:mask:topK:)``.
    ///
    /// Source: Fedus, Zoph, Shazeer, "Switch Transformers", 2021, in the form that Hugging Face transformers gives it for
    /// Mixtral, Qwen2/3-MoE, OLMoE, gpt-oss, Phi-3.5-MoE, Granite, Jamba, DBRX, MiniMax, Ernie, NLLB and DeepSeek-V4; their
    /// configurations multiply it with `router_aux_loss_coef` (DBRX `moe_loss_weight`).
    ///
    /// - Parameters:
    ///   - mask: Whether each token counts, [tokens], as ``TokenContext/attentionMask``; empty counts all.
    ///   - topK: k; nil takes the routing's. Where experts choose their tokens, give the configuration's, for the routing's
    ///     is then E, and the loss E whatever the logits.
    /// - Returns: The loss, summed in float64 in token order; 0 where no token counts, NaN where a counted token has a logit
    ///   that is NaN or +∞.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for a mask of another length or a k outside 1...E.
    public func loadBalancingLoss(mask: [Bool] = [], topK: Int? = nil) throws(MoEError) -> Double {
        try Self.loadBalancingLoss(ofLayers: CollectionOfOne(self), mask: mask, topK: topK)
    }

    /// The load-balancing loss of a model: the formula of ``loadBalancingLoss(mask:topK:)`` over the logits of all
    /// layers one after the other, N = layers · counted tokens. In general this is not the mean of the layers' losses:
    /// layers that lean opposite ways balance each other.
    ///
    /// - Parameters:
    ///   - layers: The routing of each MoE layer in one forward of the model.
    ///   - mask: Whether each token counts, [tokens], the same in every layer; empty counts all.
    ///   - topK: k; nil takes the routings'.
    /// - Returns: The loss; 0 where no token counts, and for no layers.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` where layers differ in experts or in k, the mask's length is
    ///   not that of every layer, or k is outside 1...E.
    public static func loadBalancingLoss(
        ofLayers layers: some Collection<Routing>, mask: [Bool] = [], topK: Int? = nil
    ) throws(MoEError) -> Double {
        guard let first = layers.first else { return 0 }
        let k = topK ?? first.topK
        guard (1...first.experts).contains(k) else {
            throw .input(name: "topK", value: "\(k)", expectation: "1 to experts, \(first.experts)")
        }
        var sums = BalanceSums(experts: first.experts)
        for routing in layers {
            try routing.check(experts: first.experts)
            try routing.check(mask: mask)
            guard topK != nil || routing.topK == k else {
                throw .input(name: "routing", value: "of top \(routing.topK)", expectation: "\(k), as the others")
            }
            sums.add(routing, topK: k, mask: mask)
        }
        return sums.loss
    }
}

/// N fₑ and N Pₑ over the tokens so far.
private struct BalanceSums {
    var tokens = 0
    var chosen: [Double]
    var probabilities: [Double]

    init(experts: Int) {
        chosen = Array(repeating: 0, count: experts)
        probabilities = chosen
    }

    mutating func add(_ routing: Routing, topK: Int, mask: [Bool]) {
        var best: [Int] = []
        for token in 0..<routing.tokens where mask.isEmpty || mask[token] {
            tokens += 1
            routing.addProbabilities(of: token, to: &probabilities)
            routing.findBest(topK, of: token, into: &best)
            for expert in best { chosen[expert] += 1 }
        }
    }

    var loss: Double {
        guard tokens > 0 else { return 0 }
        let sum = zip(chosen, probabilities).reduce(0) { $0 + $1.0 * $1.1 }
        return Double(chosen.count) * sum / (Double(tokens) * Double(tokens))
    }
}
