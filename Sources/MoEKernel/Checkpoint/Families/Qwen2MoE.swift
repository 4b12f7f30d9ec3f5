extension ModelFamily {
    /// Qwen1.5-MoE-A2.7B and Qwen2-57B-A14B: beside the routed experts a wide shared one, scaled per token by a sigmoid.
    /// `intermediate_size` is the width of the dense layers. Source: Qwen team, "Qwen2 Technical Report", 2024;
    /// transformers `qwen2_moe`.
    static let qwen2MoE = ModelFamily(
        modelType: "qwen2_moe",
        moeLayers: { (config) throws(MoEError) in try config.sparseStepLayers() },
        configuration: { (config, _, weightType) throws(MoEError) in
            try config.softmaxLayer(
                expertHidden: try config.width("moe_intermediate_size"), normalisation: try config.normTopKProb(),
                shared: .sigmoidGated(width: try config.width("shared_expert_intermediate_size")),
                weightType: weightType)
        },
        layouts: [
            .separate(folder: "mlp.experts.", names: .projections(in: "")), .merged(in: "mlp.experts."),
        ].map { experts in
            TensorLayout(
                router: "mlp.gate.weight", experts: experts, shared: .projections(in: "mlp.shared_expert."),
                sharedGate: "mlp.shared_expert_gate.weight")
        })
}
