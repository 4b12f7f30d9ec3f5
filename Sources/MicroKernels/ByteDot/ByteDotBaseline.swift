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
    @inline(__always) static func roundedBytes(_ values: SIMD8<Float>) -> UInt64 {
        UInt64(cp_rounded_bytes4(values.lowHalf)) | UInt64(cp_rounded_bytes4(values.highHalf)) << 32
    }

    @inline(__always) static var sharedPanels: Int { 1 }
    @inline(__always) static func panelsTogether(rows: Int) -> Int { 1 }

    @inline(__always)
    static func tile<Code: ByteDotCode, Zero: ZeroPointRule>(
        _: Code.Type, _: Zero.Type, rows: Int, panels: Int, _ operands: ByteDotOperands
    ) {
        switch (rows, panels) {
        case (1, _): ByteDotTile<Baseline, Code, Zero, 1, 4>.run(operands)
        case (2, _): ByteDotTile<Baseline, Code, Zero, 2, 4>.run(operands)
        default: ByteDotTile<Baseline, Code, Zero, 3, 4>.run(operands)
        }
    }
}

/// The byte kernels of every machine of the architecture.
public struct BaselineByteDots: ByteDotKernels {
    public init() {}
    public var name: String { "plain" }
    public var panelsTogether: Int { Baseline.panelsTogether(rows: 1) }
    public var lanes: Int { Baseline.Vector.scalarCount }
    public func sweep(_ sweep: PanelSweep) { sweepRounded(Baseline.self, sweep) }
    public func pack(_ pack: PackRows) { roundRows(Baseline.self, pack) }
    public func dotChains(_ code: PanelCode, steps: Int, seed: UInt32) -> UInt32 {
        byteDotChains(Baseline.self, code, steps: steps, seed: seed)
    }
}
