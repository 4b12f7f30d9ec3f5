import MoEKernel

/// Compares a layer's logits, routing or output with the oracle, each within what fp32 arithmetic allows.
package struct LayerCheck: OutputCheck {
    package let oracle: LayerOracle
    package let tolerance: Tolerance

    package init(_ oracle: LayerOracle, tolerance: Tolerance = Tolerance()) {
        self.oracle = oracle
        self.tolerance = tolerance
    }

    package func verify(_ output: StageOutput, batch: Int) throws(WrongResult) {
        let tokens = oracle.batches[batch].filter { !isAmbiguous($0) }
        guard !tokens.isEmpty else {
            throw WrongResult("no token could be checked: every choice of experts is within rounding of another")
        }
        switch output {
        case .logits(let logits): try verify(logits: logits, oracle.batches[batch])
        case .routing(let routing): try verify(routing, tokens)
        case .activations(let y): try verify(y, tokens)
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

    private func verify(_ y: [Float], _ tokens: [LayerOracle.Token]) throws(WrongResult) {
        let configuration = oracle.configuration, H = configuration.hidden
        try verifyAllFinite(y, count: oracle.tokensPerBatch * H, "output")
        // Activations that are rounded here as in float64 agree within fp32's error, but for tokens where one flipped.
        let rounds = oracle.arithmetic != .exact
        let narrowest = min(configuration.expertHidden, configuration.shared.width ?? .max)
        var flippedTokens = 0
        var expectedTokens = 0.0
        for token in tokens {
            var allowed = tolerance.output(
                hidden: H,
                expertHidden: max(
                    configuration.expertHidden, configuration.shared.width ?? 0, configuration.latent ?? 0),
                matrices: configuration.expert.projections.count, experts: configuration.experts,
                topK: configuration.topK, logitScale: token.logitScales.max() ?? 0)
            let norm = token.y.reduce(0) { $0 + $1 * $1 }.squareRoot()
            if rounds {
                let exact = allowed
                let visits = Double(configuration.topK + (configuration.shared == .none ? 0 : 1))
                expectedTokens += min(
                    visits
                        * tolerance.expectedFlips(
                            expertHidden: configuration.expertHidden, bound: exact, oracle.arithmetic), 1)
                allowed += tolerance.flipped(
                    expertHidden: narrowest,
                    expected: tolerance.expectedFlips(expertHidden: narrowest, bound: exact, oracle.arithmetic))
                let error = (0..<H).reduce(0) {
                    let error = Double(y[token.index * H + $1]) - token.y[$1]
                    return $0 + error * error
                }
                if error.squareRoot() > exact * norm { flippedTokens += 1 }
            }
            let largest = tolerance.element(allowed) * norm / Double(H).squareRoot()
            var squares = 0.0
            for column in 0..<H {
                let error = Double(y[token.index * H + column]) - token.y[column]
                guard abs(error) <= largest else {
                    throw WrongResult(
                        "output[\(token.index), \(column)]: \(y[token.index * H + column]), expected "
                            + "\(token.y[column]) ± \(Format.significant(largest))")
                }
                squares += error * error
            }
            guard squares.squareRoot() <= allowed * norm else {
                throw WrongResult(
                    "output of token \(token.index): relative error "
                        + "\(Format.scientific(squares.squareRoot() / norm)), allowed \(Format.scientific(allowed))")
            }
        }
        guard Double(flippedTokens) <= 1 + 3 * expectedTokens else {
            throw WrongResult(
                "\(flippedTokens) of \(tokens.count) tokens are beyond fp32's error, and roundings explain "
                    + "\(Format.significant(expectedTokens))")
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
