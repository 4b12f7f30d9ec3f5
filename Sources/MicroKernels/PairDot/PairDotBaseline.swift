/// Pairs on every machine of the architecture, widened: the arithmetic of ``Baseline``. Where that multiplies and then adds,
/// sums of these products are still those of a fused multiply-add.
enum BaselinePairs: PairDotSet {
    typealias Vector = SIMD4<Float>
    typealias Words = SIMD4<UInt32>

    @inline(__always)
    static func multiplyAdd(_ sum: Vector, _ a: Vector, _ b: Vector) -> Vector { Baseline.multiplyAdd(sum, a, b) }
    @inline(__always)
    static func multiplyAdd(_ sum: SIMD8<Float>, _ a: SIMD8<Float>, _ b: SIMD8<Float>) -> SIMD8<Float> {
        Baseline.multiplyAdd(sum, a, b)
    }
    @inline(__always)
    static func multiplyAdd(_ sum: SIMD16<Float>, _ a: SIMD16<Float>, _ b: SIMD16<Float>) -> SIMD16<Float> {
        Baseline.multiplyAdd(sum, a, b)
    }
    @inline(__always)
    static func multiplyAdd(_ sum: Float, _ a: Float, _ b: Float) -> Float { Baseline.multiplyAdd(sum, a, b) }

    @inline(__always) static var passes: Int { 2 }
    @inline(__always) static func weights(_ words: UnsafeRawPointer, pass: Int) -> Vector {
        widened(words.loadUnaligned(as: Words.self), pass: pass)
    }
    @inline(__always) static func activations(_ word: UnsafePointer<UInt32>, pass: Int) -> Vector {
        widened(Words(repeating: word.pointee), pass: pass)
    }
    @inline(__always) private static func widened(_ words: Words, pass: Int) -> Vector {
        unsafeBitCast(pass == 0 ? words & Words(repeating: 0xffff_0000) : words &<< 16, to: Vector.self)
    }
    @inline(__always) static func pairDot(_ sum: Vector, _ weights: Vector, _ activations: Vector) -> Vector {
        Baseline.multiplyAdd(sum, weights, activations)
    }
    @inline(__always) static func settled(_ sum: Vector) -> Vector { sum }

    @inline(__always) static var sharedPanels: Int { 1 }
    @inline(__always) static func panelsTogether(rows: Int) -> Int { 1 }

    @inline(never) static func tile(rows: Int, panels: Int, _ operands: PairDotOperands) {
        switch rows {
        case 1: PairDotTile<BaselinePairs, 1, 4>.run(operands)
        case 2: PairDotTile<BaselinePairs, 2, 4>.run(operands)
        default: PairDotTile<BaselinePairs, 3, 4>.run(operands)
        }
    }
}

/// The kernels over pairs of every machine of the architecture.
public struct BaselinePairDots: PairDotKernels {
    public init() {}
    public var name: String { "plain" }
    public var panelsTogether: Int { BaselinePairs.panelsTogether(rows: 1) }
    public var lanes: Int { BaselinePairs.Vector.scalarCount }
    public func sweep(_ sweep: PanelSweep) { sweepRounded(BaselinePairs.self, sweep) }
    public func pack(_ pack: PackRows) { roundRows(BaselinePairs.self, pack) }
    public func dotChains(steps: Int, seed: UInt32) -> Float {
        pairDotChains(BaselinePairs.self, steps: steps, seed: seed)
    }
}
