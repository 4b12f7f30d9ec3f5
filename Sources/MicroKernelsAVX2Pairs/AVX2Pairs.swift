import CPlatform
import MicroKernels

/// Pairs of bf16 numbers on x86-64-v3, widened: two fused multiply-adds do what `vdpbf16ps` does.
enum AVX2Pairs: PairDotSet, FusedArithmetic {
    typealias Vector = SIMD8<Float>
    typealias Words = SIMD8<UInt32>

    @inline(__always) static var passes: Int { 2 }
    @inline(__always) static func weights(_ words: UnsafeRawPointer, pass: Int) -> Vector {
        widened(words.loadUnaligned(as: Words.self), pass: pass)
    }
    @inline(__always) static func activations(_ word: UnsafePointer<UInt32>, pass: Int) -> Vector {
        widened(pass == 0 ? Words(repeating: word.pointee) : cp_repeated8(word.pointee), pass: pass)
    }
    @inline(__always) private static func widened(_ words: Words, pass: Int) -> Vector {
        unsafeBitCast(pass == 0 ? cp_upper_halves8(words) : words &<< 16, to: Vector.self)
    }
    @inline(__always) static func pairDot(_ sum: Vector, _ weights: Vector, _ activations: Vector) -> Vector {
        sum.addingProduct(weights, activations)
    }
    @inline(__always) static func settled(_ sum: Vector) -> Vector { cp_settle8(sum) }

    @inline(__always) static var sharedPanels: Int { 1 }
    @inline(__always) static func panelsTogether(rows: Int) -> Int { rows <= 2 ? 2 : 1 }

    // Six rows of two vectors are twelve sums, two vectors of weights, a broadcast and a mask: all sixteen registers.
    @inline(never) static func tile(rows: Int, panels: Int, _ operands: PairDotOperands) {
        // Processors with AVX-512 that lack its bf16 instructions come here with tiles of up to twelve rows.
        let split = TileSplit(rows: rows, tileRows: 6)
        var part = 0
        while part < split.count {
            let first = split.start(part)
            let operands = part == 0 ? operands : operands.rows(from: first)
            switch (split.start(part &+ 1) &- first, panels) {
            case (1, 2): PairDotTile<AVX2Pairs, 1, 4>.run(operands)
            case (2, 2): PairDotTile<AVX2Pairs, 2, 4>.run(operands)
            case (1, _): PairDotTile<AVX2Pairs, 1, 2>.run(operands)
            case (2, _): PairDotTile<AVX2Pairs, 2, 2>.run(operands)
            case (3, _): PairDotTile<AVX2Pairs, 3, 2>.run(operands)
            case (4, _): PairDotTile<AVX2Pairs, 4, 2>.run(operands)
            case (5, _): PairDotTile<AVX2Pairs, 5, 2>.run(operands)
            default: PairDotTile<AVX2Pairs, 6, 2>.run(operands)
            }
            part &+= 1
        }
    }
}

/// The kernels over pairs of x86-64-v3 processors.
public struct AVX2PairDots: PairDotKernels {
    public init() {}
    public var name: String { "AVX2 vfmadd231ps" }
    public var panelsTogether: Int { AVX2Pairs.panelsTogether(rows: 1) }
    public var lanes: Int { AVX2Pairs.Vector.scalarCount }
    public func sweep(_ sweep: PanelSweep) { sweepRounded(AVX2Pairs.self, sweep) }
    public func pack(_ pack: PackRows) { roundRows(AVX2Pairs.self, pack) }
    public func dotChains(steps: Int, seed: UInt32) -> Float { pairDotChains(AVX2Pairs.self, steps: steps, seed: seed) }
}
