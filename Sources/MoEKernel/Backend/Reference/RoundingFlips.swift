/// How far rounded activations take a layer from ``ReferenceBackend``: one that lies within its fp32 error of the middle
/// between two neighbours may be rounded either way, in float64 and in fp32.
///
/// An error of deviation s, normally distributed, crosses a middle with a probability of E|error| over their distance, which is
/// √(2/π) · s over it. Middles are 1/256 to 1/128 of a value apart for bf16, and 1/127 of the largest of 32 values for bytes. A
/// flip moves its value by that distance.
///
/// Errors here are squares, relative to the square of the output that they are part of: one of F inner values has a share of
/// 1/F in it, if it is as large as their root mean square. Flips are independent, so their squares add, and what many of them
/// add up to is near its expectation; a single one may be of a value eight times the root mean square.
package struct RoundingFlips: Sendable {
    /// What a token's output is expected to be off by, squared.
    package let expected: Double
    /// What the largest single flip adds to the output of one routed expert, and of the shared one.
    private let routed: Double
    private let shared: Double
    private let weightsActOnInputs: Bool

    /// nil for exact arithmetic.
    ///
    /// - Parameters:
    ///   - inner: Deviation of a routed expert's inner values in fp32, relative to them.
    ///   - sharedInner: The same of the shared expert.
    ///   - input: Deviation of what routed experts read, which is 0 but for a latent width and weights that act on inputs.
    package init?(
        _ configuration: MoEConfiguration, _ arithmetic: ExpertArithmetic, inner: Double, sharedInner: Double,
        input: Double
    ) {
        guard let step = Step(arithmetic) else { return nil }
        let inputs = Double(configuration.expertWidth)
        let readers = Double(configuration.expert.projections.count - 1)
        // An input that is rounded otherwise moves all inner values, of which some are then rounded otherwise too.
        func moved(_ square: Double) -> Double { readers * square / inputs }
        func following(_ square: Double) -> Double { step.crossing(moved(square).squareRoot()) }

        let inputFlips = step.crossing(input) * inputs
        let ofInputs = inputFlips * moved(step.typical) + min(inputFlips * following(step.typical), 1) * step.typical
        expected = max(
            step.crossing(inner) * step.typical + ofInputs,
            configuration.shared == .none ? 0 : step.crossing(sharedInner) * step.typical)

        let ofInput = input > 0 ? moved(step.largest) + following(step.largest) * step.typical : 0
        routed = max(step.largest / Double(configuration.expertHidden), ofInput)
        shared = configuration.shared.width.map { step.largest / Double($0) } ?? 0
        weightsActOnInputs = configuration.weightSide == .input
    }

    /// What the largest single flip adds to a token's output, squared. It is one expert's, whose share in the output is that of
    /// its squared weight, but not known of the shared one, nor where weights act before the activation: then it is taken to be
    /// all of it.
    ///
    /// - Parameter weights: Those of the token's routed experts.
    package func largest(weights: some Sequence<Double>) -> Double {
        var (highest, sum) = (0.0, 0.0)
        for weight in weights {
            highest = max(highest, weight * weight)
            sum += weight * weight
        }
        let share = sum > 0 ? (weightsActOnInputs ? 1 : highest / sum) : 0
        return max(share * routed, shared)
    }

    /// Allowed are one largest flip and three times what is expected.
    package static func bound(largest: Double, expected: Double) -> Double { (largest + 3 * expected).squareRoot() }

    /// The distance between neighbours.
    private struct Step {
        /// Distances in a value's magnitude, at the most.
        let count: Double
        /// The square of a flip's error relative to the mean square of all values: of most flips, and of the largest that is
        /// allowed for.
        let typical: Double
        let largest: Double

        init?(_ arithmetic: ExpertArithmetic) {
            switch arithmetic {
            case .exact: return nil
            case .bfloat16Activations: (count, typical, largest) = (256, 1 / (128 * 128), 64 / (128 * 128))
            // The distance is the largest value's, whichever value flips.
            case .int8Activations: (count, typical, largest) = (127, 64 / (127 * 127), 64 / (127 * 127))
            }
        }

        func crossing(_ deviation: Double) -> Double {
            min((2 / Double.pi).squareRoot() * count * deviation, 1)
        }
    }
}
