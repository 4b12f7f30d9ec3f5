extension ModelFamily {
    /// Llama 4 Scout and Maverick: the k best logits, whose sigmoids multiply the experts' inputs, and a shared expert.
    /// Source: transformers `llama4`.
    static let llama4 = ModelFamily(
        "Llama 4", types: ["llama4", "llama4_text"],
        layers: { (config) throws(MoEError) in
            let count = try config.layerCount()
            if let listed = try config.layers("moe_layers") {
                return try listed.sorted().map { (layer) throws(MoEError) in
                    guard layer < count else {
                        throw config.failure("moe_layers", "an array with \(layer)", "layers below \(count)")
                    }
                    return layer
                }
            }
            let step = try config.integer(
                "interleave_moe_layer_step", in: 1...CheckpointConfig.maximumLayers, default: 1)
            return (0..<count).filter { ($0 + 1).isMultiple(of: step) }
        },
        layout: TensorLayout(
            single: [.router: ["feed_forward.router.weight"]],
            experts: [
                .fused(
                    gateUp: "feed_forward.experts.gate_up_proj", down: "feed_forward.experts.down_proj",
                    order: .halves, preferred: .inputs),
                .separate(in: "feed_forward.experts."), .merged(in: "mlp.experts."),
            ],
            shared: [.projections(in: "feed_forward.shared_expert.")]),
        configuration: { (config, _) throws(MoEError) in
            let experts = try config.experts("num_local_experts")
            let width = try config.width("intermediate_size")
            return try MoEConfiguration(
                experts: experts, topK: try config.topK(of: experts), hidden: try config.hidden(), expertHidden: width,
                router: RouterConfiguration(score: .logits, weightTransform: .sigmoid, normalisation: .none),
                expert: .gated(try config.activation()), shared: .dense(width: width), weightSide: .input)
        })
}
