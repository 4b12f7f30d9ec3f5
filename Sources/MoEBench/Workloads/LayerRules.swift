import MoEKernel

/// What a published model's layer is beyond its sizes: how its router gets from logits to weights, its shared expert, its biases.
/// Every field has Mixtral's value unless it is given.
package struct LayerRules: Sendable, Hashable, Codable {
    package enum Score: String, Sendable, Hashable, Codable { case softmax, sigmoid, logits }
    package enum Transform: String, Sendable, Hashable, Codable { case softmaxOverSelected, sigmoid }
    package enum GroupRank: String, Sendable, Hashable, Codable { case best, bestTwo }

    /// Groups of experts of which some are kept.
    package struct Groups: Sendable, Hashable, Codable {
        package var count: Int
        package var kept: Int
        package var rank: GroupRank
    }

    package struct Shared: Sendable, Hashable, Codable {
        package var width: Int
        /// Times a learned sigmoid of the token.
        package var isGated: Bool?
    }

    /// See ``ClampedGate``.
    package struct Clamp: Sendable, Hashable, Codable {
        package var limit: Float
        package var alpha: Float
        package var upOffset: Float
    }

    package var score: Score?
    /// A learned bias on the logits.
    package var hasRouterBias: Bool?
    /// A learned correction for choosing alone.
    package var hasSelectionBias: Bool?
    package var groups: Groups?
    /// ε of a sparsemixer, which chooses two experts.
    package var sparseMixer: Float?
    package var transform: Transform?
    /// Whether weights are divided by their sum.
    package var isNormalised: Bool?
    /// Added to that sum.
    package var epsilon: Float?
    package var scale: Float?
    /// Whether weights multiply the experts' input in place of their output.
    package var weighsInput: Bool?
    package var shared: Shared?
    /// Biases of experts' matrices.
    package var hasBiases: Bool?
    package var clamp: Clamp?

    package init() {}

    package var router: RouterConfiguration {
        let selection: ExpertSelection =
            if let sparseMixer {
                .sparseMixer(epsilon: sparseMixer)
            } else if let groups {
                .grouped(groups: groups.count, keep: groups.kept, by: groups.rank == .best ? .max : .topTwoSum)
            } else {
                .topK
            }
        return RouterConfiguration(
            hasBias: hasRouterBias ?? false, score: routerScore, hasSelectionBias: hasSelectionBias ?? false,
            selection: selection, weightTransform: weightTransform,
            normalisation: isNormalised ?? true ? .sum(epsilon: epsilon ?? 0) : .none, scale: scale ?? 1)
    }

    private var routerScore: RouterScore {
        switch score ?? .softmax {
        case .softmax: .softmax
        case .sigmoid: .sigmoid
        case .logits: .logits
        }
    }

    private var weightTransform: WeightTransform {
        switch transform {
        case nil: .none
        case .softmaxOverSelected: .softmaxOverSelected
        case .sigmoid: .sigmoid
        }
    }

    package var sharedExpert: SharedExpert {
        guard let shared else { return .none }
        return shared.isGated ?? false ? .sigmoidGated(width: shared.width) : .dense(width: shared.width)
    }

    /// An expert of that kind, with the clamp and the biases of these rules.
    func expert(_ kind: Workload.Expert, _ activation: Activation) -> ExpertKind {
        let biases = hasBiases ?? false
        switch kind {
        case .plain: return .plain(activation, biases: biases)
        case .gated:
            guard let clamp else { return .gated(activation, biases: biases) }
            return .gatedClamped(
                ClampedGate(limit: clamp.limit, alpha: clamp.alpha, upOffset: clamp.upOffset), biases: biases)
        }
    }
}
