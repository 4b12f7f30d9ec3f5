extension ModelFamily {
    /// Phi-3.5-MoE: two experts by sparsemixer, whose ε stands under the name of a jitter.
    /// Source: Abdin et al., "Phi-3 Technical Report", 2024; transformers `phimoe`.
    static let phiMoE = ModelFamily(
        "Phi-3.5-MoE", types: ["phimoe"],
        layers: { (config) throws(MoEError) in try config.everyLayer() },
        layout: .mixtral(router: ["gate.weight", "router.weight"]),
        configuration: { (config, _) throws(MoEError) in
            let experts = try config.experts("num_local_experts")
            return try MoEConfiguration(
                experts: experts, topK: try config.topK(of: experts), hidden: try config.hidden(),
                expertHidden: try config.width("intermediate_size"),
                router: RouterConfiguration(
                    score: .logits,
                    selection: .sparseMixer(epsilon: try config.number("router_jitter_noise", default: 0.01)),
                    normalisation: .none),
                expert: .gated(try config.activation()))
        })
}
