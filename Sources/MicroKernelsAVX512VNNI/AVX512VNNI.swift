import CPlatform
import MicroKernels

/// x86-64-v4 with AVX512-VNNI: `vpdpbusd` on sixteen lanes.
enum AVX512VNNI: ByteDotSet, FusedArithmetic {
    typealias Vector = SIMD16<Float>
    typealias Words = SIMD16<UInt32>

    @inline(__always) static func bfloat16Columns(_ row: UnsafeRawPointer, _ index: Int) -> Vector {
        cp_widen_bfloat16x16(row)
    }

    // The instruction takes weights without signs: with the sign bit turned they are 128 more.
    @inline(__always) static var byteOffset: Int32 { 128 }
    @inline(__always) static func byteDot(_ sum: Words, _ weights: Words, _ activations: Words) -> Words {
        cp_unsigned_dot16(sum, weights ^ Words(repeating: 0x8080_8080), activations)
    }
    @inline(__always) static func nibbleDot(_ sum: Words, _ weights: Words, _ activations: Words) -> Words {
        cp_unsigned_dot16(sum, weights, activations)
    }
    @inline(__always) static func total(_ sum: Words) -> Words { sum }
    @inline(__always) static func floats(_ sums: Words) -> Vector { cp_floats_of16(sums) }
    @inline(__always) static func roundedBytes(_ values: SIMD8<Float>) -> UInt64 { cp_rounded_bytes8(values) }

    // Twelve rows by two vectors are 24 sums, with two vectors of weights, one of activations and two masks 29 of 32 registers: 14 loads
    // for 24 products, where one panel is 13 for 12.
    @inline(__always) static var sharedPanels: Int { 2 }
    // Two sums are started each cycle and take five: eight in flight are the aim.
    @inline(__always) static func panelsTogether(rows: Int) -> Int { rows == 1 ? 4 : rows <= 4 ? 2 : 1 }

    @inline(__always)
    static func tile<Code: ByteDotCode, Zero: ZeroPointRule>(
        _: Code.Type, _: Zero.Type, rows: Int, panels: Int, _ operands: ByteDotOperands
    ) {
        switch (rows, panels) {
        case (1, 4): ByteDotTile<AVX512VNNI, Code, Zero, 1, 4>.run(operands)
        case (1, 2): ByteDotTile<AVX512VNNI, Code, Zero, 1, 2>.run(operands)
        case (2, 2): ByteDotTile<AVX512VNNI, Code, Zero, 2, 2>.run(operands)
        case (3, 2): ByteDotTile<AVX512VNNI, Code, Zero, 3, 2>.run(operands)
        case (4, 2): ByteDotTile<AVX512VNNI, Code, Zero, 4, 2>.run(operands)
        case (5, 2): ByteDotTile<AVX512VNNI, Code, Zero, 5, 2>.run(operands)
        case (6, 2): ByteDotTile<AVX512VNNI, Code, Zero, 6, 2>.run(operands)
        case (7, 2): ByteDotTile<AVX512VNNI, Code, Zero, 7, 2>.run(operands)
        case (8, 2): ByteDotTile<AVX512VNNI, Code, Zero, 8, 2>.run(operands)
        case (9, 2): ByteDotTile<AVX512VNNI, Code, Zero, 9, 2>.run(operands)
        case (10, 2): ByteDotTile<AVX512VNNI, Code, Zero, 10, 2>.run(operands)
        case (11, 2): ByteDotTile<AVX512VNNI, Code, Zero, 11, 2>.run(operands)
        case (_, 2): ByteDotTile<AVX512VNNI, Code, Zero, 12, 2>.run(operands)
        case (1, _): ByteDotTile<AVX512VNNI, Code, Zero, 1, 1>.run(operands)
        case (2, _): ByteDotTile<AVX512VNNI, Code, Zero, 2, 1>.run(operands)
        case (3, _): ByteDotTile<AVX512VNNI, Code, Zero, 3, 1>.run(operands)
        case (4, _): ByteDotTile<AVX512VNNI, Code, Zero, 4, 1>.run(operands)
        case (5, _): ByteDotTile<AVX512VNNI, Code, Zero, 5, 1>.run(operands)
        case (6, _): ByteDotTile<AVX512VNNI, Code, Zero, 6, 1>.run(operands)
        case (7, _): ByteDotTile<AVX512VNNI, Code, Zero, 7, 1>.run(operands)
        case (8, _): ByteDotTile<AVX512VNNI, Code, Zero, 8, 1>.run(operands)
        case (9, _): ByteDotTile<AVX512VNNI, Code, Zero, 9, 1>.run(operands)
        case (10, _): ByteDotTile<AVX512VNNI, Code, Zero, 10, 1>.run(operands)
        case (11, _): ByteDotTile<AVX512VNNI, Code, Zero, 11, 1>.run(operands)
        default: ByteDotTile<AVX512VNNI, Code, Zero, 12, 1>.run(operands)
        }
    }
}

/// The byte kernels of processors with AVX512-VNNI.
public struct AVX512VNNIByteDots: ByteDotKernels {
    public init() {}
    public var name: String { "AVX512-VNNI vpdpbusd" }
    public var panelsTogether: Int { AVX512VNNI.panelsTogether(rows: 1) }
    public var lanes: Int { AVX512VNNI.Vector.scalarCount }
    public func sweep(_ sweep: PanelSweep) { sweepRounded(AVX512VNNI.self, sweep) }
    public func pack(_ pack: PackRows) { roundRows(AVX512VNNI.self, pack) }
    public func dotChains(_ code: PanelCode, steps: Int, seed: UInt32) -> UInt32 {
        byteDotChains(AVX512VNNI.self, code, steps: steps, seed: seed)
    }
}
