extension ModelFamily {
    /// ERNIE 4.5: softmax scores with a correction for choosing, weights divided by their sum or a least value.
    /// Source: Baidu, "ERNIE 4.5 Technical Report", 2025; transformers `ernie4_5_moe`.
    static let ernie45MoE = ModelFamily(
        "ERNIE-4.5-MoE", types: ["ernie4_5_moe"],
        layers: { (config) throws(MoEError) in
            let limits = 0...CheckpointConfig.maximumLayers
            let count = try config.layerCount()
            let interval = try config.integer(
                "moe_layer_interval", in: 1...CheckpointConfig.maximumLayers, default: 1)
            let start = try config.integer("moe_layer_start_index", in: limits, default: 1)
            let end = try config.integer(
                "moe_layer_end_index", in: -1...CheckpointConfig.maximumLayers, default: -1)
            return (0..<count).filter {
                ($0 + 1).isMultiple(of: interval) && $0 >= start && $0 <= (end == -1 ? count - 1 : end)
            }
        },
        layout: .usual(
            selectionBias: ["moe_statics.e_score_correction_bias", "gate.moe_statics.e_score_correction_bias"],
            shared: ["shared_experts"]),
        configuration: { (config, _) throws(MoEError) in
            let experts = try config.experts("moe_num_experts")
            let width = try config.width("moe_intermediate_size")
            let shared = try config.sharedExpert(
                count: try config.integer(
                    "moe_num_shared_experts", in: 0...MoEConfiguration.maximumExperts, default: 2), width: width)
            let biases = try config.bool("use_bias", default: false)
            return try MoEConfiguration(
                experts: experts, topK: try config.topK("moe_k", "num_experts_per_tok", of: experts),
                hidden: try config.hidden(), expertHidden: width,
                router: RouterConfiguration(
                    hasSelectionBias: true,
                    normalisation: .clampedSum(minimum: try config.number("moe_norm_min", default: 1e-12))),
                expert: .gated(try config.activation(), biases: biases), shared: shared,
                hasSharedBiases: biases && shared != .none)
        })
}
