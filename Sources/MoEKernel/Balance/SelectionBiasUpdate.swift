/// Balance without a loss: after a training step, the selection bias of experts with less than mean load rises by γ, that of
/// experts with more falls by γ.
///
///     bₑ ← bₑ + γ · sign(mean load − loadₑ)
///
/// The bias only chooses, it never weighs (``RouterConfiguration/hasSelectionBias``), so the step does not disturb gradients.
/// γ is in units of the score.
///
/// ```swift
/// bias = try SelectionBiasUpdate().updated(bias, load: Routing.expertLoad(of: [first, second]))
/// ```
///
/// Source: Wang et al., "Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts", 2024; DeepSeek-V3 trains with
/// γ = 0.001, and 0 for its last tokens.
public struct SelectionBiasUpdate: Sendable, Hashable {
    /// γ, the step.
    public let gamma: Float

    /// - Parameter gamma: γ.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for a γ that is negative or not finite.
    public init(gamma: Float = 0.001) throws(MoEError) {
        guard gamma.isFinite, gamma >= 0 else {
            throw .input(name: "gamma", value: "\(gamma)", expectation: "finite, 0 or more")
        }
        self.gamma = gamma
    }

    /// The bias of the next step, in fp32. An expert with exactly the mean load keeps its bias; so do all where nothing was
    /// routed.
    ///
    /// - Parameters:
    ///   - bias: [experts].
    ///   - load: Choices of each expert in the step's whole batch, [experts]: ``Routing/tokensPerExpert``, or
    ///     ``Routing/expertLoad(of:)`` of its parts.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` where the lengths differ or a load is negative.
    public func updated(_ bias: [Float], load: [Int]) throws(MoEError) -> [Float] {
        guard bias.count == load.count else {
            throw .input(name: "load", value: "\(load.count) values", expectation: "\(bias.count), one an expert")
        }
        var total = 0
        for count in load {
            let (sum, overflow) = total.addingReportingOverflow(count)
            // Loads are compared with the mean as load · E with the total: exact, where a mean in floating point is not.
            guard count >= 0, !overflow, !count.multipliedReportingOverflow(by: load.count).overflow else {
                throw .input(name: "load", value: "\(count) choices", expectation: "0 or more, with a total that fits")
            }
            total = sum
        }
        var next = bias
        for expert in bias.indices {
            let scaled = load[expert] * load.count
            if scaled < total { next[expert] += gamma } else if scaled > total { next[expert] -= gamma }
        }
        return next
    }
}
