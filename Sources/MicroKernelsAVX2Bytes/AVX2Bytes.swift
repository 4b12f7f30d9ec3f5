import CPlatform
import MicroKernels

/// Products of bytes by `vpmaddubsw`, which sums pairs in 16 bits. Nibbles need no more for a whole group of 32 k; bytes are widened to 32
/// bits pair by pair.
enum AVX2Bytes: ByteDotSet {
    typealias Vector = SIMD8<Float>
    typealias Words = SIMD8<UInt32>

    @inline(__always)
    static func multiplyAdd(_ sum: SIMD8<Float>, _ a: SIMD8<Float>, _ b: SIMD8<Float>) -> SIMD8<Float> {
        sum.addingProduct(a, b)
    }
    @inline(__always)
    static func multiplyAdd(_ sum: SIMD16<Float>, _ a: SIMD16<Float>, _ b: SIMD16<Float>) -> SIMD16<Float> {
        sum.addingProduct(a, b)
    }
    @inline(__always)
    static func multiplyAdd(_ sum: Float, _ a: Float, _ b: Float) -> Float { sum.addingProduct(a, b) }

    @inline(__always) static func bfloat16Columns(_ row: UnsafeRawPointer, _ index: Int) -> Vector {
        let words = row.loadUnaligned(as: Words.self)
        return unsafeBitCast(index == 0 ? words &<< 16 : words & Words(repeating: 0xffff_0000), to: Vector.self)
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
    @inline(__always) static func less(_ sums: Words, _ activationSum: UnsafePointer<Int32>, shift: UInt32) -> Words {
        sums &- Words(repeating: UInt32(bitPattern: activationSum.pointee) &<< shift)
    }
    @inline(__always) static func lowNibbles(_ words: Words) -> Words { words & Words(repeating: 0x0f0f_0f0f) }
    @inline(__always) static func highNibbles(_ words: Words) -> Words {
        (words &>> 4) & Words(repeating: 0x0f0f_0f0f)
    }
    @inline(__always) static func repeated(_ word: UnsafePointer<UInt32>) -> Words { Words(repeating: word.pointee) }
    @inline(__always) static func roundedBytes(_ values: SIMD8<Float>) -> UInt64 { cp_rounded_bytes8(values) }

    @inline(__always) static func panelsTogether(rows: Int) -> Int { rows == 1 ? 2 : 1 }

    // Private, so that no unspecialised body of it is kept: that would be emitted under a name all modules share.
    @inline(__always)
    private static func rows<Code: ByteDotCode, Zero: ZeroPointRule>(
        _: Code.Type, _: Zero.Type, _ rows: Int, _ panels: Int, _ operands: ByteDotOperands
    ) {
        switch (rows, panels) {
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
    }

    @inline(never)
    static func tile(
        _ code: PanelCode, zeroPoints: Bool, rows count: Int, panels: Int, _ operands: ByteDotOperands
    ) {
        var (count, operands) = (count, operands)
        // Processors with AVX-512 that lack VNNI come here with tiles of up to twelve rows.
        while count > 6 {
            tile(code, zeroPoints: zeroPoints, rows: 6, panels: 1, operands)
            operands = operands.rows(from: 6)
            count &-= 6
        }
        switch (code, zeroPoints) {
        case (.int4, false): rows(Int4Dot.self, Symmetric.self, count, panels, operands)
        case (.int4, true): rows(Int4Dot.self, ZeroPointed.self, count, panels, operands)
        case (_, false): rows(Int8Dot.self, Symmetric.self, count, panels, operands)
        case (_, true): rows(Int8Dot.self, ZeroPointed.self, count, panels, operands)
        }
    }
}

/// The byte kernels of x86-64-v3 processors.
public struct AVX2ByteDots: ByteDotKernels {
    public init() {}
    public var name: String { "AVX2 vpmaddubsw" }
    public var panelsTogether: Int { 2 }
    public var lanes: Int { 8 }
    public func sweep(_ sweep: PanelSweep) { sweepByteDots(AVX2Bytes.self, sweep) }
    public func pack(_ pack: PackRows) { quantiseRows(AVX2Bytes.self, pack) }
    public func dotChains(_ code: PanelCode, steps: Int, seed: UInt32) -> UInt32 {
        byteDotChains(AVX2Bytes.self, code, steps: steps, seed: seed)
    }
}
