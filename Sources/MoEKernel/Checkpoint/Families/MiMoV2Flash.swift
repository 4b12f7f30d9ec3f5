extension ModelFamily {
    /// Xiaomi's MiMo-V2-Flash: DeepSeek-V3's router without a shared expert; `moe_layer_freq` is a list.
    /// Source: transformers `mimo_v2_flash`.
    static let miMoV2Flash = ModelFamily(
        "MiMo-V2-Flash", types: ["mimo_v2_flash"],
        layers: { (config) throws(MoEError) in try config.deepSeekLayers(firstDense: 1) },
        layout: .deepSeek,
        configuration: { (config, _) throws(MoEError) in
            try config.only("scoring_func", "sigmoid")
            try config.only("topk_method", "noaux_tc")
            return try config.deepSeekLayer(DeepSeekRules(sharedDefault: 0))
        })
}
