/// exp(x) in fp32 within about one unit in the last place, the same operations on every instruction set. Results below the normal
/// range are 0, arguments above 88.3 give what 88.3 gives, about 2·10³⁸; NaN stays NaN.
@_alwaysEmitIntoClient @inline(__always)
func exponential<ISA: VectorArithmetic>(_: ISA.Type, _ argument: SIMD16<Float>) -> SIMD16<Float> {
    typealias V = SIMD16<Float>
    let result = normalExponential(ISA.self, argument)
    return result.replacing(with: V(repeating: 0), where: argument .< V(repeating: -87.3))
}

/// 1 + exp(x), as in logistic functions. What ``exponential(_:_:)`` makes 0, some 10⁻³⁸, is nothing beside 1.
@_alwaysEmitIntoClient @inline(__always)
func onePlusExponential<ISA: VectorArithmetic>(_: ISA.Type, _ argument: SIMD16<Float>) -> SIMD16<Float> {
    SIMD16(repeating: 1) + normalExponential(ISA.self, argument)
}

/// As ``exponential(_:_:)``, but arguments below -87.3 give what -87.3 gives.
///
/// x = n ln 2 + r with |r| ≤ ½ ln 2; eʳ by a polynomial of degree 6 fitted to that interval with a relative error of 4e-9 (the
/// rounding of its evaluation dominates); the exponent n goes in as bits.
@_alwaysEmitIntoClient @inline(__always)
func normalExponential<ISA: VectorArithmetic>(_: ISA.Type, _ argument: SIMD16<Float>) -> SIMD16<Float> {
    typealias V = SIMD16<Float>
    var x = argument
    x.replace(with: V(repeating: -87.3), where: x .< V(repeating: -87.3))
    x.replace(with: V(repeating: 88.3), where: x .> V(repeating: 88.3))
    // Adding 1.5·2²³ leaves the nearest integer in the low bits of the significand.
    let shifter = V(repeating: 12_582_912)
    let shifted = ISA.multiplyAdd(shifter, x, V(repeating: 1.442_695_04))
    let n = shifted - shifter
    var r = ISA.multiplyAdd(x, n, V(repeating: -0.693_145_752))
    r = ISA.multiplyAdd(r, n, V(repeating: -1.428_606_82e-6))
    var p = V(repeating: 0.001_375_138_18)
    p = ISA.multiplyAdd(V(repeating: 0.008_368_923_33), p, r)
    p = ISA.multiplyAdd(V(repeating: 0.041_669_532_7), p, r)
    p = ISA.multiplyAdd(V(repeating: 0.166_665_182), p, r)
    p = ISA.multiplyAdd(V(repeating: 0.499_999_881), p, r)
    p = ISA.multiplyAdd(V(repeating: 1), p, r)
    p = ISA.multiplyAdd(V(repeating: 1), p, r)
    let exponent = unsafeBitCast(shifted, to: SIMD16<Int32>.self) &<< 23
    return unsafeBitCast(unsafeBitCast(p, to: SIMD16<Int32>.self) &+ exponent, to: V.self)
}

/// An expert's elementwise function over sixteen values: one vector of AVX-512, two or four of the others, which fill the time that each
/// takes.
public protocol ElementwiseFunction {
    static func apply<ISA: VectorArithmetic>(_: ISA.Type, _ a: SIMD16<Float>) -> SIMD16<Float>
}

/// a · σ(a)
public enum Silu: ElementwiseFunction {
    @_alwaysEmitIntoClient @inline(__always)
    public static func apply<ISA: VectorArithmetic>(_: ISA.Type, _ a: SIMD16<Float>) -> SIMD16<Float> {
        a / onePlusExponential(ISA.self, SIMD16<Float>(repeating: 0) - a)
    }
}

/// a · Φ(a), Φ(a) = ½ erfc(-a/√2).
///
/// For z = |a|/√2, erfc(z) = e^(-z²) · erfcx(z), and erfcx(z) = t · P(t) with t = 1/(1 + z/2) and P of degree 9 fitted on
/// 0 ≤ z ≤ 10 with a relative error of 2e-8. Beyond, e^(-z²) has vanished.
public enum Gelu: ElementwiseFunction {
    @_alwaysEmitIntoClient @inline(__always)
    public static func apply<ISA: VectorArithmetic>(_: ISA.Type, _ a: SIMD16<Float>) -> SIMD16<Float> {
        typealias V = SIMD16<Float>
        let negative = a .< V(repeating: 0)
        let z = a.replacing(with: V(repeating: 0) - a, where: negative) * V(repeating: 0.707_106_781)
        let t = V(repeating: 1) / ISA.multiplyAdd(V(repeating: 1), z, V(repeating: 0.5))
        var p = V(repeating: 0.013_534_649_3)
        p = ISA.multiplyAdd(V(repeating: -0.129_614_055), p, t)
        p = ISA.multiplyAdd(V(repeating: 0.442_811_131), p, t)
        p = ISA.multiplyAdd(V(repeating: -0.687_045_813), p, t)
        p = ISA.multiplyAdd(V(repeating: 0.434_151_888), p, t)
        p = ISA.multiplyAdd(V(repeating: -0.104_528_479), p, t)
        p = ISA.multiplyAdd(V(repeating: 0.227_445_513), p, t)
        p = ISA.multiplyAdd(V(repeating: 0.238_288_224), p, t)
        p = ISA.multiplyAdd(V(repeating: 0.282_894_015), p, t)
        p = ISA.multiplyAdd(V(repeating: 0.282_062_888), p, t)
        let tail = exponential(ISA.self, V(repeating: 0) - z * z) * (p * t) * V(repeating: 0.5)
        return a * tail.replacing(with: V(repeating: 1) - tail, where: .!negative)
    }
}

/// ½ a (1 + tanh u) = a · σ(2u) with u = √(2/π)(a + 0.044715 a³)
public enum GeluTanh: ElementwiseFunction {
    @_alwaysEmitIntoClient @inline(__always)
    public static func apply<ISA: VectorArithmetic>(_: ISA.Type, _ a: SIMD16<Float>) -> SIMD16<Float> {
        typealias V = SIMD16<Float>
        let cubic = ISA.multiplyAdd(V(repeating: -1.595_769_12), a * a, V(repeating: -0.071_354_816_3))
        return a / onePlusExponential(ISA.self, a * cubic)
    }
}

/// a · σ(1.702 a)
public enum QuickGelu: ElementwiseFunction {
    @_alwaysEmitIntoClient @inline(__always)
    public static func apply<ISA: VectorArithmetic>(_: ISA.Type, _ a: SIMD16<Float>) -> SIMD16<Float> {
        a / onePlusExponential(ISA.self, a * SIMD16<Float>(repeating: -1.702))
    }
}

/// max(a, 0); NaN stays NaN
public enum Relu: ElementwiseFunction {
    @_alwaysEmitIntoClient @inline(__always)
    public static func apply<ISA: VectorArithmetic>(_: ISA.Type, _ a: SIMD16<Float>) -> SIMD16<Float> {
        a.replacing(with: SIMD16<Float>(repeating: 0), where: a .< SIMD16<Float>(repeating: 0))
    }
}

/// max(a, 0)²
public enum ReluSquared: ElementwiseFunction {
    @_alwaysEmitIntoClient @inline(__always)
    public static func apply<ISA: VectorArithmetic>(_: ISA.Type, _ a: SIMD16<Float>) -> SIMD16<Float> {
        let positive = Relu.apply(ISA.self, a)
        return positive * positive
    }
}

/// min(g, limit) · σ(alpha · min(g, limit)) · (min(max(u, -limit), limit) + offset) of a gate and an up value; NaN stays NaN.
@_alwaysEmitIntoClient @inline(__always)
func clampedGate<ISA: VectorArithmetic>(
    _: ISA.Type, _ clamp: GateClamp, _ gate: SIMD16<Float>, _ up: SIMD16<Float>
) -> SIMD16<Float> {
    typealias V = SIMD16<Float>
    let limit = V(repeating: clamp.limit)
    let lowest = V(repeating: 0) - limit
    let g = gate.replacing(with: limit, where: gate .> limit)
    var u = up.replacing(with: limit, where: up .> limit)
    u = u.replacing(with: lowest, where: u .< lowest)
    return (u + V(repeating: clamp.offset)) * (g / onePlusExponential(ISA.self, g * V(repeating: 0 - clamp.alpha)))
}

/// Bounds and constants of a clamped gate.
public struct GateClamp: Sendable {
    public var limit: Float
    public var alpha: Float
    public var offset: Float

    @_alwaysEmitIntoClient @inline(__always)
    public init(limit: Float, alpha: Float, offset: Float) {
        self.limit = limit
        self.alpha = alpha
        self.offset = offset
    }
}
