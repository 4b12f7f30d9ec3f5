extension ModelFamily {
    /// Mixtral 8x7B and 8x22B: every layer, softmax over all experts, the k chosen weights always divided by their sum.
    /// Source: Jiang et al., "Mixtral of Experts", 2024; transformers `mixtral`.
    static let mixtral = ModelFamily(
        "Mixtral", types: ["mixtral"],
        layers: { (config) throws(MoEError) in try config.everyLayer() },
        layout: .mixtral(),
        configuration: { (config, _) throws(MoEError) in try config.mixtralLayer() })
}

extension CheckpointConfig {
    /// Mixtral's keys; `intermediate_size` is the width of one expert.
    func mixtralLayer() throws(MoEError) -> MoEConfiguration {
        let experts = try experts("num_local_experts")
        return try MoEConfiguration(
            experts: experts, topK: try topK(of: experts), hidden: try hidden(),
            expertHidden: try width("intermediate_size"), expert: .gated(try activation()))
    }
}
