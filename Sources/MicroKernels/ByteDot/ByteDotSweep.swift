/// The kernels over int8 activations.
public protocol ByteDotKernels: SweepKernels {
    /// The instructions they use, as processors' manuals name them.
    var name: String { get }
    /// Independent chains of products of bytes, twelve of them: what the arithmetic of one core can do with codes of that kind. Does
    /// 12 × lanes × 8 operations a step.
    func dotChains(_ code: PanelCode, steps: Int, seed: UInt32) -> UInt32
}

extension ByteDotSet {
    @_alwaysEmitIntoClient @inline(__always)
    public static func panelsTogether(_ sweep: PanelSweep) -> Int {
        sweep.tiles.count == 1 ? panelsTogether(rows: sweep.tiles.rows) : 1
    }

    /// Tiles add to the accumulators, once for each group of scales.
    @_alwaysEmitIntoClient @inline(__always)
    public static func multiply(_ sweep: PanelSweep, _ block: PanelBlock) {
        guard case .byteDot(let coding) = sweep.format else { return }
        let split = sweep.tiles
        let cPanelStride: Int = split.rows &* 16
        if block.index == 0 {
            var place = UnsafeMutableRawPointer(sweep.accumulators)
            var cleared = 0
            while cleared < block.panels &* split.rows {
                place.storeBytes(of: SIMD16(repeating: 0), as: SIMD16<Float>.self)
                place += 64
                cleared &+= 1
            }
        }
        let a = UnsafeRawPointer(sweep.activations).assumingMemoryBound(to: UInt32.self)
        var tile = 0
        while tile < split.count {
            let first = split.start(tile)
            let rows = split.start(tile &+ 1) &- first
            // The first tile of rows asks for the next block; for the others the weights are in the first-level cache.
            let operands = ByteDotOperands(
                a: a + (tile &* sweep.tileStride &+ block.index &* sweep.blockStride), tileRows: rows,
                b: block.weights, panelStride: block.panelStride, groups: (block.depth &+ 31) >> 5, coding: coding,
                scaleBytes: coding.scaleBytes(block.depth), c: sweep.accumulators + first &* 16,
                cPanelStride: cPanelStride, asks: tile == 0, next: block.next)
            Self.tile(coding, rows: rows, panels: block.panels, operands)
            tile &+= 1
        }
    }
}

/// See ``ByteDotKernels/dotChains(_:steps:seed:)``. Each chain's result is the next product's factor, or the compiler would find all
/// products alike.
@_alwaysEmitIntoClient @inline(__always)
public func byteDotChains<ISA: ByteDotSet>(_: ISA.Type, _ code: PanelCode, steps: Int, seed: UInt32) -> UInt32 {
    code == .int4
        ? byteDotChains(ISA.self, Int4Dot.self, steps: steps, seed: seed)
        : byteDotChains(ISA.self, Int8Dot.self, steps: steps, seed: seed)
}

@_alwaysEmitIntoClient @inline(__always)
func byteDotChains<ISA: ByteDotSet, Code: ByteDotCode>(
    _: ISA.Type, _: Code.Type, steps: Int, seed: UInt32
) -> UInt32 {
    var sums = InlineArray<12, ISA.Words>(repeating: ISA.Words(repeating: seed))
    for chain in 0..<12 { sums[chain][0] = UInt32(truncatingIfNeeded: chain) }
    let weights = ISA.Words(repeating: seed | 0x0102_0304)
    let start = ISA.Words(repeating: seed)
    var step = 0
    while step < steps {
        for chain in 0..<12 { sums[chain] = Code.add(ISA.self, start, weights, sums[chain]) }
        step &+= 1
    }
    var total: UInt32 = 0
    for chain in 0..<12 { total ^= sums[chain][0] }
    return total
}
