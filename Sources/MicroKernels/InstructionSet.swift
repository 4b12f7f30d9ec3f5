/// One instruction set as the generic kernels see it: a vector type, a multiply-add, and loads of packed weights.
///
/// Every kernel body in this module is generic over a conforming type and always inlined into the module that is compiled for
/// that instruction set. A generic function that were emitted on its own could be kept by the linker from any of those
/// modules, and AVX code would then run where there is no AVX; so no generic helper here may stand without
/// `@_alwaysEmitIntoClient @inline(__always)`.
public protocol VectorArithmetic {
    /// The widest vector of fp32 numbers: 4, 8 or 16 lanes.
    associatedtype Vector: SIMD where Vector.Scalar == Float

    /// sum + a · b, rounded once where the processor can.
    static func multiplyAdd(_ sum: Vector, _ a: Vector, _ b: Vector) -> Vector
    static func multiplyAdd(_ sum: SIMD8<Float>, _ a: SIMD8<Float>, _ b: SIMD8<Float>) -> SIMD8<Float>
    static func multiplyAdd(_ sum: SIMD16<Float>, _ a: SIMD16<Float>, _ b: SIMD16<Float>) -> SIMD16<Float>
    static func multiplyAdd(_ sum: Float, _ a: Float, _ b: Float) -> Float
}

/// Arithmetic on numbers, or on codes with scales, that lie in rows of bf16.
public protocol ColumnArithmetic: VectorArithmetic {
    /// Vector number `index` of the 16 columns of one row of a bf16 panel (see ``PanelLayout``), as fp32.
    static func bfloat16Columns(_ row: UnsafeRawPointer, _ index: Int) -> Vector
}

/// Arithmetic whose multiply-add is one instruction. Baseline x86-64 has none: there `addingProduct` would call the C library for each
/// lane.
public protocol FusedArithmetic: VectorArithmetic {}

extension FusedArithmetic {
    @_alwaysEmitIntoClient @inline(__always)
    public static func multiplyAdd(_ sum: SIMD8<Float>, _ a: SIMD8<Float>, _ b: SIMD8<Float>) -> SIMD8<Float> {
        sum.addingProduct(a, b)
    }
    @_alwaysEmitIntoClient @inline(__always)
    public static func multiplyAdd(_ sum: SIMD16<Float>, _ a: SIMD16<Float>, _ b: SIMD16<Float>) -> SIMD16<Float> {
        sum.addingProduct(a, b)
    }
    @_alwaysEmitIntoClient @inline(__always)
    public static func multiplyAdd(_ sum: Float, _ a: Float, _ b: Float) -> Float { sum.addingProduct(a, b) }
}

/// What the register tiles over fp32 activations ask of an instruction set.
public protocol InstructionSet: ColumnArithmetic {
    /// As ``ColumnArithmetic/bfloat16Columns(_:_:)``, of an fp16 panel.
    static func float16Columns(_ row: UnsafeRawPointer, _ index: Int) -> Vector
    /// Likewise of the 32 columns of two bf16 panels side by side.
    static func wideBFloat16Columns(_ row: UnsafeRawPointer, _ index: Int) -> Vector

    /// Vector number `index` of the 16 columns at four of a chunk's eight k, the first four or the last (see ``PanelCode``):
    /// four-bit codes by the table, E4M3 numbers divided by 256.
    static func nibbleColumns(
        _ chunk: UnsafeRawPointer, _ index: Int, last: Bool, _ table: NibbleTable
    ) -> InlineArray<4, Vector>
    static func float8Columns(_ chunk: UnsafeRawPointer, _ index: Int, last: Bool) -> InlineArray<4, Vector>

    /// As many bytes with signs as there are lanes, as fp32.
    static func widenedBytes(_ place: UnsafeRawPointer) -> Vector

    /// The same vector, after which the compiler starts on what follows, and not before.
    static func settled(_ sum: Vector) -> Vector

    /// Runs the one register tile that an expert of few tokens needs, its weights streaming from memory. Each set lists the
    /// shapes that fill its registers without spilling.
    static func tile(_ format: PanelFormat, rows: Int, panels: Int, _ operands: TileOperands)
    /// Runs one of several register tiles over a block of fp32 or bf16 weights that is in the first-level cache; `panels` is 1 or 2.
    static func residentTile(_ format: PanelFormat, rows: Int, panels: Int, _ operands: TileOperands)
    /// Runs either of these tiles over numbers with nothing of its shape and format compiled in, to measure what that buys.
    static func genericTile(_ format: PanelFormat, rows: Int, panels: Int, streams: Bool, _ operands: TileOperands)
    /// Runs the one register tile of few rows over codes; `panels` is 1 or `codedPanels(_:rows:)`. `scratch` holds 128 floats a panel.
    static func codedTile(
        _ coding: PanelCoding, rows: Int, panels: Int, _ operands: TileOperands, scratch: UnsafeMutablePointer<Float>)
    /// Panels taken together by ``codedTile(_:rows:panels:_:scratch:)``, or 0 where codes are better widened first for that many rows.
    static func codedPanels(_ coding: PanelCoding, rows: Int) -> Int
    /// Up to eight rows of eight columns each from `rows`, 64 bytes apart, to eight columns of `count` rows, `stride` floats apart.
    static func transpose(
        _ rows: UnsafePointer<Float>, count: Int, to columns: UnsafeMutablePointer<Float>, stride: Int)
    /// Eight rows of sixteen columns, likewise.
    static func transpose(
        _ rows: InlineArray<8, SIMD16<Float>>, count: Int, to columns: UnsafeMutablePointer<Float>, stride: Int)
    /// Panels of numbers taken together for a tile of few rows, so that enough multiply-adds are in flight to hide their latency.
    static func panelsTogether(_ format: PanelFormat, rows: Int) -> Int
}

extension InstructionSet {
    @_alwaysEmitIntoClient @inline(__always)
    public static func transpose(
        _ rows: InlineArray<8, SIMD16<Float>>, count: Int, to columns: UnsafeMutablePointer<Float>, stride: Int
    ) {
        withUnsafeBytes(of: rows) { rows in
            let first = rows.baseAddress!.assumingMemoryBound(to: Float.self)
            transpose(first, count: count, to: columns, stride: stride)
            transpose(first + 8, count: count, to: columns + 8 &* stride, stride: stride)
        }
    }

    /// Vectors of at most eight lanes: words' halves as in one panel, whose word i holds columns i and 8 + i.
    @_alwaysEmitIntoClient @inline(__always)
    public static func wideBFloat16Columns(_ row: UnsafeRawPointer, _ index: Int) -> Vector {
        let perPanel: Int = 16 / Vector.scalarCount
        let words: UnsafeRawPointer = row + (index % perPanel) &* Vector.scalarCount &* 4
        return bfloat16Columns(words, index / perPanel &* (perPanel / 2))
    }
}

/// How weights and activations lie in memory, the same for every instruction set, but for bf16.
///
/// Weights are packed in panels of 16 output columns: for each k, the 16 columns' weights side by side, so that a panel is one
/// stream. A gated expert's panel holds 8 gate columns, then the 8 up columns of the same indices, and the activation finds
/// both in one tile. Panels of bf16 keep column i in the low and column 8 + i in the high half of word i, which makes widening one
/// shift and one mask. Where a vector holds a whole row, two panels share each row of 64 bytes, column i of the first in the low and
/// of the second in the high half of word i: the same two instructions then make a row of either, whereas one panel's would want a
/// look-up each; and two panels' sums are one stream of memory. Panels of fp16 keep the columns in order, as the instruction that
/// widens them takes them. Panels of bf16 pairs hold two k in a row: word i is column i's number of the first k in its low half, of the
/// second in its high half.
///
/// Activations are packed in tiles of a few rows; within a tile, for each k, the rows' values side by side, so that a tile too is one
/// stream, which the processor fetches ahead by itself. (Rows one after the other would be as many streams as there are rows, each
/// with its own misses.) A tile's blocks of 256 values of k start at fixed distances, whatever its number of rows.
public enum PanelLayout {
    /// Output columns in a panel.
    public static let width = 16
    /// Panels that may share their rows.
    public static let mostPanelsPerRow = 2
    /// Columns of each kind in a gated panel.
    public static let half = 8
    /// The length of a reduction block. An output element is Σ over blocks of (Σ over k in the block, in order, by fused
    /// multiply-add from zero), added in block order: a function of the reduction length alone.
    public static let block = 256
    /// Blocks in a reduction.
    @_alwaysEmitIntoClient @inline(__always)
    public static func blocks(_ depth: Int) -> Int { (depth &+ 255) >> 8 }
}

/// What a register tile works on: c (+)= a · b over one reduction block.
public struct TileOperands {
    /// Activations: for each k, the tile's rows.
    public var a: UnsafePointer<Float>
    /// The first panel's rows of this block, and the distance to the next panel in bytes, or to the next two that share rows.
    public var b: UnsafeRawPointer
    public var panelStride: Int
    /// k values in this block, 256 or fewer.
    public var depth: Int
    /// Accumulators, [panel][row][16], panels `cPanelStride` floats apart.
    public var c: UnsafeMutablePointer<Float>
    public var cPanelStride: Int
    /// Whether c holds earlier blocks' sum.
    public var accumulate: Bool
    /// Weights to ask for meanwhile, from `next` on and for each panel, or two, `nextStride` further: `nextStep` bytes for each k. A tile that
    /// streams asks for whole rows, `ahead` bytes before it wants them: those of its own block, then those from `next` on.
    public var next: UnsafeRawPointer
    public var nextStep: Int
    public var nextStride: Int
    public var ahead: Int

    @_alwaysEmitIntoClient @inline(__always)
    public init(
        a: UnsafePointer<Float>, b: UnsafeRawPointer, panelStride: Int, depth: Int, c: UnsafeMutablePointer<Float>,
        cPanelStride: Int, accumulate: Bool, next: UnsafeRawPointer, nextStep: Int, nextStride: Int, ahead: Int = 0
    ) {
        self.a = a
        self.b = b
        self.panelStride = panelStride
        self.depth = depth
        self.c = c
        self.cPanelStride = cPanelStride
        self.accumulate = accumulate
        self.next = next
        self.nextStep = nextStep
        self.nextStride = nextStride
        self.ahead = ahead
    }
}
