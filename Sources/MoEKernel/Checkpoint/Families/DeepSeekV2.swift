extension ModelFamily {
    /// DeepSeek-V2, V2.5 and V2-Lite: softmax scores, groups ranked by their best expert, a scale instead of a division.
    ///
    /// With `norm_topk_prob` DeepSeek's own code divides and does not scale; transformers ignores the key, and no published
    /// model sets it. Source: DeepSeek-AI, "DeepSeek-V2", 2024; transformers `deepseek_v2`.
    static let deepSeekV2 = ModelFamily(
        "DeepSeek-V2", types: ["deepseek_v2"],
        layers: { (config) throws(MoEError) in try config.deepSeekLayers(firstDense: 0) },
        layout: .usual(shared: ["shared_experts"]),
        configuration: { (config, _) throws(MoEError) in
            try config.only("scoring_func", "softmax")
            let experts = try config.experts("n_routed_experts")
            let topK = try config.topK(of: experts)
            let width = try config.width("moe_intermediate_size")
            let shared = try config.sharedExpert(
                count: try config.sharedCount(["n_shared_experts"], default: 2), width: width)
            let isGrouped = try config.choice(
                "topk_method", ["greedy": false, "group_limited_greedy": true], default: false)
            let normalises = try config.bool("norm_topk_prob", default: false) && topK > 1
            return try MoEConfiguration(
                experts: experts, topK: topK, hidden: try config.hidden(), expertHidden: width,
                router: RouterConfiguration(
                    selection: isGrouped ? try config.groupedSelection(by: .max) : .topK,
                    normalisation: normalises ? .sum(epsilon: 1e-20) : .none,
                    scale: normalises ? 1 : try config.number("routed_scaling_factor", default: 1)),
                expert: .gated(try config.activation()), shared: shared,
                hasSharedBiases: shared == .none ? false : try config.bool("mlp_bias", default: false))
        })
}
