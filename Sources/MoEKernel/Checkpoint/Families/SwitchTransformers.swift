extension ModelFamily {
    /// Switch Transformers: one expert of two matrices, and at most `expert_capacity` tokens of a sequence for each. Layers
    /// are counted through the encoder, then the decoder.
    /// Source: Fedus et al., "Switch Transformers", 2021; transformers `switch_transformers`.
    static let switchTransformers = ModelFamily(
        "Switch", types: ["switch_transformers"],
        stacks: [
            LayerStack(
                parent: "encoder",
                count: { (config) throws(MoEError) in try config.layerCount("num_layers", "num_hidden_layers") },
                moeLayers: { (config) throws(MoEError) in
                    let count = try config.layerCount("num_layers", "num_hidden_layers")
                    return try config.sparseBlocks("num_sparse_encoder_layers", of: count)
                }, layout: .switchTransformers("layer.1.mlp.")),
            LayerStack(
                parent: "decoder",
                count: { (config) throws(MoEError) in try config.switchDecoderLayers() },
                moeLayers: { (config) throws(MoEError) in
                    try config.sparseBlocks("num_sparse_decoder_layers", of: try config.switchDecoderLayers())
                }, layout: .switchTransformers("layer.2.mlp.")),
        ],
        configuration: { (config, _) throws(MoEError) in
            try config.off("is_gated_act")
            let capacity = try config.integer("expert_capacity", in: 0...Int(Int32.max), default: 64)
            let act = try config.activation("dense_act_fn", default: .relu)
            return try MoEConfiguration(
                experts: try config.experts("num_experts"), topK: 1, hidden: try config.hidden("d_model"),
                expertHidden: try config.width("d_ff"),
                router: RouterConfiguration(
                    hasBias: try config.bool("router_bias", default: false), normalisation: .none),
                expert: .plain(act),
                capacity: .limited(CapacityRule(limit: .fixed(capacity), scope: .sequence, order: .position)))
        })
}

extension TensorLayout {
    fileprivate static func switchTransformers(_ folder: String) -> TensorLayout {
        TensorLayout(
            single: [
                .router: [folder + "router.classifier.weight"], .routerBias: [folder + "router.classifier.bias"],
            ],
            experts: [
                .separate(
                    folder: folder + "experts.expert_",
                    names: ProjectionNames(gate: "", up: "wi.weight", down: "wo.weight"))
            ])
    }
}

extension CheckpointConfig {
    fileprivate func switchDecoderLayers() throws(MoEError) -> Int {
        try integer(
            "num_decoder_layers", in: 0...Self.maximumLayers,
            default: try layerCount("num_layers", "num_hidden_layers"))
    }

    /// So many sparse blocks of `count`, evenly spread: every step-th, beginning with the second.
    fileprivate func sparseBlocks(_ key: String, of count: Int) throws(MoEError) -> [Int] {
        let sparse = try integer(key, in: 0...Self.maximumLayers, default: 3)
        guard sparse > 0 else { return [] }
        let step = count / sparse
        return (0..<count).filter { step == 1 || (step > 0 && $0 % step == 1) }
    }
}
