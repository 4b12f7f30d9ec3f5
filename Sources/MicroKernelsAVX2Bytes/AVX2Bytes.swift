import CPlatform
import MicroKernels

/// Products of bytes by `vpmaddubsw`, which sums pairs in 16 bits. Nibbles need no more for a whole group of 32 k; bytes are
/// widened to 32 bits pair by pair.
enum AVX2Bytes: ByteDotSet, FusedArithmetic {
    typealias Vector = SIMD8<Float>
    typealias Words = SIMD8<UInt32>

    @inline(__always) static func bfloat16Columns(_ row: UnsafeRawPointer, _ index: Int) -> Vector {
        let words = row.loadUnaligned(as: Words.self)
        return unsafeBitCast(index == 0 ? words &<< 16 : cp_upper_halves8(words), to: Vector.self)
    }

    @inline(__always) static var byteOffset: Int32 { 0 }
    @inline(__always) static func byteDot(_ sum: Words, _ weights: Words, _ activations: Words) -> Words {
        cp_byte_dot8(sum, weights, activations)
    }
    @inline(__always) static func nibbleDot(_ sum: Words, _ weights: Words, _ activations: Words) -> Words {
        cp_nibble_dot8(sum, weights, activations)
    }
    @inline(__always) static func total(_ sum: Words) -> Words { cp_pair_sums8(sum) }
    @inline(__always) static func floats(_ sums: Words) -> Vector { cp_floats_of8(sums) }
    @inline(__always) static func roundedBytes(_ values: SIMD8<Float>) -> UInt64 { cp_rounded_bytes8(values) }

    @inline(__always) static var sharedPanels: Int { 1 }
    @inline(__always) static func panelsTogether(rows: Int) -> Int { rows == 1 ? 2 : 1 }

    @inline(__always)
    static func tile<Code: ByteDotCode, Zero: ZeroPointRule>(
        _: Code.Type, _: Zero.Type, rows: Int, panels: Int, _ operands: ByteDotOperands
    ) {
        // Processors with AVX-512 that lack VNNI come here with tiles of up to twelve rows.
        let split = TileSplit(rows: rows, tileRows: 6)
        var part = 0
        while part < split.count {
            let first = split.start(part)
            let operands = part == 0 ? operands : operands.rows(from: first)
            switch (split.start(part &+ 1) &- first, panels) {
            case (1, 2): ByteDotTile<AVX2Bytes, Code, Zero, 1, 4>.run(operands)
            case (1, _): ByteDotTile<AVX2Bytes, Code, Zero, 1, 2>.run(operands)
            case (2, _): ByteDotTile<AVX2Bytes, Code, Zero, 2, 2>.run(operands)
            case (3, _): ByteDotTile<AVX2Bytes, Code, Zero, 3, 2>.run(operands)
            case (4, _): ByteDotTile<AVX2Bytes, Code, Zero, 4, 2>.run(operands)
            // Ten sums or twelve leave sixteen registers no room for weights: the first three rows, then the others.
            case (5, _):
                ByteDotTile<AVX2Bytes, Code, Zero, 3, 2>.run(operands)
                ByteDotTile<AVX2Bytes, Code, Zero, 2, 2>.run(operands.rows(from: 3))
            default:
                ByteDotTile<AVX2Bytes, Code, Zero, 3, 2>.run(operands)
                ByteDotTile<AVX2Bytes, Code, Zero, 3, 2>.run(operands.rows(from: 3))
            }
            part &+= 1
        }
    }
}

/// The byte kernels of x86-64-v3 processors.
public struct AVX2ByteDots: ByteDotKernels {
    public init() {}
    public var name: String { "AVX2 vpmaddubsw" }
    public var panelsTogether: Int { AVX2Bytes.panelsTogether(rows: 1) }
    public var lanes: Int { AVX2Bytes.Vector.scalarCount }
    public func sweep(_ sweep: PanelSweep) { sweepRounded(AVX2Bytes.self, sweep) }
    public func pack(_ pack: PackRows) { roundRows(AVX2Bytes.self, pack) }
    public func dotChains(_ code: PanelCode, steps: Int, seed: UInt32) -> UInt32 {
        byteDotChains(AVX2Bytes.self, code, steps: steps, seed: seed)
    }
}
