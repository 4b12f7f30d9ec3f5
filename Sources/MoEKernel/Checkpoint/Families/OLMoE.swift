extension ModelFamily {
    /// OLMoE-1B-7B: every layer, `intermediate_size` is the width of one expert.
    /// Source: Muennighoff et al., "OLMoE: Open Mixture-of-Experts Language Models", 2024; transformers `olmoe`.
    static let olmoe = ModelFamily(
        modelType: "olmoe",
        moeLayers: { (config) throws(MoEError) in try config.everyLayer() },
        configuration: { (config, _, weightType) throws(MoEError) in
            try config.softmaxLayer(
                expertHidden: try config.width("intermediate_size"), normalisation: try config.normTopKProb(),
                weightType: weightType)
        },
        layouts: [
            .separate(folder: "mlp.experts.", names: .projections(in: "")), .merged(in: "mlp.experts."),
        ].map { TensorLayout(router: "mlp.gate.weight", experts: $0) })
}
