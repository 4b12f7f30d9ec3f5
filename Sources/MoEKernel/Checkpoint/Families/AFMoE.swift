extension ModelFamily {
    /// Arcee's AFMoE (Trinity): DeepSeek-V3's router without groups. Source: transformers `afmoe`.
    static let afMoE = ModelFamily(
        "AFMoE", types: ["afmoe"],
        layers: { (config) throws(MoEError) in try config.layers(after: "num_dense_layers", default: 1) },
        layout: .usual(
            router: ["router.gate.weight", "gate.weight"], selectionBias: ["expert_bias"], shared: ["shared_experts"]),
        configuration: { (config, _) throws(MoEError) in
            try config.only("score_func", "sigmoid")
            return try config.deepSeekLayer(
                DeepSeekRules(
                    experts: "num_experts", shared: ["num_shared_experts"], sharedDefault: 2, groups: [],
                    scale: ["route_scale"],
                    normalise: ["route_norm"]))
        })
}
