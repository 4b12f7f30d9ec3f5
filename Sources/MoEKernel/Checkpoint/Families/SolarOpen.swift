extension ModelFamily {
    /// Upstage's Solar Open: DeepSeek-V3's layer, from the first on. Source: transformers `solar_open`.
    static let solarOpen = ModelFamily(
        "Solar Open", types: ["solar_open"],
        layers: { (config) throws(MoEError) in try config.deepSeekLayers(firstDense: 0) },
        layout: .deepSeek,
        configuration: { (config, _) throws(MoEError) in
            try config.only("scoring_func", "sigmoid")
            try config.only("topk_method", "noaux_tc")
            return try config.deepSeekLayer(DeepSeekRules())
        })
}
