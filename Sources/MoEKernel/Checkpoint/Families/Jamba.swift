extension ModelFamily {
    /// Jamba: every `expert_layer_period`-th layer; the chosen probabilities are the weights as they are.
    /// Source: Lieber et al., "Jamba: A Hybrid Transformer-Mamba Language Model", 2024; transformers `jamba`.
    static let jamba = ModelFamily(
        "Jamba", types: ["jamba"],
        layers: { (config) throws(MoEError) in
            let period = try config.integer("expert_layer_period", in: 1...CheckpointConfig.maximumLayers, default: 2)
            let offset = try config.integer(
                "expert_layer_offset", in: 0...max(period - 1, 0), default: min(1, period - 1))
            guard try config.experts("num_experts") > 1 else { return [] }
            return try config.everyLayer().filter { $0 % period == offset }
        },
        layout: .usual("feed_forward.", router: ["router.weight"]),
        configuration: { (config, _) throws(MoEError) in
            try config.qwenLayer(normalises: false, width: "intermediate_size")
        })
}
