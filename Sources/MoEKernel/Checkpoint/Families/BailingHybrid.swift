extension ModelFamily {
    /// Ling and Ring 2.5: DeepSeek-V3's layer, under two sets of keys. Source: transformers `bailing_hybrid`.
    static let bailingHybrid = ModelFamily(
        "Bailing-Hybrid", types: ["bailing_hybrid"],
        layers: { (config) throws(MoEError) in try config.deepSeekLayers(firstDense: 2) },
        layout: .usual(
            selectionBias: ["gate.expert_bias", "gate.e_score_correction_bias"], shared: ["shared_experts"]),
        configuration: { (config, _) throws(MoEError) in
            try config.only("score_function", "sigmoid")
            try config.only("scoring_func", "sigmoid")
            return try config.deepSeekLayer(
                DeepSeekRules(
                    experts: "num_experts", topK: ["num_experts_per_tok", "num_experts_per_token"],
                    shared: ["num_shared_experts", "n_shared_experts"], groups: ["n_group", "num_expert_group"],
                    groupsDefault: 8, keptGroupsDefault: 4, scaleDefault: 2.5,
                    normalise: ["norm_topk_prob", "moe_renormalize"]))
        })
}
