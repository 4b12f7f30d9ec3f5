extension ModelFamily {
    /// Hunyuan-A13B: Mixtral's router beside a shared expert; k, widths and shared experts may be listed layer by layer.
    /// Source: Tencent, "Hunyuan-A13B Technical Report", 2025; transformers `hunyuan_v1_moe`.
    static let hunyuanV1MoE = ModelFamily(
        "Hunyuan-V1-MoE", types: ["hunyuan_v1_moe"],
        layers: { (config) throws(MoEError) in
            try config.layers(after: "moe_layer_num_skipped", default: 0)
        },
        layout: .usual(router: ["gate.wg.weight", "gate.weight"], shared: ["shared_mlp", "shared_experts"]),
        configuration: { (config, layer) throws(MoEError) in
            try config.off("moe_drop_tokens")
            let layers = try config.layerCount()
            let counts = 1...MoEConfiguration.maximumExperts
            let widths = 1...MoEConfiguration.maximumWidth
            let experts = try config.integer("num_experts", of: layer, layers: layers, in: counts)
            let intermediate = try config.integer("intermediate_size", of: layer, layers: layers, in: widths)
            let shared = try config.integer(
                "num_shared_expert", of: layer, layers: layers, in: 0...MoEConfiguration.maximumExperts, default: 1)
            return try MoEConfiguration(
                experts: experts,
                topK: try config.integer("moe_topk", of: layer, layers: layers, in: 1...experts),
                hidden: try config.hidden(),
                expertHidden: try config.integer(
                    "moe_intermediate_size", of: layer, layers: layers, in: widths, default: intermediate),
                expert: .gated(try config.activation()),
                shared: try config.sharedExpert(count: shared, width: intermediate))
        })

    /// Hunyuan 3: DeepSeek-V3's router without groups. Source: transformers `hy_v3`.
    static let hunyuanV3 = ModelFamily(
        "Hunyuan-V3", types: ["hy_v3"],
        layers: { (config) throws(MoEError) in try config.deepSeekLayers(firstDense: 1) },
        layout: .usual(
            router: ["router.gate.weight", "gate.weight"],
            selectionBias: ["expert_bias", "e_score_correction_bias", "gate.e_score_correction_bias"],
            shared: ["shared_mlp", "shared_experts"]),
        configuration: { (config, _) throws(MoEError) in
            try config.off("mlp_bias")
            return try config.deepSeekLayer(
                DeepSeekRules(
                    experts: "num_experts", shared: ["num_shared_experts"], groups: [],
                    scale: ["router_scaling_factor"], scaleDefault: 2.826, normalise: []))
        })
}
