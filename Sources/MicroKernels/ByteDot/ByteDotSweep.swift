/// The kernels over int8 activations, as the library calls them: once a task.
public protocol ByteDotKernels: Sendable {
    /// The instructions they use, as processors' manuals name them.
    var name: String { get }
    /// The most panels a sweep of a single tile takes together; accumulators must hold rows × 16 × this many floats.
    var panelsTogether: Int { get }
    /// Lanes of its vectors.
    var lanes: Int { get }
    func sweep(_ sweep: PanelSweep)
    func pack(_ pack: PackRows)
    /// Independent chains of products of bytes, twelve of them: what the arithmetic of one core can do with codes of that kind. Does
    /// 12 × lanes × 8 operations a step.
    func dotChains(_ code: PanelCode, steps: Int, seed: UInt32) -> UInt32
}

/// The macro-kernel over bytes: as ``sweepPanels(_:_:)``, but activations are bytes (see ``ByteDotLayout``), codes are not widened, and the
/// epilogue leaves bytes for the next reduction. `sweep.widened` holds 32 floats for each row.
@_alwaysEmitIntoClient @inline(__always)
public func sweepByteDots<ISA: ByteDotSet>(_: ISA.Type, _ sweep: PanelSweep) {
    guard case .byteDot(let coding) = sweep.format else { return }
    let panelStride = sweep.format.panelBytes(sweep.depth)
    let fullBlock = sweep.format.blockBytes(PanelLayout.block)
    let split = sweep.tiles
    let blocks = PanelLayout.blocks(sweep.depth)
    let cPanelStride: Int = split.rows &* 16
    let together = split.count == 1 ? ISA.panelsTogether(rows: split.rows) : 1
    let a = UnsafeRawPointer(sweep.activations).assumingMemoryBound(to: UInt32.self)

    var panel = sweep.panels.lowerBound
    while panel < sweep.panels.upperBound {
        let group = panel &+ together <= sweep.panels.upperBound ? together : 1
        let stream: UnsafeRawPointer = sweep.weights + panel &* panelStride
        var place = UnsafeMutableRawPointer(sweep.accumulators)
        var cleared = 0
        while cleared < group &* split.rows {
            place.storeBytes(of: SIMD16(repeating: 0), as: SIMD16<Float>.self)
            place += 64
            cleared &+= 1
        }
        var block = 0
        while block < blocks {
            let depth = min(PanelLayout.block, sweep.depth &- block &* PanelLayout.block)
            let source: UnsafeRawPointer = stream + block &* fullBlock
            // The first tile of rows asks for the next block; for the others the weights are in the first-level cache.
            let over = panel &+ group >= sweep.panels.upperBound
            let following: UnsafeRawPointer = sweep.weights + (panel &+ group) &* panelStride
            let next: UnsafeRawPointer =
                block &+ 1 < blocks ? source + fullBlock : over ? sweep.after ?? following : following
            var tile = 0
            while tile < split.count {
                let first = split.start(tile)
                let rows = split.start(tile &+ 1) &- first
                let operands = ByteDotOperands(
                    a: a + (tile &* sweep.tileStride &+ block &* sweep.blockStride), tileRows: rows, b: source,
                    panelStride: panelStride, groups: (depth &+ 31) >> 5, coding: coding,
                    scaleBytes: coding.scaleBytes(depth), c: sweep.accumulators + first &* 16,
                    cPanelStride: cPanelStride, asks: tile == 0, next: next)
                ISA.tile(coding, rows: rows, panels: group, operands)
                tile &+= 1
            }
            block &+= 1
        }
        var member = 0
        while member < group {
            finishBytes(
                ISA.self, sweep, panel: panel &+ member, sums: sweep.accumulators + member &* cPanelStride)
            member &+= 1
        }
        panel &+= group
    }
}

/// As ``finishPanel(_:_:panel:sums:)``, with bytes for the next reduction.
@_alwaysEmitIntoClient @inline(__always)
func finishBytes<ISA: ByteDotSet>(
    _: ISA.Type, _ sweep: PanelSweep, panel: Int, sums: UnsafeMutablePointer<Float>
) {
    addBiases(sweep, panel: panel, sums: sums)
    switch sweep.epilogue {
    case .activate(let code, let gated, let tiles, let tileStride):
        activate(ISA.self, code, gated: gated, rows: sweep.tiles.rows, sums)
        collect(ISA.self, sweep, panel: panel, columns: gated ? 8 : 16, sums, tiles, tileStride)
    case .activateClamped(let clamp, let tiles, let tileStride):
        activateClamped(ISA.self, clamp, rows: sweep.tiles.rows, sums)
        collect(ISA.self, sweep, panel: panel, columns: 8, sums, tiles, tileStride)
    case .store(let output, let columns):
        storePanel(sweep, panel: panel, sums: sums, to: output, columns: columns)
    }
}

/// Puts a panel's activations beside those of its neighbours; 32 of them are rounded together. Ranges of panels begin at whole groups.
@_alwaysEmitIntoClient @inline(__always)
func collect<ISA: ByteDotSet>(
    _: ISA.Type, _ sweep: PanelSweep, panel: Int, columns: Int, _ sums: UnsafePointer<Float>,
    _ tiles: UnsafeMutablePointer<Float>, _ tileStride: Int
) {
    let column: Int = panel &* columns
    let at: Int = column & 31
    var row = 0
    while row < sweep.tiles.rows {
        let from = UnsafeRawPointer(sums + row &* 16)
        let to = UnsafeMutableRawPointer(sweep.widened + (row &* 32 &+ at))
        to.storeBytes(of: from.loadUnaligned(as: SIMD8<Float>.self), as: SIMD8<Float>.self)
        if columns == 16 {
            (to + 32).storeBytes(of: (from + 32).loadUnaligned(as: SIMD8<Float>.self), as: SIMD8<Float>.self)
        }
        if panel &+ 1 == sweep.panels.upperBound {
            // What the group lacks is 0, as its weights are.
            var rest: Int = at &+ columns
            while rest < 32 {
                sweep.widened[row &* 32 &+ rest] = 0
                rest &+= 1
            }
        }
        row &+= 1
    }
    guard at &+ columns == 32 || panel &+ 1 == sweep.panels.upperBound else { return }
    let block: Int = (column >> 8) &* sweep.blockStride
    var tile = 0
    while tile < sweep.tiles.count {
        let first = sweep.tiles.start(tile)
        let rows = sweep.tiles.start(tile &+ 1) &- first
        let group: Int = ((column & 255) >> 5) &* ByteDotLayout.groupWords &* rows
        let place = UnsafeMutableRawPointer(tiles + (tile &* tileStride &+ block &+ group))
        var row = 0
        while row < rows {
            quantiseGroup(
                ISA.self, sweep.widened + (first &+ row) &* 32, to: place.assumingMemoryBound(to: UInt32.self),
                row: row, rows: rows)
            row &+= 1
        }
        tile &+= 1
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
