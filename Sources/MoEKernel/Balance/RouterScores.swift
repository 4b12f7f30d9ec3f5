import CPlatform

/// What the balance losses need of a routing's raw logits, in float64.
///
/// A token with a logit that is NaN or +∞, or with nothing but -∞, has no softmax: its probabilities are NaN, and so is a
/// loss it counts in. Routing copes with such logits (<doc:RoutingTokens>); a loss should show them.
extension Routing {
    /// log Σₑ exp zₑ of a token.
    func logSumExp(_ token: Int) -> Double {
        let row = token * experts..<(token + 1) * experts
        var highest = -Double.infinity
        for index in row { highest = max(highest, Double(logits[index])) }
        var sum = 0.0
        for index in row { sum += exp(Double(logits[index]) - highest) }
        return highest + log(sum)
    }

    /// Adds a token's softmax probabilities to `sums`, [experts].
    func addProbabilities(of token: Int, to sums: inout [Double]) {
        let z = logSumExp(token)
        for expert in 0..<experts { sums[expert] += exp(Double(logits[token * experts + expert]) - z) }
    }

    /// Adds a token's scores over their sum to `sums`, [experts]; nothing where all scores are zero.
    ///
    /// - Parameter row: Room for [experts].
    func addShares(of token: Int, by score: RouterScore, row: inout [Double], to sums: inout [Double]) {
        guard score != .softmax else { return addProbabilities(of: token, to: &sums) }
        var total = 0.0
        for expert in 0..<experts {
            let z = Double(logits[token * experts + expert])
            row[expert] =
                switch score {
                case .sigmoid: 1 / (1 + exp(-z))
                // max(z, 0) is taken out so that exp cannot overflow.
                case .sqrtSoftplus: (max(z, 0) + log1p(exp(-abs(z)))).squareRoot()
                case .softmax, .logits: z
                }
            total += row[expert]
        }
        guard total != 0 else { return }
        for expert in 0..<experts { sums[expert] += row[expert] / total }
    }

    /// The experts of a token's `count` largest raw logits, in `best`; equal logits go to the lower index.
    ///
    /// Every score is increasing in the logit, so these are also the experts of the largest scores without a bias.
    func findBest(_ count: Int, of token: Int, into best: inout [Int]) {
        best.removeAll(keepingCapacity: true)
        let base = token * experts
        for expert in 0..<experts {
            let value = logits[base + expert]
            if best.count == count {
                guard value > logits[base + best[count - 1]] else { continue }
                best.removeLast()
            }
            var place = best.count
            while place > 0, value > logits[base + best[place - 1]] { place -= 1 }
            best.insert(expert, at: place)
        }
    }

    // MARK: Checks

    func check(experts expected: Int) throws(MoEError) {
        guard experts == expected else {
            throw .input(name: "routing", value: "of \(experts) experts", expectation: "\(expected), as the others")
        }
    }

    /// Tokens a mask leaves are for the caller to find; this checks that it has one entry a token, or none.
    func check(mask: [Bool]) throws(MoEError) {
        guard mask.isEmpty || mask.count == tokens else {
            throw .input(name: "mask", value: "\(mask.count) values", expectation: "\(tokens), one a token, or none")
        }
    }

    /// Sequences of a length in the batch.
    func sequences(of length: Int) throws(MoEError) -> Int {
        guard length >= 1, tokens.isMultiple(of: length) else {
            throw .input(
                name: "sequenceLength", value: "\(length)", expectation: "1 or more, and a divisor of \(tokens) tokens")
        }
        return tokens / length
    }
}
