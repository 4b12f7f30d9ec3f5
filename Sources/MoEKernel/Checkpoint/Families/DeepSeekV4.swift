extension ModelFamily {
    /// DeepSeek-V4: scores √softplus, clamped experts; in the first layers a table says which experts a token's id means,
    /// and the router only weighs them. Source: transformers `deepseek_v4`.
    static let deepSeekV4 = ModelFamily(
        "DeepSeek-V4", types: ["deepseek_v4"],
        layers: { (config) throws(MoEError) in try config.everyLayer() },
        layout: TensorLayout(
            single: [
                .router: ["ffn.gate.weight", "mlp.gate.weight"],
                .selectionBias: ["ffn.gate.bias", "mlp.gate.e_score_correction_bias"],
                .expertTable: ["ffn.gate.tid2eid", "mlp.gate.tid2eid"],
            ],
            experts: [
                .numbered(in: "ffn.experts."), .merged(in: "mlp.experts."), .separate(in: "mlp.experts."),
                .merged(in: "ffn.experts."),
            ],
            shared: [.separate(.numbered(in: "ffn.shared_experts.")), .projections(in: "mlp.shared_experts.")]),
        configuration: { (config, layer) throws(MoEError) in
            try config.only("topk_method", "noaux_tc")
            try config.only("hidden_act", "silu", "swish")
            try config.off("mlp_bias")
            let isTable = try config.usesTable(layer)
            let experts = try config.experts("n_routed_experts")
            let width = try config.width("moe_intermediate_size")
            let limit = try config.number("swiglu_limit", default: 10)
            return try MoEConfiguration(
                experts: experts, topK: try config.topK(of: experts), hidden: try config.hidden(), expertHidden: width,
                router: RouterConfiguration(
                    score: try config.choice(
                        "scoring_func",
                        ["sqrtsoftplus": .sqrtSoftplus, "sigmoid": .sigmoid, "softmax": .softmax],
                        default: .sqrtSoftplus),
                    hasSelectionBias: !isTable,
                    selection: isTable
                        ? .table(vocabulary: try config.integer("vocab_size", in: 1...Int(Int32.max))) : .topK,
                    normalisation: try config.bool("norm_topk_prob", default: true) ? .sum(epsilon: 1e-20) : .none,
                    scale: try config.number("routed_scaling_factor", default: 1.5)),
                expert: .gatedClamped(ClampedGate(limit: limit)),
                shared: try config.sharedExpert(
                    count: try config.integer(
                        "n_shared_experts", in: 0...MoEConfiguration.maximumExperts, default: 1),
                    width: width))
        })
}

extension CheckpointConfig {
    /// Whether a layer of DeepSeek-V4 looks its experts up: its first `num_hash_layers`, or what `mlp_layer_types` lists.
    fileprivate func usesTable(_ layer: LayerPlace) throws(MoEError) -> Bool {
        let count = try layerCount()
        if let layers = try listed("mlp_layer_types", layers: count, yes: ["hash_moe"], no: ["moe"]) {
            return layers.contains(layer.index)
        }
        return layer.index < (try integer("num_hash_layers", in: 0...Self.maximumLayers, default: 3))
    }
}
