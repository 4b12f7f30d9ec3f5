extension ModelFamily {
    /// DeepSeek-V3, R1, V3.1 and V3.2, and Moonlight: sigmoid scores, a correction for choosing, groups ranked by their two
    /// best experts. Source: DeepSeek-AI, "DeepSeek-V3 Technical Report", 2024; transformers `deepseek_v3`, `deepseek_v32`.
    static let deepSeekV3 = ModelFamily(
        "DeepSeek-V3", types: ["deepseek_v3", "deepseek_v32"],
        layers: { (config) throws(MoEError) in try config.deepSeekLayers(firstDense: 3) },
        layout: .deepSeekV3,
        configuration: { (config, _) throws(MoEError) in
            try config.only("scoring_func", "sigmoid")
            try config.only("topk_method", "noaux_tc")
            try config.off("mlp_bias")
            return try config.deepSeekLayer(
                DeepSeekRules(groupsDefault: 8, keptGroupsDefault: 4, scaleDefault: 2.5))
        })

    /// Kimi-K2, and the language model of Kimi-K2.5: DeepSeek-V3 with a single group.
    /// Source: Kimi team, "Kimi K2: Open Agentic Intelligence", 2025.
    static let kimiK2 = ModelFamily(
        "Kimi-K2", types: ["kimi_k2", "kimi_k25"],
        layers: { (config) throws(MoEError) in try config.deepSeekLayers(firstDense: 1) },
        layout: .deepSeekV3,
        configuration: { (config, _) throws(MoEError) in
            try config.only("scoring_func", "sigmoid")
            try config.only("topk_method", "noaux_tc")
            return try config.deepSeekLayer(DeepSeekRules(scaleDefault: 2.827))
        })
}

extension TensorLayout {
    /// As published, and as DeepSeek's own conversion script renames it.
    static let deepSeekV3: TensorLayout = {
        var layout = TensorLayout.deepSeek
        layout.single[.router]?.append("ffn.gate.weight")
        layout.single[.selectionBias]?.append("ffn.gate.bias")
        layout.experts.append(.numbered(in: "ffn.experts."))
        layout.shared.append(.separate(.numbered(in: "ffn.shared_experts.")))
        return layout
    }()
}
