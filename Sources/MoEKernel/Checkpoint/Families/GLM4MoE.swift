extension ModelFamily {
    /// GLM-4.5, 4.5-Air and 4.6, and the language model of GLM-4.5V: DeepSeek-V3's layer.
    /// Source: GLM-4.5 team, "GLM-4.5", 2025; transformers `glm4_moe`, `glm4v_moe`.
    static let glm4MoE = glm(
        "GLM-4.5", types: ["glm4_moe", "glm4v_moe", "glm4v_moe_text"], firstDense: 1, scale: 1)

    /// GLM-4.7-Flash. Source: transformers `glm4_moe_lite`.
    static let glm4MoELite = glm("GLM-4-Lite", types: ["glm4_moe_lite"], firstDense: 1, scale: 1.8)

    /// GLM-5. Source: transformers `glm_moe_dsa`.
    static let glmMoEDSA = glm("GLM-5", types: ["glm_moe_dsa"], firstDense: 3, scale: 2.5)

    private static func glm(_ name: String, types: [String], firstDense: Int, scale: Float) -> ModelFamily {
        ModelFamily(
            name, types: types,
            layers: { (config) throws(MoEError) in try config.deepSeekLayers(firstDense: firstDense) },
            layout: .deepSeek,
            configuration: { (config, _) throws(MoEError) in
                try config.only("scoring_func", "sigmoid")
                try config.only("topk_method", "noaux_tc")
                try config.off("mlp_bias")
                return try config.deepSeekLayer(DeepSeekRules(scaleDefault: scale))
            })
    }
}
