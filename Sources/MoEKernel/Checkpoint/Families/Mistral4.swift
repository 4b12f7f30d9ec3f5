extension ModelFamily {
    /// Mistral's models of DeepSeek's shape: softmax scores without a correction. Source: transformers `mistral4`.
    static let mistral4 = ModelFamily(
        "Mistral 4", types: ["mistral4"],
        layers: { (config) throws(MoEError) in try config.deepSeekLayers(firstDense: 0) },
        layout: .usual(shared: ["shared_experts"]),
        configuration: { (config, _) throws(MoEError) in
            try config.only("scoring_func", "softmax")
            return try config.deepSeekLayer(DeepSeekRules(score: .softmax, hasSelectionBias: false))
        })
}
