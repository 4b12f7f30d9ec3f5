extension ModelFamily {
    /// Qwen1.5-MoE-A2.7B and Qwen2-57B-A14B: beside the routed experts a wide shared one, scaled per token by a
    /// sigmoid. `intermediate_size` is the width of the dense layers. Source: Qwen team, "Qwen2 Technical Report",
    /// 2024; transformers `qwen2_moe`.
    static let qwen2MoE = ModelFamily(
        "Qwen2-MoE", types: ["qwen2_moe"],
        layers: { (config) throws(MoEError) in try config.sparseStepLayers() },
        layout: .qwenShared(),
        configuration: { (config, _) throws(MoEError) in
            try config.qwenLayer(
                normalises: try config.bool("norm_topk_prob", default: false),
                shared: .sigmoidGated(width: try config.width("shared_expert_intermediate_size")))
        })
}

extension TensorLayout {
    /// Qwen's names with a gated shared expert.
    static func qwenShared(_ folder: String = "mlp.") -> TensorLayout {
        var layout = TensorLayout.usual(folder, shared: ["shared_expert"])
        layout.single[.sharedGate] = [folder + "shared_expert_gate.weight"]
        return layout
    }
}

extension CheckpointConfig {
    /// Qwen's keys.
    func qwenLayer(
        normalises: Bool, width key: String = "moe_intermediate_size", shared: SharedExpert = .none
    ) throws(MoEError) -> MoEConfiguration {
        let experts = try experts("num_experts")
        return try MoEConfiguration(
            experts: experts, topK: try topK(of: experts), hidden: try hidden(), expertHidden: try width(key),
            router: RouterConfiguration(normalisation: normalises ? .sum(epsilon: 0) : .none),
            expert: .gated(try activation()), shared: shared)
    }
}
