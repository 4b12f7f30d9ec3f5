extension ModelFamily {
    /// Granite 3 MoE, with a shared expert beside the block, and Granite 4: the k best logits, a softmax over them; gate and
    /// up in one tensor. Source: IBM, "Granite 3.0 Language Models", 2024; transformers `granitemoe`, `granitemoeshared`,
    /// `granitemoehybrid`.
    static let graniteMoE = ModelFamily(
        "Granite-MoE", types: ["granitemoe", "granitemoeshared", "granitemoehybrid"],
        layers: { (config) throws(MoEError) in
            // Granite 4 has dense models under the same name.
            try config.experts("num_local_experts", least: 0) == 0 ? [] : config.everyLayer()
        },
        layout: TensorLayout(
            single: [
                .router: [
                    "block_sparse_moe.router.layer.weight", "block_sparse_moe.router.weight", "mlp.router.weight",
                    "mlp.router.layer.weight",
                ]
            ],
            experts: [
                .fused(
                    gateUp: "block_sparse_moe.input_linear.weight", down: "block_sparse_moe.output_linear.weight",
                    order: .halves, preferred: .outputs),
                .merged(in: "block_sparse_moe.experts."), .merged(in: "mlp.experts."),
            ],
            shared: [
                .fused(gateUp: "shared_mlp.input_linear.weight", down: "shared_mlp.output_linear.weight")
            ]),
        configuration: { (config, _) throws(MoEError) in
            var shared = SharedExpert.none
            if config.modelType != "granitemoe" {
                let width = try config.integer(
                    "shared_intermediate_size", in: 0...MoEConfiguration.maximumWidth,
                    default: config.modelType == "granitemoehybrid" ? 1024 : 0)
                shared = width == 0 ? .none : .dense(width: width)
            }
            return try config.softmaxOverChosen(
                experts: try config.experts("num_local_experts"), width: "intermediate_size",
                activation: try config.activation(), shared: shared)
        })
}

extension CheckpointConfig {
    /// The k best logits and a softmax over them.
    func softmaxOverChosen(
        experts: Int, topK key: String = "num_experts_per_tok", width: String, activation: Activation,
        shared: SharedExpert = .none, hasOutputBias: Bool = false
    ) throws(MoEError) -> MoEConfiguration {
        try MoEConfiguration(
            experts: experts, topK: try topK(key, of: experts), hidden: try hidden(),
            expertHidden: try self.width(width),
            router: RouterConfiguration(
                score: .logits, weightTransform: .softmaxOverSelected, normalisation: .none),
            expert: .gated(activation), shared: shared, hasOutputBias: hasOutputBias)
    }
}
