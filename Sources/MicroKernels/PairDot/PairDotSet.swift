/// Arithmetic on pairs of bf16 numbers, as the instruction `vdpbf16ps` does it: with weights (w₀, w₁) and activations (a₀, a₁)
/// of two neighbouring k, a sum becomes
///
///     sum = fma(w₁, a₁, sum)
///     sum = fma(w₀, a₀, sum)
///
/// (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, VDPBF16PS: the second products first, each
/// accumulation rounded once, to nearest, even ones in the middle.) The product of two bf16 numbers is exact in fp32, so a
/// multiplication and an addition make the same sum, and all sets' results are the same bits. But for numbers below fp32's
/// normal range, 2⁻¹²⁶: the instruction takes those that come in for zero, and leaves zero for those that go out, whatever the
/// control register says.
public protocol PairDotSet: RoundingArithmetic {
    /// What sums are multiplied with: pairs, or one of each pair's numbers as fp32.
    associatedtype Factor: SIMD

    /// Passes over a pair: one where an instruction multiplies pairs; else two, of multiply-adds with the second numbers (pass
    /// 0) and with the first ones (pass 1). In one pass the halves of all factors would take more registers than there are
    /// beside the sums.
    static var passes: Int { get }
    /// A vector of weights, as many words of pairs as lanes.
    static func weights(_ words: UnsafeRawPointer, pass: Int) -> Factor
    /// One word of activations in all lanes.
    static func activations(_ word: UnsafePointer<UInt32>, pass: Int) -> Factor
    /// The sum after one pass.
    static func pairDot(_ sum: Vector, _ weights: Factor, _ activations: Factor) -> Vector
    /// The same vector, after which the compiler starts on what follows, and not before.
    static func settled(_ sum: Vector) -> Vector

    /// Runs one register tile; each set lists the shapes that fill its registers without spilling. `panels` is 1,
    /// ``sharedPanels``, or a power of two up to ``panelsTogether(rows:)``.
    static func tile(rows: Int, panels: Int, _ operands: PairDotOperands)
    /// The most panels that several tiles of rows take together.
    static var sharedPanels: Int { get }
    /// Panels taken together by a lone tile of rows, so that enough sums are in flight to hide their latency.
    static func panelsTogether(rows: Int) -> Int
}

/// What a register tile works on; its depth counts pairs, and its activations are words of pairs.
public struct PairDotOperands {
    public var tile: TileOperands
    /// Rows that the tile is laid out for.
    public var tileRows: Int

    @_alwaysEmitIntoClient @inline(__always)
    init(_ tile: TileOperands, tileRows: Int) {
        self.tile = tile
        self.tileRows = tileRows
    }

    /// The same for the rows from `row` on, which ask for nothing but what they have.
    @_alwaysEmitIntoClient @inline(__always)
    public func rows(from row: Int) -> PairDotOperands {
        var rest = self
        rest.tile.next = rest.tile.b
        rest.tile.nextStep = 0
        rest.tile.a += row
        rest.tile.c += row &* 16
        return rest
    }
}

extension PairDotSet {
    /// A group's numbers as words of pairs, those of a pair of k side by side for all rows.
    @_alwaysEmitIntoClient @inline(__always) public static var groupWords: Int { RoundedActivations.group / 2 }

    @_alwaysEmitIntoClient @inline(__always)
    public static func roundGroup(
        _ values: UnsafePointer<Float>, to group: UnsafeMutablePointer<UInt32>, row: Int, rows: Int
    ) {
        let raw = UnsafeRawPointer(values)
        var place = group + row
        for part in 0..<4 {
            let pairs = roundedPairs((raw + part &* 32).loadUnaligned(as: SIMD8<UInt32>.self))
            for pair in 0..<4 {
                place.pointee = pairs[pair]
                place += rows
            }
        }
    }

    @_alwaysEmitIntoClient @inline(__always)
    public static func panelsTogether(_ sweep: PanelSweep) -> Int {
        sweep.tiles.count == 1
            ? sweep.tuning.streamed(panelsTogether(rows: sweep.tiles.rows), rows: sweep.tiles.rows, rowBytes: 64)
            : min(sweep.tuning.sharedPanels, sharedPanels)
    }

    /// Tiles keep their sums in registers for the block, and ask for a share each of the next one (see ``sweepPanels(_:_:)``).
    @_alwaysEmitIntoClient @inline(__always)
    public static func multiply(_ sweep: PanelSweep, _ block: PanelBlock) {
        guard case .bfloat16Pairs = sweep.format else { preconditionFailure("panels that hold no pairs") }
        let split = sweep.tiles
        let pairs: Int = (block.depth &+ 1) >> 1
        let nextStep: Int = 64 / split.count
        var tile = 0
        while tile < split.count {
            let first = split.start(tile)
            let rows = split.start(tile &+ 1) &- first
            let operands = TileOperands(
                a: sweep.activations + (tile &* sweep.tileStride &+ block.index &* sweep.blockStride),
                b: block.weights, panelStride: block.panelStride, depth: pairs, c: sweep.accumulators + first &* 16,
                cPanelStride: split.rows &* 16, accumulate: block.index > 0,
                next: block.next + tile &* nextStep &* pairs, nextStep: nextStep, nextStride: block.panelStride)
            Self.tile(rows: rows, panels: block.panels, PairDotOperands(operands, tileRows: rows))
            tile &+= 1
        }
    }
}

/// Eight fp32 numbers, as bits, to the nearest bf16 ones, even ones in the middle, two in a word. NaNs stay NaN.
@_alwaysEmitIntoClient @inline(__always)
func roundedPairs(_ bits: SIMD8<UInt32>) -> SIMD4<UInt32> {
    typealias Words = SIMD8<UInt32>
    // Just under half a unit more, one more yet where the kept part is odd: the carry rounds.
    var rounded = bits &+ Words(repeating: 0x7fff) &+ (bits &>> 16 & Words(repeating: 1))
    let magnitudes = unsafeBitCast(bits & Words(repeating: 0x7fff_ffff), to: SIMD8<Int32>.self)
    rounded.replace(
        with: bits | Words(repeating: 0x0040_0000), where: magnitudes .> SIMD8<Int32>(repeating: 0x7f80_0000))
    return rounded.evenHalf &>> 16 | rounded.oddHalf & SIMD4<UInt32>(repeating: 0xffff_0000)
}
