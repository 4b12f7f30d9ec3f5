/// Scores, top-k and weights of some tokens, from their logits.
public struct RouterSelection {
    /// [tokens, stride]; the first `experts` of a row are the experts' logits.
    public var logits: UnsafePointer<Float>
    public var stride: Int
    public var experts: Int
    public var topK: Int
    public var tokens: Range<Int>
    /// [tokens, topK]
    public var indices: UnsafeMutablePointer<Int32>
    public var weights: UnsafeMutablePointer<Float>
    /// Whether weights are divided by their sum plus epsilon.
    public var normalise: Bool
    public var epsilon: Float
    public var scale: Float

    @_alwaysEmitIntoClient @inline(__always)
    public init(
        logits: UnsafePointer<Float>, stride: Int, experts: Int, topK: Int, tokens: Range<Int>,
        indices: UnsafeMutablePointer<Int32>, weights: UnsafeMutablePointer<Float>, normalise: Bool, epsilon: Float,
        scale: Float
    ) {
        self.logits = logits
        self.stride = stride
        self.experts = experts
        self.topK = topK
        self.tokens = tokens
        self.indices = indices
        self.weights = weights
        self.normalise = normalise
        self.epsilon = epsilon
        self.scale = scale
    }
}

/// A logit as the router uses it: NaN and -∞ count as the lowest finite number, +∞ as the highest. So ids are always in range,
/// weights always finite, and a poisoned token disturbs no other.
@_alwaysEmitIntoClient @inline(__always)
func usable(_ logit: Float) -> Float {
    let limit: Float = 3.402_823_47e38
    // Written so that NaN falls to the last branch.
    return logit >= limit ? limit : logit > -limit ? logit : -limit
}

/// Softmax routing. The experts are chosen by logit: softmax keeps their order, but its rounding would invent ties.
@_alwaysEmitIntoClient @inline(__always)
public func selectExperts<ISA: InstructionSet>(_: ISA.Type, _ selection: RouterSelection) {
    let k = selection.topK
    var token = selection.tokens.lowerBound
    while token < selection.tokens.upperBound {
        let row = selection.logits + token &* selection.stride
        let ids = selection.indices + token &* k
        let weights = selection.weights + token &* k
        topK(row, selection.experts, k, ids, weights)

        // Here `weights` holds the chosen logits, the highest first, so weights[0] is the maximum of the row.
        let highest = weights[0]
        let sum = sumOfExponentials(ISA.self, row, selection.experts, highest)
        exponentials(ISA.self, weights, k, highest)
        scale(weights, k, by: 1 / sum)
        if selection.normalise {
            let total = sumInLanes(weights, k) + selection.epsilon
            scale(weights, k, by: 1 / total)
        }
        if selection.scale != 1 { scale(weights, k, by: selection.scale) }
        token &+= 1
    }
}

/// The k largest logits, largest first, ties to the lower index. One pass with insertion: a logit that beats the smallest kept
/// one is rare, about k·ln(E/k) times a row.
@_alwaysEmitIntoClient @inline(__always)
func topK(
    _ logits: UnsafePointer<Float>, _ count: Int, _ k: Int, _ ids: UnsafeMutablePointer<Int32>,
    _ kept: UnsafeMutablePointer<Float>
) {
    var filled = 0
    var index = 0
    while index < count {
        let value = usable(logits[index])
        if filled < k || value > kept[k &- 1] {
            var place = filled < k ? filled : k &- 1
            while place > 0 && value > kept[place &- 1] {
                kept[place] = kept[place &- 1]
                ids[place] = ids[place &- 1]
                place &-= 1
            }
            kept[place] = value
            ids[place] = Int32(truncatingIfNeeded: index)
            if filled < k { filled &+= 1 }
        }
        index &+= 1
    }
}

/// Σ exp(z - highest) over a row: 16 lanes, each over every sixteenth element, joined by one fixed tree.
@_alwaysEmitIntoClient @inline(__always)
func sumOfExponentials<ISA: InstructionSet>(
    _: ISA.Type, _ row: UnsafePointer<Float>, _ count: Int, _ highest: Float
) -> Float {
    var low = SIMD8<Float>(repeating: 0)
    var high = SIMD8<Float>(repeating: 0)
    var index = 0
    while index < count {
        low += shiftedExponential(ISA.self, row, index, count, highest)
        high += shiftedExponential(ISA.self, row, index &+ 8, count, highest)
        index &+= 16
    }
    return joinLanes(low, high)
}

/// exp(z - highest) of eight elements, 0 past the end.
@_alwaysEmitIntoClient @inline(__always)
func shiftedExponential<ISA: InstructionSet>(
    _: ISA.Type, _ row: UnsafePointer<Float>, _ index: Int, _ count: Int, _ highest: Float
) -> SIMD8<Float> {
    typealias V = SIMD8<Float>
    let zero = V(repeating: 0)
    var z = zero
    var beyond = zero
    if index &+ 8 <= count {
        z = UnsafeRawPointer(row + index).loadUnaligned(as: V.self)
    } else {
        beyond = V(repeating: 1)
        var lane = 0
        while index &+ lane < count {
            z[lane] = row[index &+ lane]
            beyond[lane] = 0
            lane &+= 1
        }
    }
    let limit = V(repeating: 3.402_823_47e38)
    z.replace(with: limit, where: z .> limit)
    z.replace(with: zero - limit, where: .!(z .>= (zero - limit)))
    let e = exponential(ISA.self, z - V(repeating: highest))
    return e.replacing(with: zero, where: beyond .!= zero)
}

/// The tree: lanes i and i + 8, then i and i + 4, i + 2, i + 1.
@_alwaysEmitIntoClient @inline(__always)
func joinLanes(_ low: SIMD8<Float>, _ high: SIMD8<Float>) -> Float {
    let eight = low + high
    let four = eight.lowHalf + eight.highHalf
    let two = four.lowHalf + four.highHalf
    return two[0] + two[1]
}

/// Σ of a short row in the same lanes and tree.
@_alwaysEmitIntoClient @inline(__always)
func sumInLanes(_ values: UnsafePointer<Float>, _ count: Int) -> Float {
    var low = SIMD8<Float>(repeating: 0)
    var high = SIMD8<Float>(repeating: 0)
    var index = 0
    while index < count {
        if index & 8 == 0 { low[index & 7] += values[index] } else { high[index & 7] += values[index] }
        index &+= 1
    }
    return joinLanes(low, high)
}

/// values ← exp(values - highest)
@_alwaysEmitIntoClient @inline(__always)
func exponentials<ISA: InstructionSet>(
    _: ISA.Type, _ values: UnsafeMutablePointer<Float>, _ count: Int, _ highest: Float
) {
    var index = 0
    while index < count {
        let e = shiftedExponential(ISA.self, values, index, count, highest)
        var lane = 0
        while lane < 8 && index &+ lane < count {
            values[index &+ lane] = e[lane]
            lane &+= 1
        }
        index &+= 8
    }
}

@_alwaysEmitIntoClient @inline(__always)
func scale(_ values: UnsafeMutablePointer<Float>, _ count: Int, by factor: Float) {
    var index = 0
    while index < count {
        values[index] *= factor
        index &+= 1
    }
}
