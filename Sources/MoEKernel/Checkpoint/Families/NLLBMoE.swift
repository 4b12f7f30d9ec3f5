extension ModelFamily {
    /// NLLB-MoE: two experts of two matrices with biases, whose capacity all first choices fill before any second one.
    /// Layers are counted through the encoder, then the decoder.
    ///
    /// Of transformers, version 4 computes it as published; version 5.23 runs only the first two experts.
    /// Source: NLLB team, "No Language Left Behind", 2022; transformers `nllb-moe`.
    static let nllbMoE = ModelFamily(
        "NLLB-MoE", types: ["nllb-moe", "nllb_moe"],
        stacks: ["encoder", "decoder"].map { stack in
            LayerStack(
                parent: stack,
                count: { (config) throws(MoEError) in try config.nllbLayers(stack) },
                moeLayers: { (config) throws(MoEError) in
                    let step = try config.integer(
                        "\(stack)_sparse_step", in: 0...CheckpointConfig.maximumLayers, default: 4)
                    return try (0..<config.nllbLayers(stack)).filter { step > 0 && ($0 + 1).isMultiple(of: step) }
                },
                layout: TensorLayout(
                    single: [
                        .router: ["ffn.router.classifier.weight"], .routerBias: ["ffn.router.classifier.bias"],
                    ],
                    experts: [
                        .separate(
                            folder: "ffn.experts.expert_",
                            names: ProjectionNames(gate: "", up: "fc1.weight", down: "fc2.weight"))
                    ]))
        },
        configuration: { (config, layer) throws(MoEError) in
            try config.only("second_expert_policy", "all")
            let experts = try config.experts("num_experts")
            let fraction = try config.double(["moe_eval_capacity_token_fraction"], default: 1)
            let limit: CapacityLimit =
                if fraction > 0 {
                    .tokenFraction(fraction)
                } else if config.isNull("expert_capacity") {
                    .twiceEvenShare
                } else {
                    .fixed(try config.integer("expert_capacity", in: 0...Int(Int32.max), default: 64))
                }
            let minimum = Float.ulpOfOne
            let normalisesFirst = try config.bool("normalize_router_prob_before_dropping", default: false)
            return try MoEConfiguration(
                experts: experts, topK: 2, hidden: try config.hidden("d_model"),
                expertHidden: try config.width(layer.stack == 0 ? "encoder_ffn_dim" : "decoder_ffn_dim"),
                router: RouterConfiguration(
                    hasBias: try config.bool("router_bias", default: false), normalisation: .none),
                expert: .plain(try config.activation("activation_function", default: .relu), biases: true),
                capacity: .limited(
                    CapacityRule(
                        limit: limit, scope: .batch,
                        order: try config.bool("batch_prioritized_routing", default: false)
                            ? .tokenPriority : .choiceRank,
                        dropsPadding: !(try config.bool("router_ignore_padding_tokens", default: false)),
                        renormalisation: normalisesFirst
                            ? .allChoices(minimum: minimum) : .keptChoices(minimum: minimum))),
                expertOutputScale: 1 - (try config.number("moe_token_dropout", default: 0.2)))
        })
}

extension CheckpointConfig {
    fileprivate func nllbLayers(_ stack: String) throws(MoEError) -> Int {
        try integer("\(stack)_layers", in: 0...Self.maximumLayers, default: 12)
    }
}
