extension ModelFamily {
    /// Gemma 4's models with experts: the router normalises its input itself, and each expert has a learned factor. The layer
    /// here is router and experts; the model feeds the two from different places and adds a dense block beside them.
    /// Source: transformers `gemma4`.
    static let gemma4 = ModelFamily(
        "Gemma 4", types: ["gemma4", "gemma4_text"],
        layers: { (config) throws(MoEError) in
            try config.bool("enable_moe_block", default: false) ? config.everyLayer() : []
        },
        layout: TensorLayout(
            single: [
                .router: ["router.proj.weight"], .routerInputScale: ["router.scale"],
                .expertScale: ["router.per_expert_scale"],
            ],
            experts: [.merged(in: "experts."), .separate(in: "experts."), .merged(in: "mlp.experts.")]),
        configuration: { (config, _) throws(MoEError) in
            let experts = try config.experts("num_experts")
            let hidden = try config.hidden()
            return try MoEConfiguration(
                experts: experts, topK: try config.topK("top_k_experts", "num_experts_per_tok", of: experts),
                hidden: hidden, expertHidden: try config.width("moe_intermediate_size"),
                router: RouterConfiguration(
                    input: .rootMeanSquareNormalised(
                        epsilon: try config.number("rms_norm_eps", default: 1e-6),
                        scale: 1 / Float(hidden).squareRoot()),
                    hasExpertScale: true),
                expert: .gated(try config.activation("hidden_activation", default: .geluTanh)))
        })
}
