extension ModelFamily {
    /// LongCat-Flash: softmax scores with a correction for choosing; the last of the router's outputs stand for experts that
    /// return their input. Source: Meituan, "LongCat-Flash Technical Report", 2025; transformers `longcat_flash`.
    static let longCatFlash = ModelFamily(
        "LongCat-Flash", types: ["longcat_flash"],
        layers: { (config) throws(MoEError) in Array(0..<(try config.layerCount("num_layers", "num_hidden_layers"))) },
        layout: {
            var layout = TensorLayout.usual(
                router: ["router.classifier.weight"], selectionBias: ["router.e_score_correction_bias"])
            layout.single[.routerBias] = ["mlp.router.classifier.bias"]
            return layout
        }(),
        configuration: { (config, _) throws(MoEError) in
            try config.only("zero_expert_type", "identity")
            try config.off("norm_topk_prob")
            let experts = try config.experts("n_routed_experts")
            let identities = try config.integer(
                "zero_expert_num", in: 0...MoEConfiguration.maximumExperts - experts,
                default: config.isNull("zero_expert_num") ? 0 : 256)
            return try MoEConfiguration(
                experts: experts,
                topK: try config.topK("moe_topk", "num_experts_per_tok", of: experts + identities),
                hidden: try config.hidden(),
                expertHidden: try config.width("expert_ffn_hidden_size", "moe_intermediate_size"),
                router: RouterConfiguration(
                    hasBias: try config.bool("router_bias", default: false), hasSelectionBias: true,
                    normalisation: .none, scale: try config.number("routed_scaling_factor", default: 6)),
                expert: .gated(try config.activation()), identityExperts: identities)
        })
}
