import CPlatform
import MicroKernels

/// x86-64-v3 with AVX-VNNI: `vpdpbusd` on eight lanes.
enum AVX2VNNI: ByteDotSet {
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

    // The instruction takes weights without signs: with the sign bit turned they are 128 more.
    @inline(__always) static var byteOffset: Int32 { 128 }
    @inline(__always) static func byteDot(_ sum: Words, _ weights: Words, _ activations: Words) -> Words {
        cp_unsigned_dot8(sum, weights ^ Words(repeating: 0x8080_8080), activations)
    }
    @inline(__always) static func nibbleDot(_ sum: Words, _ weights: Words, _ activations: Words) -> Words {
        cp_unsigned_dot8(sum, weights, activations)
    }
    @inline(__always) static func total(_ sum: Words) -> Words { sum }
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

    // Two sums are started each cycle and take four or five: eight in flight are the aim, but two rows of two panels spill.
    @inline(__always) static func panelsTogether(rows: Int) -> Int { rows == 1 ? 2 : 1 }

    // Private, so that no unspecialised body of it is kept: that would be emitted under a name all modules share.
    @inline(__always)
    private static func rows<Code: ByteDotCode, Zero: ZeroPointRule>(
        _: Code.Type, _: Zero.Type, _ rows: Int, _ panels: Int, _ operands: ByteDotOperands
    ) {
        switch (rows, panels) {
        case (1, 2): ByteDotTile<AVX2VNNI, Code, Zero, 1, 4>.run(operands)
        case (1, _): ByteDotTile<AVX2VNNI, Code, Zero, 1, 2>.run(operands)
        case (2, _): ByteDotTile<AVX2VNNI, Code, Zero, 2, 2>.run(operands)
        case (3, _): ByteDotTile<AVX2VNNI, Code, Zero, 3, 2>.run(operands)
        case (4, _): ByteDotTile<AVX2VNNI, Code, Zero, 4, 2>.run(operands)
        // Ten sums or twelve leave sixteen registers no room for weights: the first three rows, then the others.
        case (5, _):
            ByteDotTile<AVX2VNNI, Code, Zero, 3, 2>.run(operands)
            ByteDotTile<AVX2VNNI, Code, Zero, 2, 2>.run(operands.rows(from: 3))
        default:
            ByteDotTile<AVX2VNNI, Code, Zero, 3, 2>.run(operands)
            ByteDotTile<AVX2VNNI, Code, Zero, 3, 2>.run(operands.rows(from: 3))
        }
    }

    @inline(never)
    static func tile(
        _ code: PanelCode, zeroPoints: Bool, rows count: Int, panels: Int, _ operands: ByteDotOperands
    ) {
        switch (code, zeroPoints) {
        case (.int4, false): rows(Int4Dot.self, Symmetric.self, count, panels, operands)
        case (.int4, true): rows(Int4Dot.self, ZeroPointed.self, count, panels, operands)
        case (_, false): rows(Int8Dot.self, Symmetric.self, count, panels, operands)
        case (_, true): rows(Int8Dot.self, ZeroPointed.self, count, panels, operands)
        }
    }
}

/// The byte kernels of processors with AVX-VNNI.
public struct AVX2VNNIByteDots: ByteDotKernels {
    public init() {}
    public var name: String { "AVX-VNNI vpdpbusd" }
    public var panelsTogether: Int { 2 }
    public var lanes: Int { 8 }
    public func sweep(_ sweep: PanelSweep) { sweepByteDots(AVX2VNNI.self, sweep) }
    public func pack(_ pack: PackRows) { quantiseRows(AVX2VNNI.self, pack) }
    public func dotChains(_ code: PanelCode, steps: Int, seed: UInt32) -> UInt32 {
        byteDotChains(AVX2VNNI.self, code, steps: steps, seed: seed)
    }
}
