extension ModelFamily {
    /// MiniMax-Text-01: Mixtral's layer; its unusual mixing of input and output is the decoder layer's affair.
    /// Source: MiniMax, "MiniMax-01: Scaling Foundation Models with Lightning Attention", 2025; transformers `minimax`.
    static let miniMax = ModelFamily(
        "MiniMax-Text", types: ["minimax"],
        layers: { (config) throws(MoEError) in try config.everyLayer() },
        layout: .mixtral(),
        configuration: { (config, _) throws(MoEError) in try config.mixtralLayer() })

    /// MiniMax-M2, M2.1, M2.5: sigmoid scores, a correction for choosing, weights divided by their sum.
    /// Source: transformers `minimax_m2`.
    static let miniMaxM2 = ModelFamily(
        "MiniMax-M2", types: ["minimax_m2"],
        layers: { (config) throws(MoEError) in try config.everyLayer() },
        layout: .mixtral(selectionBias: ["e_score_correction_bias", "gate.e_score_correction_bias"]),
        configuration: { (config, _) throws(MoEError) in
            try config.off("shared_intermediate_size")
            let experts = try config.experts("num_local_experts")
            return try MoEConfiguration(
                experts: experts, topK: try config.topK(of: experts), hidden: try config.hidden(),
                expertHidden: try config.width("intermediate_size"),
                router: RouterConfiguration(
                    score: try config.choice("scoring_func", ["sigmoid": .sigmoid], default: .sigmoid),
                    hasSelectionBias: try config.bool("use_routing_bias", default: true)),
                expert: .gated(try config.activation()))
        })
}
