extension ModelFamily {
    /// Nemotron-H and Nemotron 3: DeepSeek-V3's router over experts of two matrices, some models in a latent width. Which
    /// layers are experts stands in a pattern. Source: NVIDIA, "Nemotron-H", 2025; transformers `nemotron_h`.
    static let nemotronH = ModelFamily(
        "Nemotron-H", types: ["nemotron_h"],
        layers: { (config) throws(MoEError) in try config.nemotronLayers() },
        layout: TensorLayout(
            single: [
                .router: ["mixer.gate.weight"], .selectionBias: ["mixer.gate.e_score_correction_bias"],
                .latentIn: ["mixer.fc1_latent_proj.weight"], .latentOut: ["mixer.fc2_latent_proj.weight"],
            ],
            experts: [
                .separate(
                    folder: "mixer.experts.",
                    names: ProjectionNames(gate: "", up: "up_proj.weight", down: "down_proj.weight")),
                .stacked(up: "mixer.experts.up_proj", down: "mixer.experts.down_proj"),
                .stacked(up: "mlp.experts.up_proj", down: "mlp.experts.down_proj"),
            ],
            shared: [.projections(in: "mixer.shared_experts.")]),
        configuration: { (config, _) throws(MoEError) in
            // With it, projections into the latent width would have biases too.
            let latent = try config.integer(
                "moe_latent_size", in: 0...MoEConfiguration.maximumWidth, default: 0)
            if latent > 0 { try config.off("mlp_bias") }
            let biases = try config.bool("mlp_bias", default: false)
            let experts = try config.experts("n_routed_experts")
            let sharedCount = try config.integer(
                "n_shared_experts", in: 0...MoEConfiguration.maximumExperts, default: 1)
            let shared: SharedExpert =
                sharedCount == 0 ? .none : .dense(width: try config.width("moe_shared_expert_intermediate_size"))
            return try MoEConfiguration(
                experts: experts, topK: try config.topK(of: experts), hidden: try config.hidden(),
                expertHidden: try config.width("moe_intermediate_size"),
                router: RouterConfiguration(
                    score: .sigmoid, hasSelectionBias: true,
                    selection: try config.groupedSelection(by: .topTwoSum),
                    normalisation: try config.bool("norm_topk_prob", default: true) ? .sum(epsilon: 1e-20) : .none,
                    scale: try config.number("routed_scaling_factor", default: 1)),
                expert: .plain(try config.activation("mlp_hidden_act", default: .reluSquared), biases: biases),
                shared: shared, latent: latent == 0 ? nil : latent, hasSharedBiases: biases && shared != .none)
        })
}

extension CheckpointConfig {
    /// `hybrid_override_pattern`, a letter a layer, or the list that newer files have instead.
    fileprivate func nemotronLayers() throws(MoEError) -> [Int] {
        if let pattern = try text("hybrid_override_pattern") {
            let letters = Array(pattern)
            // A model's own number of layers is what the pattern says; where both are stated they have to agree.
            let count = try integer("num_hidden_layers", in: 1...Self.maximumLayers, default: max(letters.count, 1))
            guard letters.count >= count else {
                throw failure(
                    "hybrid_override_pattern", "of \(letters.count) letters", "one for each of \(count) layers")
            }
            guard letters.allSatisfy({ "ME*-".contains($0) }) else {
                throw failure("hybrid_override_pattern", quoted(pattern), "letters M, E, * and -")
            }
            return (0..<count).filter { letters[$0] == "E" }
        }
        for key in ["layers_block_type", "layer_types"] {
            // Newer files state the number of layers by the list alone.
            let stated = try integer("num_hidden_layers", in: 0...Self.maximumLayers, default: 0)
            guard let types = try list(key, layers: stated) else { continue }
            return types.indices.filter { types[$0] == .string("moe") }
        }
        throw failure("hybrid_override_pattern", "missing", "a letter for each layer")
    }
}
