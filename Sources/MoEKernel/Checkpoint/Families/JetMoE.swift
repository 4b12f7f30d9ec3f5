extension ModelFamily {
    /// JetMoE-8B: Granite's router and tensors, and a bias added once to every token's output.
    /// Source: Shen et al., "JetMoE: Reaching Llama2 Performance with 0.1M Dollars", 2024; transformers `jetmoe`.
    static let jetMoE = ModelFamily(
        "JetMoE", types: ["jetmoe"],
        layers: { (config) throws(MoEError) in try config.everyLayer() },
        layout: TensorLayout(
            single: [.router: ["mlp.router.layer.weight", "mlp.router.weight"], .outputBias: ["mlp.bias"]],
            experts: [
                .fused(
                    gateUp: "mlp.input_linear.weight", down: "mlp.output_linear.weight", order: .halves,
                    preferred: .outputs),
                .merged(in: "mlp.experts."),
            ]),
        configuration: { (config, _) throws(MoEError) in
            try config.softmaxOverChosen(
                experts: try config.experts("num_local_experts"), width: "intermediate_size",
                activation: try config.activation("activation_function"), hasOutputBias: true)
        })
}
