extension ModelFamily {
    /// Cohere 2's models with experts: the k best logits, then softmax or sigmoid; shared experts added or averaged in.
    /// Source: transformers `cohere2_moe`.
    static let cohere2MoE = ModelFamily(
        "Cohere2-MoE", types: ["cohere2_moe"],
        layers: { (config) throws(MoEError) in try config.deepSeekLayers(firstDense: 0) },
        layout: .usual(shared: ["shared_experts"]),
        configuration: { (config, _) throws(MoEError) in
            let experts = try config.experts("num_experts")
            let width = try config.width("intermediate_size")
            let transform = try config.choice(
                "expert_selection_fn", ["softmax": .softmaxOverSelected, "sigmoid": .sigmoid],
                default: WeightTransform.softmaxOverSelected)
            // A softmax over the chosen sums to 1 as it is.
            let normalises = try config.bool("norm_topk_prob", default: true) && transform == .sigmoid
            let shared = try config.sharedExpert(
                count: try config.integer("num_shared_experts", in: 0...MoEConfiguration.maximumExperts, default: 0),
                width: width)
            let combine = try config.choice(
                "shared_expert_combination_strategy", ["average": .average, "sum": .sum],
                default: SharedCombine.average)
            return try MoEConfiguration(
                experts: experts, topK: try config.topK(of: experts), hidden: try config.hidden(), expertHidden: width,
                router: RouterConfiguration(
                    score: .logits, weightTransform: transform,
                    normalisation: normalises ? .sum(epsilon: 0) : .none),
                expert: .gated(try config.activation()), shared: shared,
                sharedCombine: shared == .none ? .sum : combine)
        })
}
