extension ModelFamily {
    /// LG's K-EXAONE: DeepSeek-V3's layer; the correction stands beside the router. Source: transformers `exaone_moe`.
    static let exaoneMoE = ModelFamily(
        "EXAONE-MoE", types: ["exaone_moe"],
        layers: { (config) throws(MoEError) in try config.deepSeekLayers(firstDense: 1) },
        layout: .usual(
            selectionBias: ["e_score_correction_bias", "gate.e_score_correction_bias"], shared: ["shared_experts"]),
        configuration: { (config, _) throws(MoEError) in
            try config.only("scoring_func", "sigmoid")
            try config.only("topk_method", "noaux_tc")
            return try config.deepSeekLayer(
                DeepSeekRules(experts: "num_experts", shared: ["num_shared_experts"], scaleDefault: 2.5))
        })
}
