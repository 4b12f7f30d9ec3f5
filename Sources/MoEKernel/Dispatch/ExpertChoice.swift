/// Experts choose tokens: each takes the ones that score it highest.
///
/// Source: Zhou et al., "Mixture-of-Experts with Expert Choice Routing", 2022.
struct ExpertChoice {
    let tokens: Int
    let experts: Int
    /// [tokens, experts]: before, every expert in order and its score; after, a token's experts first, in ascending order, then
    /// the others with weight 0.
    let indices: UnsafeMutablePointer<Int32>
    let weights: UnsafeMutablePointer<Float>
    /// [tokens, experts]: whether a slot holds a choice.
    let kept: UnsafeMutablePointer<UInt8>

    /// Tokens an expert takes of `tokens` that may be chosen.
    static func capacity(tokens: Int, experts: Int, topK: Int) -> Int {
        min((tokens * topK + experts - 1) / experts, tokens)
    }

    /// Marks the tokens that one expert takes in its column of `kept`. `order` is scratch, [tokens].
    func choose(
        _ expert: Int, capacity: Int, mask: UnsafePointer<UInt8>?, order: UnsafeMutablePointer<Int32>
    ) {
        var count = 0
        for token in 0..<tokens {
            kept[token * experts + expert] = 0
            if mask.map({ $0[token] == 0 }) ?? false { continue }
            order[count] = Int32(token)
            count += 1
        }
        func precedes(_ a: Int32, _ b: Int32) -> Bool {
            let (first, second) = (weights[Int(a) * experts + expert], weights[Int(b) * experts + expert])
            return first != second ? first > second : a < b
        }
        heapify(order, count, precedes)
        var left = min(capacity, count)
        while left > 0 {
            kept[Int(order[0]) * experts + expert] = 1
            count -= 1
            left -= 1
            order[0] = order[count]
            if count > 0 { siftDown(order, 0, count, precedes) }
        }
    }

    /// Moves a token's experts to the front.
    func gather(_ token: Int) {
        let row = token * experts
        var filled = 0
        for expert in 0..<experts where kept[row + expert] != 0 {
            indices[row + filled] = Int32(expert)
            weights[row + filled] = weights[row + expert]
            filled += 1
        }
        var place = filled
        for expert in 0..<experts where kept[row + expert] == 0 {
            indices[row + place] = Int32(expert)
            place += 1
        }
        for slot in 0..<experts {
            kept[row + slot] = slot < filled ? 1 : 0
            if slot >= filled { weights[row + slot] = 0 }
        }
    }
}

extension MoEConfiguration {
    /// The most rows that the experts of a batch can have together. Where experts choose, each takes its share, rounded up.
    ///
    /// - Parameter slots: Experts that a token may visit.
    func mostRows(tokens: Int, slots: Int) -> Int {
        let pairs = tokens * slots
        return router.isExpertChoice ? min(pairs, tokens * topK + choices) : pairs
    }
}
