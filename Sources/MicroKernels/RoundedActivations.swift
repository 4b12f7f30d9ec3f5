/// Arithmetic on activations that are rounded to a smaller type on their way to an expert's matrices: what the kernels over
/// bytes (``ByteDotSet``) and over pairs of bf16 numbers (``PairDotSet``) share.
///
/// Tiles of rows hold groups of ``RoundedActivations/group`` values of k one after the other, a block of k at the distance of
/// fp32 tiles. What a group holds is the set's own.
public protocol RoundingArithmetic: VectorArithmetic {
    /// Words that a group takes for each row.
    static var groupWords: Int { get }
    /// Rounds a group's values of one row to its place in a group of a tile of `rows` rows.
    static func roundGroup(
        _ values: UnsafePointer<Float>, to group: UnsafeMutablePointer<UInt32>, row: Int, rows: Int)

    /// Panels that a sweep takes together.
    static func panelsTogether(_ sweep: PanelSweep) -> Int
    /// Multiplies all tiles of rows by one block of k of some panels; the sums go to the accumulators, which earlier blocks'
    /// are in.
    static func multiply(_ sweep: PanelSweep, _ block: PanelBlock)
}

/// What is the same for all of them.
public enum RoundedActivations {
    /// Values of k that are rounded together. A block has eight such groups.
    @_alwaysEmitIntoClient @inline(__always) public static var group: Int { 32 }
}

extension RoundingArithmetic {
    /// Words of a tile of `rows` rows from its block's start to the group that k is in.
    @_alwaysEmitIntoClient @inline(__always)
    static func groupOffset(_ k: Int, rows: Int) -> Int {
        ((k & 255) / RoundedActivations.group) &* groupWords &* rows
    }
}

/// One reduction block of neighbouring panels.
public struct PanelBlock {
    /// Its number, and its values of k.
    public var index: Int
    public var depth: Int
    /// The first panel's block, how many panels there are, and the distance from one to the next in bytes.
    public var weights: UnsafeRawPointer
    public var panels: Int
    public var panelStride: Int
    /// The block that follows, to be asked for meanwhile.
    public var next: UnsafeRawPointer

    @_alwaysEmitIntoClient @inline(__always)
    init(
        index: Int, depth: Int, weights: UnsafeRawPointer, panels: Int, panelStride: Int, next: UnsafeRawPointer
    ) {
        self.index = index
        self.depth = depth
        self.weights = weights
        self.panels = panels
        self.panelStride = panelStride
        self.next = next
    }
}

/// The macro-kernel over rounded activations: as ``sweepPanels(_:_:)``, but nothing is widened, and the epilogue leaves rounded
/// numbers for the next reduction. `sweep.widened` holds a group for each row.
@_alwaysEmitIntoClient @inline(__always)
public func sweepRounded<ISA: RoundingArithmetic>(_: ISA.Type, _ sweep: PanelSweep) {
    let panelStride = sweep.format.panelBytes(sweep.depth)
    let fullBlock = sweep.format.blockBytes(PanelLayout.block)
    let blocks = PanelLayout.blocks(sweep.depth)
    let together = ISA.panelsTogether(sweep)

    var panel = sweep.panels.lowerBound
    while panel < sweep.panels.upperBound {
        let group = panel &+ together <= sweep.panels.upperBound ? together : 1
        let stream: UnsafeRawPointer = sweep.weights + panel &* panelStride
        var block = 0
        while block < blocks {
            let source: UnsafeRawPointer = stream + block &* fullBlock
            let next = sweep.next(
                block &+ 1 < blocks ? source + fullBlock : nil, panel: panel &+ group, panelStride: panelStride)
            ISA.multiply(
                sweep,
                PanelBlock(
                    index: block, depth: min(PanelLayout.block, sweep.depth &- block &* PanelLayout.block),
                    weights: source, panels: group, panelStride: panelStride, next: next))
            block &+= 1
        }
        finishPanels(ISA.self, sweep, panel..<panel &+ group, sums: sweep.accumulators) {
            panel, columns, sums, tiles, tileStride in
            collect(ISA.self, sweep, panel: panel, columns: columns, sums, tiles, tileStride)
        }
        panel &+= group
    }
}

/// Puts a panel's activations beside those of its neighbours; a group of them is rounded together. Ranges of panels begin at
/// whole groups.
@_alwaysEmitIntoClient @inline(__always)
func collect<ISA: RoundingArithmetic>(
    _: ISA.Type, _ sweep: PanelSweep, panel: Int, columns: Int, _ sums: UnsafePointer<Float>,
    _ tiles: UnsafeMutablePointer<Float>, _ tileStride: Int
) {
    let column: Int = panel &* columns
    let at: Int = column & (RoundedActivations.group &- 1)
    var row = 0
    while row < sweep.tiles.rows {
        let from = UnsafeRawPointer(sums + row &* 16)
        let to = UnsafeMutableRawPointer(sweep.widened + (row &* RoundedActivations.group &+ at))
        to.storeBytes(of: from.loadUnaligned(as: SIMD8<Float>.self), as: SIMD8<Float>.self)
        if columns == 16 {
            (to + 32).storeBytes(of: (from + 32).loadUnaligned(as: SIMD8<Float>.self), as: SIMD8<Float>.self)
        }
        if panel &+ 1 == sweep.panels.upperBound {
            // What the group lacks is 0, as its weights are.
            var rest: Int = at &+ columns
            while rest < RoundedActivations.group {
                sweep.widened[row &* RoundedActivations.group &+ rest] = 0
                rest &+= 1
            }
        }
        row &+= 1
    }
    guard at &+ columns == RoundedActivations.group || panel &+ 1 == sweep.panels.upperBound else { return }
    let block: Int = (column >> 8) &* sweep.blockStride
    var tile = 0
    while tile < sweep.tiles.count {
        let first = sweep.tiles.start(tile)
        let rows = sweep.tiles.start(tile &+ 1) &- first
        let place = UnsafeMutableRawPointer(
            tiles + (tile &* tileStride &+ block &+ ISA.groupOffset(column, rows: rows)))
        var row = 0
        while row < rows {
            ISA.roundGroup(
                sweep.widened + (first &+ row) &* RoundedActivations.group,
                to: place.assumingMemoryBound(to: UInt32.self), row: row, rows: rows)
            row &+= 1
        }
        tile &+= 1
    }
}

/// As ``packRows(_:_:)``, rounded.
@_alwaysEmitIntoClient @inline(__always)
public func roundRows<ISA: RoundingArithmetic>(_: ISA.Type, _ pack: PackRows) {
    var staged = InlineArray<4, SIMD8<Float>>(repeating: SIMD8(repeating: 0))
    let tile = UnsafeMutableRawPointer(pack.tile).assumingMemoryBound(to: UInt32.self)
    withUnsafeMutableBytes(of: &staged) { staged in
        let values = staged.baseAddress!.assumingMemoryBound(to: Float.self)
        var row = 0
        while row < pack.rows {
            var k = 0
            while k < pack.depth {
                var part = 0
                while part < 4 {
                    let at: Int = k &+ part &* 8
                    let width = min(max(pack.depth &- at, 0), 8)
                    stage(ISA.self, pack, row: row, k: at, width: width, into: values + part &* 8)
                    part &+= 1
                }
                let group: Int = ISA.groupOffset(k, rows: pack.rows)
                ISA.roundGroup(
                    values, to: tile + ((k >> 8) &* pack.blockStride &+ group), row: row, rows: pack.rows)
                k &+= RoundedActivations.group
            }
            row &+= 1
        }
    }
}
