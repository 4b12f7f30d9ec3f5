/// The keys of a layer of DeepSeek-V3's kind, whose router many families have taken over under names and defaults of
/// their own: scores, a correction for choosing, groups of experts, weights divided by their sum and scaled, shared experts
/// stored as one wide one.
struct DeepSeekRules: Sendable {
    var experts = "n_routed_experts"
    var topK = ["num_experts_per_tok"]
    var width = "moe_intermediate_size"
    var shared = ["n_shared_experts"]
    var sharedDefault = 1
    /// None where the family has no groups.
    var groups = ["n_group"]
    var groupsDefault = 1
    var keptGroupsDefault = 1
    var scale = ["routed_scaling_factor"]
    var scaleDefault: Float = 1
    /// None where the family always does as ``normaliseDefault`` says.
    var normalise = ["norm_topk_prob"]
    var normaliseDefault = true
    var score = RouterScore.sigmoid
    var hasSelectionBias = true
}

extension CheckpointConfig {
    /// Source: DeepSeek-AI, "DeepSeek-V3 Technical Report", 2024.
    func deepSeekLayer(_ rules: DeepSeekRules) throws(MoEError) -> MoEConfiguration {
        let experts = try experts(rules.experts)
        let width = try width(rules.width)
        let shared = try sharedCount(rules.shared, default: rules.sharedDefault)
        return try MoEConfiguration(
            experts: experts, topK: try integer(rules.topK, in: 1...experts), hidden: try hidden(),
            expertHidden: width,
            router: RouterConfiguration(
                score: rules.score, hasSelectionBias: rules.hasSelectionBias,
                selection: try groupedSelection(
                    rules.groups, default: rules.groupsDefault, keep: rules.keptGroupsDefault, by: .topTwoSum),
                normalisation: try bool(rules.normalise, default: rules.normaliseDefault)
                    ? .sum(epsilon: 1e-20) : .none,
                scale: try number(rules.scale, default: isNull(rules.scale) ? 1 : rules.scaleDefault)),
            expert: .gated(try activation()), shared: try sharedExpert(count: shared, width: width))
    }

    /// How many shared experts there are. `null` means none, which is not what an absent key means.
    func sharedCount(_ keys: [String], default fallback: Int) throws(MoEError) -> Int {
        try integer(keys, in: 0...MoEConfiguration.maximumExperts, default: isNull(keys) ? 0 : fallback)
    }

    /// Groups of experts of which some are kept; a single group is no restriction.
    func groupedSelection(
        _ groups: [String] = ["n_group"], default fallback: Int = 1, keep keptFallback: Int = 1, by score: GroupScore
    ) throws(MoEError) -> ExpertSelection {
        guard !groups.isEmpty else { return .topK }
        let count = try integer(
            groups, in: 1...MoEConfiguration.maximumExperts, default: isNull(groups) ? 1 : fallback)
        let keep = try integer("topk_group", in: 1...count, default: min(keptFallback, count))
        return count == 1 ? .topK : .grouped(groups: count, keep: keep, by: score)
    }
}
