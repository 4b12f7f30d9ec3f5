/// The balance losses of DeepSeek-V2 and V3.
extension Routing {
    /// L = α · mean over sequences b of Σₑ f_be P_be of one layer, without unit, where in a sequence of S tokens
    ///
    ///     f_be = E / (k S) · choices of e in b      P_be = 1/S Σₜ sₜₑ / Σⱼ sₜⱼ
    ///
    /// and s are the scores. Perfect balance in every sequence gives α. Choices are those before any is dropped; where experts
    /// choose, k S is the number of choices in the sequence. E counts identity experts.
    ///
    /// - DeepSeek-V2, `seq_aux` true: `score` softmax (whose sum is 1 already), α `aux_loss_alpha`, 0.001 in the published
    ///   configurations.
    /// - DeepSeek-V3: `score` sigmoid, α 1e-4.
    ///
    /// Source: DeepSeek-AI, "DeepSeek-V2", 2024, and the code published with it; "DeepSeek-V3", 2024, equations 17 to 20.
    ///
    /// - Parameters:
    ///   - sequenceLength: S.
    ///   - score: From logits to s: softmax, sigmoid or sqrtSoftplus.
    ///   - counting: Which experts count as chosen by a token.
    ///   - alpha: A factor on the result; 1 leaves losses of different models comparable.
    /// - Returns: The loss, summed in float64; 0 for no tokens, NaN where a logit is NaN.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for a length that does not divide the tokens, or raw logits as
    ///   scores, which have no shares.
    public func sequenceBalanceLoss(
        sequenceLength: Int, score: RouterScore = .softmax, counting: CountedChoices = .routed, alpha: Double = 1
    ) throws(MoEError) -> Double {
        let sequences = try sequences(of: sequenceLength)
        guard score != .logits else {
            throw .input(name: "score", value: "logits", expectation: "softmax, sigmoid or sqrtSoftplus")
        }
        guard sequences > 0 else { return 0 }
        var sum = 0.0
        var row = [Double](repeating: 0, count: experts)
        var best: [Int] = []
        for sequence in 0..<sequences {
            let range = sequence * sequenceLength..<(sequence + 1) * sequenceLength
            var shares = [Double](repeating: 0, count: experts)
            for token in range { addShares(of: token, by: score, row: &row, to: &shares) }
            var chosen = [Int](repeating: 0, count: experts)
            switch counting {
            case .routed:
                addChoices(of: range, to: &chosen)
            case .bestScores:
                for token in range {
                    findBest(topK, of: token, into: &best)
                    for expert in best { chosen[expert] += 1 }
                }
            }
            // A sequence that no expert chose is balanced as little as it is unbalanced.
            let choices = chosen.reduce(0, +)
            guard choices > 0 else { continue }
            let product = zip(chosen, shares).reduce(0) { $0 + Double($1.0) * $1.1 }
            sum += product * Double(experts) / (Double(choices) * Double(sequenceLength))
        }
        return alpha * sum / Double(sequences)
    }

    /// ``sequenceBalanceLoss(sequenceLength:score:counting:alpha:)`` with the whole batch as one sequence: DeepSeek-V2 with
    /// `seq_aux` false, L = α Σₑ fₑ Pₑ, fₑ = E · share of choices on e. Perfect balance gives α; 0 for no tokens.
    ///
    /// - Parameters:
    ///   - score: From logits to scores: softmax, sigmoid or sqrtSoftplus.
    ///   - counting: Which experts count as chosen by a token.
    ///   - alpha: α, a factor on the result.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for raw logits as scores.
    public func batchBalanceLoss(
        score: RouterScore = .softmax, counting: CountedChoices = .routed, alpha: Double = 1
    ) throws(MoEError) -> Double {
        try sequenceBalanceLoss(sequenceLength: max(tokens, 1), score: score, counting: counting, alpha: alpha)
    }
}

/// Which experts a balance loss counts as chosen by a token.
public enum CountedChoices: Sendable, Hashable, CaseIterable {
    /// Those it was routed to, with selection bias and groups: what DeepSeek-V2's published code counts.
    case routed
    /// Those of its k largest scores, without bias or groups: DeepSeek-V3's paper, read to the letter.
    case bestScores
}
