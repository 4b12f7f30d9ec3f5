import CPlatform
import MicroKernels

/// x86-64-v4 with AVX512-BF16: `vdpbf16ps` on sixteen lanes.
enum AVX512BF16: PairDotSet, FusedArithmetic {
    typealias Vector = SIMD16<Float>
    typealias Words = SIMD16<UInt32>

    @inline(__always) static var passes: Int { 1 }
    @inline(__always) static func weights(_ words: UnsafeRawPointer, pass: Int) -> Words {
        words.loadUnaligned(as: Words.self)
    }
    @inline(__always) static func activations(_ word: UnsafePointer<UInt32>, pass: Int) -> Words {
        Words(repeating: word.pointee)
    }
    @inline(__always) static func pairDot(_ sum: Vector, _ weights: Words, _ activations: Words) -> Vector {
        cp_pair_dot16(sum, weights, activations)
    }
    @inline(__always) static func settled(_ sum: Vector) -> Vector { sum }

    @inline(__always) static var sharedPanels: Int { 2 }
    @inline(__always) static func panelsTogether(rows: Int) -> Int { widePanelsTogether(rows: rows) }
    @inline(never) static func tile(rows: Int, panels: Int, _ operands: PairDotOperands) {
        wideTile(rows: rows, panels: panels, operands)
    }
}

/// The kernels over pairs of processors with AVX512-BF16.
public struct AVX512BF16PairDots: PairDotKernels {
    public init() {}
    public var name: String { "AVX512-BF16 vdpbf16ps" }
    public var panelsTogether: Int { AVX512BF16.panelsTogether(rows: 1) }
    public var lanes: Int { AVX512BF16.Vector.scalarCount }
    public func sweep(_ sweep: PanelSweep) { sweepRounded(AVX512BF16.self, sweep) }
    public func pack(_ pack: PackRows) { roundRows(AVX512BF16.self, pack) }
    public func dotChains(steps: Int, seed: UInt32) -> Float {
        pairDotChains(AVX512BF16.self, steps: steps, seed: seed)
    }
}
