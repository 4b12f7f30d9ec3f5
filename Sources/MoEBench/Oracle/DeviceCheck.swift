import MoEKernel

/// Compares what a GPU computed with the oracle, on the same rounded weights and inputs: each token's error in the L2 norm, as
/// ``DeviceConformance/contract(_:output:)`` says.
package struct DeviceCheck: OutputCheck {
    private let oracle: LayerOracle
    private let limit: Double

    /// Keys of choices nearer than this are told apart by nobody who sums in fp32.
    package static let nearest = 2e-5
    /// How far weights may be off, of themselves.
    private static let weightError = 1e-4

    package init(_ oracle: LayerOracle, output: ElementType) {
        self.oracle = oracle
        limit = DeviceConformance.contract(oracle.configuration, output: output)
    }

    package func verify(_ output: StageOutput, batch: Int) throws(WrongResult) {
        guard oracle.batches.contains(where: { $0.contains { $0.margin >= Self.nearest } }) else {
            throw WrongResult("nothing to compare: no token's choice of experts is clear")
        }
        let tokens = oracle.batches[batch].filter { $0.margin >= Self.nearest }
        switch output {
        case .activations(let y): try verify(y, tokens)
        case .routing(let routing): try verify(routing, tokens)
        case .logits: throw WrongResult("logits alone, which no stage on a GPU gives")
        }
    }

    private func verify(_ routing: Routing, _ tokens: [LayerOracle.Token]) throws(WrongResult) {
        let k = routing.topK
        guard routing.tokens == oracle.tokensPerBatch, k == oracle.configuration.slots else {
            throw WrongResult("routing of \(routing.tokens) tokens, top \(k)")
        }
        for token in tokens {
            let slots = token.index * k..<(token.index + 1) * k
            let chosen = routing.expertIndices[slots].map { Int($0) }
            guard Set(chosen) == Set(token.experts) else {
                throw WrongResult("experts of token \(token.index): \(chosen), expected \(token.experts)")
            }
            for (expert, weight) in zip(chosen, routing.weights[slots]) {
                let expected = token.weights[token.experts.firstIndex(of: expert)!]
                // A weight moves with its logit, whose sum of bounded terms is off by some units of fp32.
                guard abs(Double(weight) - expected) <= Self.weightError * abs(expected) else {
                    throw WrongResult(
                        "weight of token \(token.index), expert \(expert): \(weight), expected \(expected)")
                }
            }
        }
    }

    private func verify(_ y: [Float], _ tokens: [LayerOracle.Token]) throws(WrongResult) {
        let hidden = oracle.configuration.hidden
        guard y.count == oracle.tokensPerBatch * hidden else { throw WrongResult("output of \(y.count) values") }
        if let odd = y.firstIndex(where: { !$0.isFinite }) { throw WrongResult("output element \(odd) is \(y[odd])") }
        for token in tokens {
            var error = 0.0, norm = 0.0
            for (column, right) in token.y.enumerated() {
                let difference = Double(y[token.index * hidden + column]) - right
                error += difference * difference
                norm += right * right
            }
            guard error.squareRoot() <= limit * norm.squareRoot() else {
                throw WrongResult(
                    "output of token \(token.index): relative error "
                        + "\(Format.scientific((error / norm).squareRoot())), allowed \(Format.scientific(limit))")
            }
        }
    }
}
