import CPlatform
import MicroKernels

/// x86-64-v3 with AVX-VNNI: `vpdpbusd` on eight lanes.
enum AVX2VNNI: ByteDotSet, FusedArithmetic {
    typealias Vector = SIMD8<Float>
    typealias Words = SIMD8<UInt32>

    @inline(__always) static func bfloat16Columns(_ row: UnsafeRawPointer, _ index: Int) -> Vector {
        let words = row.loadUnaligned(as: Words.self)
        return unsafeBitCast(index == 0 ? words &<< 16 : cp_upper_halves8(words), to: Vector.self)
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
    @inline(__always) static func roundedBytes(_ values: SIMD8<Float>) -> UInt64 { cp_rounded_bytes8(values) }

    // Two sums are started each cycle and take four or five: eight in flight are the aim, but two rows of two panels spill.
    @inline(__always) static var sharedPanels: Int { 1 }
    @inline(__always) static func panelsTogether(rows: Int) -> Int { rows == 1 ? 2 : 1 }

    @inline(__always)
    static func tile<Code: ByteDotCode, Zero: ZeroPointRule>(
        _: Code.Type, _: Zero.Type, rows: Int, panels: Int, _ operands: ByteDotOperands
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
}

/// The byte kernels of processors with AVX-VNNI.
public struct AVX2VNNIByteDots: ByteDotKernels {
    public init() {}
    public var name: String { "AVX-VNNI vpdpbusd" }
    public var panelsTogether: Int { AVX2VNNI.panelsTogether(rows: 1) }
    public var lanes: Int { AVX2VNNI.Vector.scalarCount }
    public func sweep(_ sweep: PanelSweep) { sweepRounded(AVX2VNNI.self, sweep) }
    public func pack(_ pack: PackRows) { roundRows(AVX2VNNI.self, pack) }
    public func dotChains(_ code: PanelCode, steps: Int, seed: UInt32) -> UInt32 {
        byteDotChains(AVX2VNNI.self, code, steps: steps, seed: seed)
    }
}
