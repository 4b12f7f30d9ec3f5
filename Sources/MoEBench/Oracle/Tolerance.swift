import MoEKernel

/// How far fp32 arithmetic may be from float64, from the lengths of its sums.
///
/// Model: a partial sum of n products of random sign grows like √j, and each step rounds it by at most half a unit, u = 2⁻²⁴
/// relative, evenly spread: variance u²/3 of the partial sum's square. Over a chain of n steps the variances add up to
/// u²/3 · n²/2 against a result of variance n, so the error relative to the result is u·√(n/6). A sum that is cut into chains
/// of c has c in place of n, plus the chain of its ⌈n/c⌉ partial results. Multiplying and adding with two roundings instead of
/// one adds a product's rounding, which is small beside the partial sum's.
///
/// ``safety`` stands above that model: it covers data whose partial sums are larger than a random walk's, and leaves an
/// honest kernel eight standard deviations. A weight that is dropped, or read at the wrong index, moves a token's output by
/// 10⁻³ or more, a hundred times the bound at H = F = 2048.
package struct Tolerance: Sendable, Hashable {
    package static let safety = 8.0
    package static let unit = 0x1p-24
    /// The numerics contract's longest chain on the fast path.
    package static let blockedChain = 256
    /// A plain loop: one chain, however long.
    package static let singleChain = Int.max

    /// Longest chain of additions before partial results are combined.
    package let chain: Int

    package init(chain: Int = blockedChain) { self.chain = chain }

    /// Modelled relative error of one sum of `length` products, in units of 2⁻²⁴.
    package func reduction(_ length: Int) -> Double {
        let within = min(length, chain)
        let across = (length - 1) / chain + 1
        return ((Double(within) + Double(across)) / 6).squareRoot()
    }

    /// Bound of a logit's error, relative to the root of the sum of its squared products.
    package func logit(hidden: Int) -> Double { Self.safety * Self.unit * (reduction(hidden) + 1) }

    /// Bound of a token's output error relative to the output, both in the L2 norm.
    ///
    /// The errors of the gate and up sums, of the activation and its product (a few units), of the down sum, of the weight
    /// (which moves with the logits' absolute error, `logitScale` being the size of their random walk) and of the sum over k
    /// are independent, so their squares add.
    package func output(
        hidden: Int, expertHidden: Int, matrices: Int, experts: Int, topK: Int, logitScale: Double
    ) -> Double {
        let outer = reduction(expertHidden) * reduction(expertHidden)
        let squares =
            innerSquares(width: hidden, matrices: matrices) + outer
            + weightSquares(hidden: hidden, experts: experts, logitScale: logitScale) + Double(topK)
        return Self.safety * Self.unit * squares.squareRoot()
    }

    /// The squared error of an expert's inner values, which gate and up sums of `width` products and an activation make, in
    /// units of 2⁻²⁴.
    private func innerSquares(width: Int, matrices: Int) -> Double {
        Double(matrices - 1) * reduction(width) * reduction(width) + 4.0 * 4.0
    }

    /// The squared error of a routing weight, in the same units.
    private func weightSquares(hidden: Int, experts: Int, logitScale: Double) -> Double {
        experts > 1 ? 4 * logitScale * logitScale * reduction(hidden) * reduction(hidden) + 16 : 0
    }

    /// What rounded activations may add to the error of a token's output; nil for exact arithmetic.
    package func flips(
        _ configuration: MoEConfiguration, _ arithmetic: ExpertArithmetic, logitScale: Double
    ) -> RoundingFlips? {
        let c = configuration
        let matrices = c.expert.projections.count
        var input = 0.0
        if c.latent != nil { input += reduction(c.hidden) * reduction(c.hidden) }
        if c.weightSide == .input {
            input += weightSquares(hidden: c.hidden, experts: c.experts, logitScale: logitScale)
        }
        return RoundingFlips(
            c, arithmetic, inner: Self.unit * innerSquares(width: c.expertWidth, matrices: matrices).squareRoot(),
            sharedInner: Self.unit * innerSquares(width: c.hidden, matrices: matrices).squareRoot(),
            input: Self.unit * input.squareRoot())
    }

    /// Bound of one element's error relative to the root mean square of its token: elements stray further than their norm.
    package func element(_ output: Double) -> Double { 2 * output }
}
