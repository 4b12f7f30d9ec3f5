/// The lowest and highest logit there is for the router; see ``usable(_:)``.
@_alwaysEmitIntoClient @inline(__always)
var highestLogit: Float { 3.402_823_47e38 }

/// Logits as the router uses them: NaN and -∞ count as the lowest finite number, +∞ as the highest. So ids are always in range,
/// weights always finite, and a poisoned token disturbs no other.
@_alwaysEmitIntoClient @inline(__always)
func usable(_ logits: SIMD8<Float>) -> SIMD8<Float> {
    typealias V = SIMD8<Float>
    let limit = V(repeating: highestLogit)
    var z = logits
    z.replace(with: limit, where: z .> limit)
    // Written so that NaN falls under it.
    z.replace(with: V(repeating: 0) - limit, where: .!(z .>= (V(repeating: 0) - limit)))
    return z
}

/// Copies a row of logits, each made usable, padded with the lowest to a whole number of 16; returns the highest.
@_alwaysEmitIntoClient @inline(__always)
func cleanLogits(_ row: UnsafePointer<Float>, _ count: Int, into target: UnsafeMutablePointer<Float>) -> Float {
    typealias V = SIMD8<Float>
    var highest = V(repeating: 0 - highestLogit)
    let padded = RouterSelection.padded(count)
    var index = 0
    while index < padded {
        var z = V(repeating: 0 - highestLogit)
        if index &+ 8 <= count {
            z = usable(UnsafeRawPointer(row + index).loadUnaligned(as: V.self))
        } else {
            var lane = 0
            while index &+ lane < count {
                z[lane] = row[index &+ lane]
                lane &+= 1
            }
            z = usable(z)
        }
        highest.replace(with: z, where: z .> highest)
        UnsafeMutableRawPointer(target + index).storeBytes(of: z, as: V.self)
        index &+= 8
    }
    var best = highest[0]
    for lane in 1..<8 where highest[lane] > best { best = highest[lane] }
    return best
}

/// σ(a)
public enum Sigmoid: ElementwiseFunction {
    @_alwaysEmitIntoClient @inline(__always)
    public static func apply<ISA: VectorArithmetic>(_: ISA.Type, _ a: SIMD16<Float>) -> SIMD16<Float> {
        let one = SIMD16<Float>(repeating: 1)
        return one / (one + exponential(ISA.self, SIMD16<Float>(repeating: 0) - a))
    }
}

/// √log(1 + eᵃ)
public enum SqrtSoftplus: ElementwiseFunction {
    @_alwaysEmitIntoClient @inline(__always)
    public static func apply<ISA: VectorArithmetic>(_: ISA.Type, _ a: SIMD16<Float>) -> SIMD16<Float> {
        typealias V = SIMD16<Float>
        let zero = V(repeating: 0)
        // log(1 + eᵃ) = max(a, 0) + log(1 + e) with e = e^-|a| in 0...1, and log(1 + e) = 2 artanh s for s = e/(2 + e) ≤ 1/3, an odd
        // series whose terms beyond s¹⁵ are below 10⁻⁹ of the sum.
        let negative = a .< zero
        let e = exponential(ISA.self, a.replacing(with: zero - a, where: .!negative))
        let s = e / (V(repeating: 2) + e)
        let square = s * s
        var p = V(repeating: 0.066_666_666_7)
        p = ISA.multiplyAdd(V(repeating: 0.076_923_076_9), p, square)
        p = ISA.multiplyAdd(V(repeating: 0.090_909_090_9), p, square)
        p = ISA.multiplyAdd(V(repeating: 0.111_111_111), p, square)
        p = ISA.multiplyAdd(V(repeating: 0.142_857_143), p, square)
        p = ISA.multiplyAdd(V(repeating: 0.2), p, square)
        p = ISA.multiplyAdd(V(repeating: 0.333_333_333), p, square)
        p = ISA.multiplyAdd(V(repeating: 1), p, square)
        let softplus = (s + s) * p + a.replacing(with: zero, where: negative)
        return softplus.squareRoot()
    }
}

/// The first `count` of sixteen values, the others `beyond`. Layers of eight experts are common, so eight are no single ones.
@_alwaysEmitIntoClient @inline(__always)
func firstOfSixteen(_ values: UnsafePointer<Float>, _ count: Int, beyond: Float) -> SIMD16<Float> {
    if count >= 16 { return UnsafeRawPointer(values).loadUnaligned(as: SIMD16<Float>.self) }
    var part = SIMD16<Float>(repeating: beyond)
    var lane = 0
    if count >= 8 {
        part.lowHalf = UnsafeRawPointer(values).loadUnaligned(as: SIMD8<Float>.self)
        lane = 8
    }
    while lane < count {
        part[lane] = values[lane]
        lane &+= 1
    }
    return part
}

/// The other way round.
@_alwaysEmitIntoClient @inline(__always)
func storeFirst(_ count: Int, of part: SIMD16<Float>, to values: UnsafeMutablePointer<Float>) {
    let place = UnsafeMutableRawPointer(values)
    if count >= 16 { return place.storeBytes(of: part, as: SIMD16<Float>.self) }
    var lane = 0
    if count >= 8 {
        place.storeBytes(of: part.lowHalf, as: SIMD8<Float>.self)
        lane = 8
    }
    while lane < count {
        values[lane] = part[lane]
        lane &+= 1
    }
}

/// values ← function(values)
@_alwaysEmitIntoClient @inline(__always)
func applyInPlace<ISA: InstructionSet, Function: ElementwiseFunction>(
    _: ISA.Type, _: Function.Type, _ values: UnsafeMutablePointer<Float>, _ count: Int
) {
    var index = 0
    while index < count {
        let part = firstOfSixteen(values + index, count &- index, beyond: 0)
        storeFirst(count &- index, of: Function.apply(ISA.self, part), to: values + index)
        index &+= 16
    }
}

/// Σ exp(z - highest) over a row: 16 lanes, each over every sixteenth element, joined by one fixed tree.
@_alwaysEmitIntoClient @inline(__always)
func sumOfExponentials<ISA: InstructionSet>(
    _: ISA.Type, _ row: UnsafePointer<Float>, _ count: Int, _ highest: Float
) -> Float {
    var sums = SIMD16<Float>(repeating: 0)
    var index = 0
    while index < count {
        sums += shiftedExponential(ISA.self, row, index, count, highest)
        index &+= 16
    }
    return joinLanes(sums.lowHalf, sums.highHalf)
}

/// exp(z - highest) of sixteen elements, 0 past the end.
@_alwaysEmitIntoClient @inline(__always)
func shiftedExponential<ISA: InstructionSet>(
    _: ISA.Type, _ row: UnsafePointer<Float>, _ index: Int, _ count: Int, _ highest: Float
) -> SIMD16<Float> {
    let z = firstOfSixteen(row + index, count &- index, beyond: -.infinity)
    return exponential(ISA.self, z - SIMD16(repeating: highest))
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
        storeFirst(count &- index, of: e, to: values + index)
        index &+= 16
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
