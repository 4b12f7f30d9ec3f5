import CPlatform

/// Chooses each token's experts and weighs them.
///
/// Every score is a monotone function of its logit, so without a selection bias experts are compared by logit: rounding in a
/// score would invent ties.
@_alwaysEmitIntoClient @inline(__always)
public func selectExperts<ISA: InstructionSet>(_: ISA.Type, _ selection: RouterSelection) {
    let k = selection.topK
    let padded = RouterSelection.padded(selection.choices)
    let z = selection.scratch
    var token = selection.tokens.lowerBound
    while token < selection.tokens.upperBound {
        let row = selection.logits + token &* selection.stride
        let ids = selection.indices + token &* k
        let weights = selection.weights + token &* k
        let highest = cleanLogits(row, selection.choices, into: z)
        switch selection.rule {
        case .sparseMixer(let epsilon):
            mixSparsely(ISA.self, z, z + padded, selection.choices, highest, epsilon, ids, weights)
        case .hierarchical(let groups, let keep, let offset):
            chooseTwice(ISA.self, selection, row + offset, groups, keep, ids, weights)
        default:
            let sum =
                selection.score == .softmax ? sumOfExponentials(ISA.self, z, selection.choices, highest) : 0
            choose(ISA.self, selection, token, highest, sum, ids, weights)
            var slot = 0
            while slot < k {
                weights[slot] = z[Int(ids[slot])]
                slot &+= 1
            }
            scoreInPlace(ISA.self, selection.score, weights, k, highest, sum)
            transform(ISA.self, selection.transform, weights, k)
        }
        normalise(selection.normalisation, weights, k)
        if let factors = selection.expertScale {
            var slot = 0
            while slot < k {
                weights[slot] *= factors[Int(ids[slot])]
                slot &+= 1
            }
        }
        if selection.scale != 1 { scale(weights, k, by: selection.scale) }
        limit(weights, k)
        token &+= 1
    }
}

/// Logits → scores. For softmax with the maximum and the sum of exponentials of the set that they are scored in.
@_alwaysEmitIntoClient @inline(__always)
func scoreInPlace<ISA: InstructionSet>(
    _: ISA.Type, _ score: ScoreCode, _ values: UnsafeMutablePointer<Float>, _ count: Int, _ highest: Float, _ sum: Float
) {
    switch score {
    case .softmax:
        exponentials(ISA.self, values, count, highest)
        scale(values, count, by: 1 / sum)
    case .sigmoid: applyInPlace(ISA.self, Sigmoid.self, values, count)
    case .sqrtSoftplus: applyInPlace(ISA.self, SqrtSoftplus.self, values, count)
    case .logits: break
    }
}

/// The k experts of a token, best first, by the rule. `weights` is scratch for their keys.
@_alwaysEmitIntoClient @inline(__always)
func choose<ISA: InstructionSet>(
    _: ISA.Type, _ selection: RouterSelection, _ token: Int, _ highest: Float, _ sum: Float,
    _ ids: UnsafeMutablePointer<Int32>, _ weights: UnsafeMutablePointer<Float>
) {
    let k = selection.topK
    let count = selection.choices
    let padded = RouterSelection.padded(count)
    let z = selection.scratch
    switch selection.rule {
    case .table(let table, let tokenIDs):
        let listed = table + Int(tokenIDs[token]) &* k
        var slot = 0
        while slot < k {
            ids[slot] = listed[slot]
            slot &+= 1
        }
        return
    case .everyExpert:
        var slot = 0
        while slot < k {
            ids[slot] = Int32(truncatingIfNeeded: slot)
            slot &+= 1
        }
        return
    default: break
    }

    // Keys to choose by: logits, or scores plus bias.
    var keys = UnsafePointer(z)
    var topTwo = false
    if case .grouped(_, _, true) = selection.rule { topTwo = true }
    let scores = z + padded
    if selection.bias != nil || topTwo {
        scores.update(from: z, count: padded)
        scoreInPlace(ISA.self, selection.score, scores, padded, highest, sum)
        if let bias = selection.bias {
            var index = 0
            while index < count {
                scores[index] += bias[index]
                index &+= 1
            }
            keys = UnsafePointer(scores)
        }
    }
    guard case .grouped(let groups, let keep, _) = selection.rule, keep < groups else {
        _ = topK(keys, 0, count, k, filled: 0, ids, weights)
        return
    }
    let size = count / groups
    let ranks = scores + padded
    let bestRanks = ranks + padded
    var group = 0
    while group < groups {
        ranks[group] = rank(topTwo ? UnsafePointer(scores) : keys, group &* size, size, topTwo: topTwo)
        group &+= 1
    }
    let keptGroups = UnsafeMutableRawPointer(bestRanks + padded).assumingMemoryBound(to: Int32.self)
    _ = topK(ranks, 0, groups, keep, filled: 0, keptGroups, bestRanks)
    // In ascending order, so that ties go to the lower expert.
    var filled = 0
    group = 0
    while group < groups {
        var place = 0
        while place < keep && keptGroups[place] != Int32(truncatingIfNeeded: group) { place &+= 1 }
        if place < keep {
            filled = topK(keys, group &* size, (group &+ 1) &* size, k, filled: filled, ids, weights)
        }
        group &+= 1
    }
}

/// A group's best key, or the sum of its two best.
@_alwaysEmitIntoClient @inline(__always)
func rank(_ keys: UnsafePointer<Float>, _ first: Int, _ size: Int, topTwo: Bool) -> Float {
    var best = keys[first]
    var second = 0 - highestLogit
    var index = first &+ 1
    while index < first &+ size {
        let key = keys[index]
        let lesser = key > best ? best : key
        best = key > best ? key : best
        second = lesser > second ? lesser : second
        index &+= 1
    }
    return topTwo ? best + second : best
}

/// Two levels: the best groups by the logits of the upper router, then experts within each by theirs. A weight is the product
/// of both scores.
@_alwaysEmitIntoClient @inline(__always)
func chooseTwice<ISA: InstructionSet>(
    _: ISA.Type, _ selection: RouterSelection, _ groupRow: UnsafePointer<Float>, _ groups: Int, _ keep: Int,
    _ ids: UnsafeMutablePointer<Int32>, _ weights: UnsafeMutablePointer<Float>
) {
    let padded = RouterSelection.padded(selection.choices)
    let z = selection.scratch
    let groupLogits = z + padded
    let groupWeights = groupLogits + padded
    let groupIDs = UnsafeMutableRawPointer(groupWeights + padded).assumingMemoryBound(to: Int32.self)
    let highest = cleanLogits(groupRow, groups, into: groupLogits)
    _ = topK(groupLogits, 0, groups, keep, filled: 0, groupIDs, groupWeights)
    let sum = selection.score == .softmax ? sumOfExponentials(ISA.self, groupLogits, groups, highest) : 0
    scoreInPlace(ISA.self, selection.score, groupWeights, keep, highest, sum)
    let size = selection.choices / groups
    let each = selection.topK / keep
    var group = 0
    while group < keep {
        let first: Int = Int(groupIDs[group]) &* size
        let inner = weights + group &* each
        _ = topK(z, first, first &+ size, each, filled: 0, ids + group &* each, inner)
        let best = inner[0]
        let total = selection.score == .softmax ? sumOfExponentials(ISA.self, z + first, size, best) : 0
        scoreInPlace(ISA.self, selection.score, inner, each, best, total)
        scale(inner, each, by: groupWeights[group])
        group &+= 1
    }
    transform(ISA.self, selection.transform, weights, selection.topK)
}

/// Phi-3.5's two experts. For each: the highest logit m of those left, and the softmax over the logits that lie within
/// (m - zⱼ) / max(|zⱼ|, m) ≤ 2ε of it, taken at m. The second time the first expert is out, and distances still use its logit.
@_alwaysEmitIntoClient @inline(__always)
func mixSparsely<ISA: InstructionSet>(
    _: ISA.Type, _ z: UnsafeMutablePointer<Float>, _ survivors: UnsafeMutablePointer<Float>, _ count: Int,
    _ first: Float, _ epsilon: Float, _ ids: UnsafeMutablePointer<Int32>, _ weights: UnsafeMutablePointer<Float>
) {
    var kept = (first, first)
    withUnsafeMutableBytes(of: &kept) {
        _ = topK(z, 0, count, 2, filled: 0, ids, $0.baseAddress!.assumingMemoryBound(to: Float.self))
    }
    var round = 0
    while round < 2 {
        let highest = round == 0 ? kept.0 : kept.1
        var index = 0
        while index < count {
            let logit = z[index]
            let magnitude = logit < 0 ? 0 - logit : logit
            let distance = (highest - logit) / (magnitude > highest ? magnitude : highest)
            // A NaN, zero over zero, stays.
            let out = distance > 2 * epsilon || (round == 1 && index == Int(ids[0]))
            survivors[index] = out ? 0 - highestLogit : logit
            index &+= 1
        }
        weights[round] = 1 / sumOfExponentials(ISA.self, survivors, count, highest)
        round &+= 1
    }
}

/// Holds weights that a factor made too large within what fp32 has, so that a token whose logits are huge has finite weights.
@_alwaysEmitIntoClient @inline(__always)
func limit(_ weights: UnsafeMutablePointer<Float>, _ k: Int) {
    var slot = 0
    while slot < k {
        if weights[slot] > highestLogit { weights[slot] = highestLogit }
        if weights[slot] < 0 - highestLogit { weights[slot] = 0 - highestLogit }
        slot &+= 1
    }
}

/// What becomes of the chosen scores.
@_alwaysEmitIntoClient @inline(__always)
func transform<ISA: InstructionSet>(
    _: ISA.Type, _ code: TransformCode, _ weights: UnsafeMutablePointer<Float>, _ k: Int
) {
    switch code {
    case .none: break
    case .softmax:
        var highest = weights[0]
        var slot = 1
        while slot < k {
            if weights[slot] > highest { highest = weights[slot] }
            slot &+= 1
        }
        exponentials(ISA.self, weights, k, highest)
        scale(weights, k, by: 1 / sumInLanes(weights, k))
    case .sigmoid: applyInPlace(ISA.self, Sigmoid.self, weights, k)
    }
}

/// Divides by what the code says. Where that is zero all weights are, and stay so.
@_alwaysEmitIntoClient @inline(__always)
func normalise(_ code: NormalisationCode, _ weights: UnsafeMutablePointer<Float>, _ k: Int) {
    var divisor: Float = 1
    switch code {
    case .none: return
    case .sum(let epsilon): divisor = sumInLanes(weights, k) + epsilon
    case .clampedSum(let minimum):
        let sum = sumInLanes(weights, k)
        divisor = sum > minimum ? sum : minimum
    case .norm(let p): divisor = norm(weights, k, p)
    }
    // Divided, not multiplied by the reciprocal: that of a tiny sum is no number.
    if divisor != 0 {
        var slot = 0
        while slot < k {
            weights[slot] /= divisor
            slot &+= 1
        }
    }
}

/// (Σ |w|^p)^(1/p), in Double: pow is the C library's, whose result does not depend on our instruction set.
@_alwaysEmitIntoClient @inline(__always)
func norm(_ weights: UnsafePointer<Float>, _ k: Int, _ p: Float) -> Float {
    var sum = 0.0
    var slot = 0
    while slot < k {
        let magnitude = Double(weights[slot] < 0 ? 0 - weights[slot] : weights[slot])
        sum += p == 1 ? magnitude : p == 2 ? magnitude * magnitude : pow(magnitude, Double(p))
        slot &+= 1
    }
    return Float(p == 1 ? sum : p == 2 ? sum.squareRoot() : pow(sum, 1 / Double(p)))
}
