import MoEKernel

/// How far fp32 results may lie from float64 ones.
///
/// One reduction of length K runs in blocks of at most 256: a chain of n multiply-adds, each rounded to half a unit, has an
/// error of about 2⁻²⁴·√(n/6) of the sum's typical size where roundings are independent, and the blocks add one rounding each.
/// A layer is three such stages (logits, inner, down) with a few roundings between. Eight times that model is far below what
/// any wrong index, missing term or low-precision step would show, and above what rounding does.
func layerTolerance(hidden: Int, expertHidden: Int) -> Double {
    let stages = [reductionError(hidden), reductionError(hidden), reductionError(expertHidden), 4]
    return 8 * 0x1p-24 * stages.reduce(0) { $0 + $1 * $1 }.squareRoot()
}

/// One reduction's error in units of 2⁻²⁴, by that model.
private func reductionError(_ length: Int) -> Double {
    let block = Double(min(length, 256))
    let blocks = Double((length + 255) / 256)
    return (block / 6 + blocks / 2 + 1).squareRoot()
}

/// What rounded activations may add to that, from the deviations that the model gives for what is rounded: an expert's inner
/// values, and its inputs where they are computed.
///
/// - Parameter logitScale: The largest logit, with whose error the weights of experts move.
func roundingFlips(
    _ configuration: MoEConfiguration, _ arithmetic: ExpertArithmetic, logitScale: Double
) -> RoundingFlips? {
    let c = configuration
    let hidden = reductionError(c.hidden)
    func inner(_ width: Int) -> Double {
        let squares = Double(c.expert.projections.count - 1) * reductionError(width) * reductionError(width) + 4 * 4
        return 0x1p-24 * squares.squareRoot()
    }
    var input = c.latent == nil ? 0 : hidden * hidden
    if c.weightSide == .input { input += 4 * logitScale * logitScale * hidden * hidden + 4 * 4 }
    return RoundingFlips(
        c, arithmetic, inner: inner(c.expertWidth), sharedInner: inner(c.hidden), input: 0x1p-24 * input.squareRoot())
}

/// ‖a - b‖ / ‖b‖ in the 2-norm; infinite for a NaN. Rounding is proportional to the terms of a sum, not to what cancellation
/// leaves of it, so the divisor is not taken below `floor`: the norm that b typically has.
func relativeError(_ a: some Sequence<Float>, _ b: some Sequence<Double>, floor: Double = 0) -> Double {
    var difference = 0.0
    var norm = 0.0
    for (a, b) in zip(a, b) {
        difference += (Double(a) - b) * (Double(a) - b)
        norm += b * b
    }
    let error = difference.squareRoot() / max(norm.squareRoot(), floor, .leastNormalMagnitude)
    return error.isNaN ? .infinity : error
}

/// The norm of one row of a matrix [rows, columns] on average.
func typicalRowNorm(_ values: [Double], rows: Int) -> Double {
    (values.reduce(0) { $0 + $1 * $1 } / Double(max(rows, 1))).squareRoot()
}
