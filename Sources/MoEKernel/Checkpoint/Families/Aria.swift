extension ModelFamily {
    /// Aria: Granite's router, experts merged and inputs first, shared experts.
    /// Source: Li et al., "Aria: An Open Multimodal Native Mixture-of-Experts Model", 2024; transformers `aria`.
    static let aria = ModelFamily(
        "Aria", types: ["aria", "aria_text"],
        layers: { (config) throws(MoEError) in try config.everyLayer() },
        layout: TensorLayout(
            single: [.router: ["mlp.router.weight"]],
            experts: [("fc1.weight", "fc2.weight"), ("gate_up_proj", "down_proj")].map { gateUp, down in
                .fused(
                    gateUp: "mlp.experts.\(gateUp)", down: "mlp.experts.\(down)", order: .halves, preferred: .inputs)
            },
            shared: [.projections(in: "mlp.shared_experts.")]),
        configuration: { (config, _) throws(MoEError) in
            try config.off("mlp_bias")
            let shared = try config.integer(
                "moe_num_shared_experts", in: 0...MoEConfiguration.maximumExperts, default: 2)
            return try config.softmaxOverChosen(
                experts: try config.experts("moe_num_experts"), topK: "moe_topk", width: "intermediate_size",
                activation: try config.activation(),
                shared: try config.sharedExpert(count: shared, width: try config.width("intermediate_size")))
        })
}
