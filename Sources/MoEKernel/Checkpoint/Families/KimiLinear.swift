extension ModelFamily {
    /// Kimi-Linear-48B-A3B: DeepSeek-V3's layer under Mixtral's names.
    /// Source: Kimi team, "Kimi Linear: An Expressive, Efficient Attention Architecture", 2025; transformers `kimi_linear`.
    static let kimiLinear = ModelFamily(
        "Kimi-Linear", types: ["kimi_linear"],
        layers: { (config) throws(MoEError) in try config.deepSeekLayers(firstDense: 1) },
        layout: {
            var layout = TensorLayout.mixtral(selectionBias: ["gate.e_score_correction_bias"])
            layout.shared = [
                .projections(in: "block_sparse_moe.shared_experts."), .projections(in: "mlp.shared_experts."),
            ]
            return layout
        }(),
        configuration: { (config, _) throws(MoEError) in
            try config.only("moe_router_activation_func", "sigmoid")
            return try config.deepSeekLayer(
                DeepSeekRules(
                    experts: "num_experts", topK: ["num_experts_per_token", "num_experts_per_tok"],
                    shared: ["num_shared_experts", "n_shared_experts"], groups: ["num_expert_group", "n_group"],
                    scaleDefault: 2.446, normalise: ["moe_renormalize", "norm_topk_prob"]))
        })
}
