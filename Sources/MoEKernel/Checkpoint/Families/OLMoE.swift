extension ModelFamily {
    /// OLMoE-1B-7B and FlexOlmo: every layer, `intermediate_size` is the width of one expert.
    /// Source: Muennighoff et al., "OLMoE: Open Mixture-of-Experts Language Models", 2024; transformers `olmoe`, `flex_olmo`.
    static let olmoe = ModelFamily(
        "OLMoE", types: ["olmoe", "flex_olmo"],
        layers: { (config) throws(MoEError) in try config.everyLayer() },
        layout: .usual(),
        configuration: { (config, _) throws(MoEError) in
            try config.qwenLayer(
                normalises: try config.bool("norm_topk_prob", default: false), width: "intermediate_size")
        })
}
