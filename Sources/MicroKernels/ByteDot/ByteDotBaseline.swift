import CPlatform

/// Plain products on x86-64, NEON's where it has the dot product.
extension Baseline: ByteDotSet {
    typealias Words = SIMD4<UInt32>

    @inline(__always) static var byteOffset: Int32 { 0 }
    @inline(__always) static func byteDot(_ sum: Words, _ weights: Words, _ activations: Words) -> Words {
        cp_byte_dot4(sum, weights, activations)
    }
    @inline(__always) static func nibbleDot(_ sum: Words, _ weights: Words, _ activations: Words) -> Words {
        cp_byte_dot4(sum, weights, activations)
    }
    @inline(__always) static func total(_ sum: Words) -> Words { sum }
    @inline(__always) static func floats(_ sums: Words) -> Vector { cp_floats_of4(sums) }
    @inline(__always) static func less(_ sums: Words, _ activationSum: UnsafePointer<Int32>, shift: UInt32) -> Words {
        sums &- Words(repeating: UInt32(bitPattern: activationSum.pointee) &<< shift)
    }
    @inline(__always) static func lowNibbles(_ words: Words) -> Words { words & Words(repeating: 0x0f0f_0f0f) }
    @inline(__always) static func highNibbles(_ words: Words) -> Words {
        (words &>> 4) & Words(repeating: 0x0f0f_0f0f)
    }
    @inline(__always) static func repeated(_ word: UnsafePointer<UInt32>) -> Words { Words(repeating: word.pointee) }
    @inline(__always) static func roundedBytes(_ values: SIMD8<Float>) -> UInt64 {
        UInt64(cp_rounded_bytes4(values.lowHalf)) | UInt64(cp_rounded_bytes4(values.highHalf)) << 32
    }

    @inline(__always) static func panelsTogether(rows: Int) -> Int { 1 }

    // Private, so that no unspecialised body of it is kept: that would be emitted under a name all modules share.
    @inline(__always)
    private static func rows<Code: ByteDotCode, Zero: ZeroPointRule>(
        _: Code.Type, _: Zero.Type, _ rows: Int, _ panels: Int, _ operands: ByteDotOperands
    ) {
        switch (rows, panels) {
        case (1, _): ByteDotTile<Baseline, Code, Zero, 1, 4>.run(operands)
        case (2, _): ByteDotTile<Baseline, Code, Zero, 2, 4>.run(operands)
        default: ByteDotTile<Baseline, Code, Zero, 3, 4>.run(operands)
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

/// The byte kernels of every machine of the architecture.
public struct BaselineByteDots: ByteDotKernels {
    public init() {}
    public var name: String { "plain" }
    public var panelsTogether: Int { 1 }
    public var lanes: Int { 4 }
    public func sweep(_ sweep: PanelSweep) { sweepByteDots(Baseline.self, sweep) }
    public func pack(_ pack: PackRows) { quantiseRows(Baseline.self, pack) }
    public func dotChains(_ code: PanelCode, steps: Int, seed: UInt32) -> UInt32 {
        byteDotChains(Baseline.self, code, steps: steps, seed: seed)
    }
}
