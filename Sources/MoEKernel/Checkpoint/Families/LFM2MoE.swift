extension ModelFamily {
    /// LFM2-8B-A1B: sigmoid scores, a correction for choosing, weights divided by their sum. Source: transformers `lfm2_moe`.
    static let lfm2MoE = ModelFamily(
        "LFM2-MoE", types: ["lfm2_moe"],
        layers: { (config) throws(MoEError) in try config.layers(after: "num_dense_layers", default: 2) },
        layout: TensorLayout(
            single: [
                .router: ["feed_forward.gate.weight"], .selectionBias: ["feed_forward.expert_bias"],
            ],
            experts: [
                .numbered(in: "feed_forward.experts."), .merged(in: "feed_forward.experts."),
                .merged(in: "mlp.experts."),
            ]),
        configuration: { (config, _) throws(MoEError) in
            let experts = try config.experts("num_experts")
            return try MoEConfiguration(
                experts: experts, topK: try config.topK(of: experts), hidden: try config.hidden(),
                expertHidden: try config.width("moe_intermediate_size"),
                router: RouterConfiguration(
                    score: .sigmoid, hasSelectionBias: try config.bool("use_expert_bias", default: true),
                    normalisation: try config.bool("norm_topk_prob", default: true) ? .sum(epsilon: 1e-6) : .none,
                    scale: try config.number("routed_scaling_factor", default: 1)),
                expert: .gated(try config.activation()))
        })
}
