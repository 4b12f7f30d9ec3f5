extension ModelFamily {
    /// DBRX: the chosen probabilities divided by their p-norm; all experts' rows in one matrix. Keys stand in
    /// `ffn_config`. Source: Databricks, "Introducing DBRX", 2024; transformers `dbrx`.
    static let dbrx = ModelFamily(
        "DBRX", types: ["dbrx"],
        layers: { (config) throws(MoEError) in
            Array(0..<(try config.layerCount("n_layers", "num_hidden_layers")))
        },
        layout: TensorLayout(
            single: [.router: ["ffn.router.layer.weight"]],
            experts: [
                .flat(
                    ProjectionNames(gate: "ffn.experts.mlp.w1", up: "ffn.experts.mlp.v1", down: "ffn.experts.mlp.w2")),
                .merged(in: "mlp.experts."), .merged(in: "ffn.experts."),
            ]),
        configuration: { (config, _) throws(MoEError) in
            let ffn = try config.section("ffn_config")
            let experts = try ffn.experts("moe_num_experts")
            let normalises = !ffn.isNull("moe_normalize_expert_weights")
            return try MoEConfiguration(
                experts: experts, topK: try ffn.topK("moe_top_k", of: experts), hidden: try config.hidden("d_model"),
                expertHidden: try ffn.width("ffn_hidden_size"),
                router: RouterConfiguration(
                    normalisation: normalises
                        ? .norm(p: try ffn.number("moe_normalize_expert_weights", default: 1)) : .none),
                expert: .gated(try ffn.section("ffn_act_fn").activation("name")))
        })
}
