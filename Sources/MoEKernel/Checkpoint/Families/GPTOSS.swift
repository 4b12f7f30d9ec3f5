extension ModelFamily {
    /// gpt-oss 20b and 120b: the k best logits, a softmax over them; clamped experts with biases everywhere. Gate and up
    /// alternate; the rows of the published MXFP4 files are outputs, those of the plain ones inputs.
    /// Source: OpenAI, "gpt-oss-120b & gpt-oss-20b Model Card", 2025; transformers `gpt_oss`.
    static let gptOSS = ModelFamily(
        "gpt-oss", types: ["gpt_oss"],
        layers: { (config) throws(MoEError) in try config.everyLayer() },
        layout: TensorLayout(
            single: [.router: ["mlp.router.weight"], .routerBias: ["mlp.router.bias"]],
            experts: [
                .fused(
                    gateUp: "mlp.experts.gate_up_proj", down: "mlp.experts.down_proj", order: .interleaved,
                    preferred: .inputs)
            ]),
        configuration: { (config, _) throws(MoEError) in
            let experts = try config.experts("num_local_experts")
            return try MoEConfiguration(
                experts: experts, topK: try config.topK("num_experts_per_tok", "experts_per_token", of: experts),
                hidden: try config.hidden(), expertHidden: try config.width("intermediate_size"),
                router: RouterConfiguration(
                    hasBias: true, score: .logits, weightTransform: .softmaxOverSelected, normalisation: .none),
                expert: .gatedClamped(
                    ClampedGate(
                        limit: try config.number("swiglu_limit", default: 7),
                        alpha: try config.number("swiglu_alpha", default: 1.702), upOffset: 1),
                    biases: true))
        })
}
