extension ModelFamily {
    /// Qwen3-30B-A3B, 235B-A22B and the Coder models: as Qwen2-MoE without a shared expert.
    /// Source: Qwen team, "Qwen3 Technical Report", 2025; transformers `qwen3_moe`.
    static let qwen3MoE = ModelFamily(
        "Qwen3-MoE", types: ["qwen3_moe"],
        layers: { (config) throws(MoEError) in try config.sparseStepLayers() },
        layout: .usual(),
        configuration: { (config, _) throws(MoEError) in
            try config.qwenLayer(normalises: try config.bool("norm_topk_prob", default: false))
        })

    /// Qwen3-Next-80B-A3B: as Qwen2-MoE, normalising unless told otherwise. Source: transformers `qwen3_next`.
    static let qwen3Next = ModelFamily(
        "Qwen3-Next", types: ["qwen3_next"],
        layers: { (config) throws(MoEError) in try config.sparseStepLayers() },
        layout: .qwenShared(),
        configuration: { (config, _) throws(MoEError) in
            try config.qwenLayer(
                normalises: try config.bool("norm_topk_prob", default: true),
                shared: .sigmoidGated(width: try config.width("shared_expert_intermediate_size")))
        })

    /// Qwen3-VL's language models: always normalising, whatever `norm_topk_prob` says. Published files hold the experts
    /// merged and inputs first. Source: transformers `qwen3_vl_moe`.
    static let qwen3VLMoE = ModelFamily(
        "Qwen3-VL-MoE", types: ["qwen3_vl_moe", "qwen3_vl_moe_text"],
        layers: { (config) throws(MoEError) in try config.sparseStepLayers() },
        layout: TensorLayout(
            single: [.router: ["mlp.gate.weight"]],
            experts: [
                .fused(
                    gateUp: "mlp.experts.gate_up_proj", down: "mlp.experts.down_proj", order: .halves,
                    preferred: .inputs),
                .separate(in: "mlp.experts."),
            ]),
        configuration: { (config, _) throws(MoEError) in try config.qwenLayer(normalises: true) })

    /// Qwen3.5: always normalising, a gated shared expert; experts merged, outputs first, or one by one in the FP8
    /// repositories. Source: transformers `qwen3_5_moe`.
    static let qwen35MoE = ModelFamily(
        "Qwen3.5-MoE", types: ["qwen3_5_moe", "qwen3_5_moe_text"],
        layers: { (config) throws(MoEError) in try config.sparseStepLayers() },
        layout: .qwenShared(),
        configuration: { (config, _) throws(MoEError) in
            try config.qwenLayer(
                normalises: true, shared: .sigmoidGated(width: try config.width("shared_expert_intermediate_size")))
        })
}
