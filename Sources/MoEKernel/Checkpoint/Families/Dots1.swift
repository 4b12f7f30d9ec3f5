extension ModelFamily {
    /// dots.llm1: DeepSeek-V3's layer, which divides only if told to.
    /// Source: rednote-hilab, "dots.llm1 Technical Report", 2025; transformers `dots1`.
    static let dots1 = ModelFamily(
        "dots1", types: ["dots1"],
        layers: { (config) throws(MoEError) in try config.deepSeekLayers(firstDense: 0) },
        layout: .deepSeek,
        configuration: { (config, _) throws(MoEError) in
            try config.only("scoring_func", "sigmoid", "noaux_tc")
            try config.only("topk_method", "noaux_tc")
            return try config.deepSeekLayer(DeepSeekRules(sharedDefault: 0, normaliseDefault: false))
        })
}
