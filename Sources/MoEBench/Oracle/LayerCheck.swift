import MoEKernel
import Synchronization

/// Compares a layer's logits, routing or output with the oracle, each within what fp32 arithmetic allows. Rounded activations
/// are checked to be rounded as in float64, but for those that fp32's error explains.
///
/// One token's error says little of that, as one activation that was rounded otherwise explains as much of it. So squared errors are added
/// up over the tokens of a batch, and over the batches that were seen: with one token a call, that is what notices activations that were
/// not rounded at all. A check is therefore of one implementation's calls.
package struct LayerCheck: OutputCheck {
    package let oracle: LayerOracle
    package let tolerance: Tolerance
    private let seen = SeenBatches()

    package init(_ oracle: LayerOracle, tolerance: Tolerance = Tolerance()) {
        self.oracle = oracle
        self.tolerance = tolerance
    }

    package func forOneContender() -> any OutputCheck { LayerCheck(oracle, tolerance: tolerance) }

    package func verify(_ output: StageOutput, batch: Int) throws(WrongResult) {
        let tokens = oracle.batches[batch].filter { !isAmbiguous($0) }
        guard !tokens.isEmpty else {
            throw WrongResult("no token could be checked: every choice of experts is within rounding of another")
        }
        switch output {
        case .logits(let logits): try verify(logits: logits, oracle.batches[batch])
        case .routing(let routing): try verify(routing, tokens)
        case .activations(let y): try seen.add(try verify(y, tokens), of: batch).verify()
        }
    }

    /// Whether fp32 rounding alone could choose other experts. Two keys may move towards each other; a key is a logit, a score,
    /// whose slope is at most one, or the sum of two.
    package func isAmbiguous(_ token: LayerOracle.Token) -> Bool { token.margin <= 4 * logitError(token) }

    private func logitError(_ token: LayerOracle.Token) -> Double {
        tolerance.logit(hidden: oracle.configuration.hidden) * (token.logitScales.max() ?? 0)
    }

    private func verify(logits: [Float], _ tokens: [LayerOracle.Token]) throws(WrongResult) {
        let E = oracle.configuration.choices
        try verifyAllFinite(logits, count: oracle.tokensPerBatch * E, "logits")
        let relative = tolerance.logit(hidden: oracle.configuration.hidden)
        for token in tokens {
            for expert in 0..<E {
                let found = Double(logits[token.index * E + expert]), expected = token.logits[expert]
                guard abs(found - expected) <= relative * token.logitScales[expert] else {
                    throw WrongResult("logit of token \(token.index), expert \(expert): \(found), expected \(expected)")
                }
            }
        }
    }

    private func verify(_ routing: Routing, _ tokens: [LayerOracle.Token]) throws(WrongResult) {
        let k = oracle.configuration.slots, E = oracle.configuration.choices
        guard routing.tokens == oracle.tokensPerBatch, routing.topK == k, routing.experts == E,
            routing.expertIndices.count == routing.tokens * k, routing.weights.count == routing.tokens * k
        else { throw WrongResult("routing of another shape: \(routing.tokens) tokens to \(routing.topK)") }
        if let stray = routing.expertIndices.first(where: { $0 < 0 || $0 >= E }) {
            throw WrongResult("expert \(stray) of \(E)")
        }
        for token in tokens {
            let slots = token.index * k..<(token.index + 1) * k
            let chosen = routing.expertIndices[slots].map { Int($0) }
            guard Set(chosen) == Set(token.experts) else {
                throw WrongResult("experts of token \(token.index): \(chosen), expected \(token.experts)")
            }
            // A weight moves with its own logit and with the sum's; normalisation does that once more.
            let relative = 4 * logitError(token) + Tolerance.safety * Tolerance.unit * 4
            for (expert, weight) in zip(chosen, routing.weights[slots]) {
                let expected = token.weights[token.experts.firstIndex(of: expert)!]
                guard abs(Double(weight) - expected) <= relative * abs(expected) else {
                    throw WrongResult(
                        "weight of token \(token.index), expert \(expert): \(weight), expected \(expected)")
                }
            }
        }
    }

    /// Checks every token, and all of them together; returns their squared errors.
    private func verify(_ y: [Float], _ tokens: [LayerOracle.Token]) throws(WrongResult) -> Squares {
        let configuration = oracle.configuration, H = configuration.hidden
        try verifyAllFinite(y, count: oracle.tokensPerBatch * H, "output")
        var errors = Squares()
        for token in tokens {
            let logitScale = token.logitScales.max() ?? 0
            let exact = tolerance.output(
                hidden: H,
                expertHidden: max(
                    configuration.expertHidden, configuration.shared.width ?? 0, configuration.latent ?? 0),
                matrices: configuration.expert.projections.count, experts: configuration.experts,
                topK: configuration.topK, logitScale: logitScale)
            var (largest, expected) = (0.0, 0.0)
            if let flips = tolerance.flips(configuration, oracle.arithmetic, logitScale: logitScale) {
                let routed = zip(token.experts, token.weights).filter { $0.0 < configuration.experts }
                largest = flips.largest(weights: routed.lazy.map(\.1))
                expected = flips.expected
            }
            let allowed = exact + RoundingFlips.bound(largest: largest, expected: expected)
            let norm = token.y.reduce(0) { $0 + $1 * $1 }.squareRoot()
            let largestElement = tolerance.element(allowed) * norm / Double(H).squareRoot()
            var squares = 0.0
            for column in 0..<H {
                let error = Double(y[token.index * H + column]) - token.y[column]
                guard abs(error) <= largestElement else {
                    throw WrongResult(
                        "output[\(token.index), \(column)]: \(y[token.index * H + column]), expected "
                            + "\(token.y[column]) ± \(Format.significant(largestElement))")
                }
                squares += error * error
            }
            guard squares.squareRoot() <= allowed * norm else {
                throw WrongResult(
                    "output of token \(token.index): relative error "
                        + "\(Format.scientific(squares.squareRoot() / norm)), allowed \(Format.scientific(allowed))")
            }
            errors.found += norm > 0 ? squares / (norm * norm) : 0
            errors.exact += exact * exact
            errors.largest = max(errors.largest, largest)
            errors.expected += expected
        }
        errors.tokens = tokens.count
        try errors.verify()
        return errors
    }

    /// What each batch's last checked call was off by.
    private final class SeenBatches: Sendable {
        private let squares = Mutex<[Int: Squares]>([:])

        /// Notes a batch's; returns those of all batches seen.
        func add(_ one: Squares, of batch: Int) -> Squares {
            squares.withLock { squares in
                squares[batch] = one
                return squares.values.reduce(Squares(), +)
            }
        }
    }

    /// The squared errors of some tokens. A flip explains as much in one of them as leaving the rounding of activations out
    /// does, but not in all.
    private struct Squares: Sendable {
        var tokens = 0
        var found = 0.0
        var exact = 0.0
        var largest = 0.0
        var expected = 0.0

        static func + (a: Self, b: Self) -> Self {
            Squares(
                tokens: a.tokens + b.tokens, found: a.found + b.found, exact: a.exact + b.exact,
                largest: max(a.largest, b.largest), expected: a.expected + b.expected)
        }

        func verify() throws(WrongResult) {
            let count = Double(tokens)
            let error = (found / count).squareRoot()
            let allowed =
                (exact / count).squareRoot()
                + RoundingFlips.bound(largest: largest / count, expected: expected / count)
            guard error <= allowed else {
                throw WrongResult(
                    "outputs of \(tokens) tokens: relative error \(Format.scientific(error)) in the root mean square, "
                        + "allowed \(Format.scientific(allowed))")
            }
        }
    }

    /// Every element of every token, also of those without a reference: poison that was not overwritten is NaN.
    private func verifyAllFinite(_ values: [Float], count: Int, _ name: String) throws(WrongResult) {
        guard values.count == count else { throw WrongResult("\(name) of \(values.count) values, expected \(count)") }
        if let index = values.firstIndex(where: { !$0.isFinite }) {
            throw WrongResult("\(name) element \(index) is \(values[index])")
        }
    }
}
