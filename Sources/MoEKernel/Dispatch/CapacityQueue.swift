/// Lets a batch's choices queue for their experts and drops those beyond an expert's capacity.
///
/// Works on arrays of a workspace; allocates nothing. O(T·k), and a sort of the tokens or choices where the order asks for one.
struct CapacityQueue {
    let tokens: Int
    let topK: Int
    /// Experts that a capacity holds for; choices of identity experts, whose indices follow, cost nothing and are kept.
    let experts: Int
    /// With identity experts: what an even share is of.
    let choices: Int
    /// [tokens, topK]
    let indices: UnsafePointer<Int32>
    let weights: UnsafePointer<Float>
    /// Results, [tokens, topK].
    let kept: UnsafeMutablePointer<UInt8>
    let applied: UnsafeMutablePointer<Float>
    /// Scratch: [experts] and [tokens, topK].
    let served: UnsafeMutablePointer<Int32>
    let order: UnsafeMutablePointer<Int32>

    /// Fills `kept` and `applied`.
    ///
    /// - Parameters:
    ///   - limit: Choices an expert accepts, in place of the rule's limit.
    ///   - sequenceLength: Tokens of a sequence, a divisor of `tokens`.
    ///   - mask: [tokens], 0 for padding; nil where all tokens are real.
    func serve(_ rule: CapacityRule, limit: Int?, sequenceLength: Int, mask: UnsafePointer<UInt8>?) {
        let span = rule.scope == .sequence ? sequenceLength : tokens
        var first = 0
        while first < tokens {
            let range = first..<min(first + span, tokens)
            let limit = limit ?? rule.limit.choices(tokens: range.count, experts: choices, topK: topK)
            serve(range, rule, Int32(clamping: limit), rule.dropsPadding ? mask : nil)
            first = range.upperBound
        }
        for token in 0..<tokens { weigh(token, rule.renormalisation) }
    }

    private func serve(_ range: Range<Int>, _ rule: CapacityRule, _ limit: Int32, _ mask: UnsafePointer<UInt8>?) {
        for expert in 0..<experts { served[expert] = 0 }
        func admit(_ pair: Int) {
            let expert = Int(indices[pair])
            if let mask, mask[pair / topK] == 0 {
                kept[pair] = 0
            } else if expert >= experts {
                kept[pair] = 1
            } else {
                kept[pair] = served[expert] < limit ? 1 : 0
                served[expert] += 1
            }
        }
        switch rule.order {
        case .position:
            for pair in range.lowerBound * topK..<range.upperBound * topK { admit(pair) }
        case .choiceRank:
            for slot in 0..<topK {
                for token in range { admit(token * topK + slot) }
            }
        case .tokenPriority:
            for (place, token) in range.enumerated() { order[place] = Int32(token) }
            heapSort(order, range.count) { a, b in
                let (first, second) = (best(Int(a)), best(Int(b)))
                return first != second ? first > second : a < b
            }
            for slot in 0..<topK {
                for place in 0..<range.count { admit(Int(order[place]) * topK + slot) }
            }
        case .weight:
            let pairs = range.count * topK
            for place in 0..<pairs { order[place] = Int32(range.lowerBound * topK + place) }
            heapSort(order, pairs) { a, b in
                let (first, second) = (weights[Int(a)], weights[Int(b)])
                return first != second ? first > second : a < b
            }
            for place in 0..<pairs { admit(Int(order[place])) }
        }
    }

    private func best(_ token: Int) -> Float {
        var best = weights[token * topK]
        for slot in 1..<topK { best = max(best, weights[token * topK + slot]) }
        return best
    }

    private func weigh(_ token: Int, _ rule: CapacityRenormalisation) {
        let pairs = token * topK..<(token + 1) * topK
        var divisor: Float = 1
        switch rule {
        case .none: break
        case .allChoices(let minimum):
            var sum: Float = 0
            for pair in pairs { sum += weights[pair] }
            divisor = max(sum, minimum)
        case .keptChoices(let minimum):
            var sum: Float = 0
            for pair in pairs where kept[pair] != 0 { sum += weights[pair] }
            divisor = max(sum, minimum)
        }
        for pair in pairs { applied[pair] = kept[pair] != 0 && divisor != 0 ? weights[pair] / divisor : 0 }
    }
}
