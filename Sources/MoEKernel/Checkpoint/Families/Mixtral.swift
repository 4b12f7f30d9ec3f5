extension ModelFamily {
    /// Mixtral 8x7B and 8x22B: every layer, softmax over all experts, the k chosen weights always divided by their sum.
    /// Source: Jiang et al., "Mixtral of Experts", 2024; transformers `mixtral`.
    static let mixtral = ModelFamily(
        modelType: "mixtral",
        moeLayers: { (config) throws(MoEError) in try config.everyLayer() },
        configuration: { (config, _, weightType) throws(MoEError) in
            try config.softmaxLayer(
                expertHidden: try config.width("intermediate_size"), normalisation: .sum(epsilon: 0),
                weightType: weightType)
        },
        layouts: [
            TensorLayout(
                router: "block_sparse_moe.gate.weight",
                experts: .separate(
                    folder: "block_sparse_moe.experts.",
                    names: ProjectionNames(gate: "w1.weight", up: "w3.weight", down: "w2.weight"))),
            TensorLayout(router: "block_sparse_moe.gate.weight", experts: .merged(in: "block_sparse_moe.experts.")),
            TensorLayout(router: "mlp.gate.weight", experts: .merged(in: "mlp.experts.")),
        ])
}
