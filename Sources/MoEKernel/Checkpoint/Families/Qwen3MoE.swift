extension ModelFamily {
    /// Qwen3-30B-A3B, 235B-A22B and the Coder models: as Qwen2-MoE without a shared expert.
    /// Source: Qwen team, "Qwen3 Technical Report", 2025; transformers `qwen3_moe`.
    static let qwen3MoE = ModelFamily(
        modelType: "qwen3_moe",
        moeLayers: { (config) throws(MoEError) in try config.sparseStepLayers() },
        configuration: { (config, _, weightType) throws(MoEError) in
            try config.softmaxLayer(
                expertHidden: try config.width("moe_intermediate_size"), normalisation: try config.normTopKProb(),
                weightType: weightType)
        },
        layouts: [
            .separate(folder: "mlp.experts.", names: .projections(in: "")), .merged(in: "mlp.experts."),
        ].map { TensorLayout(router: "mlp.gate.weight", experts: $0) })
}
