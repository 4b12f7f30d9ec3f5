/// Arithmetic on bytes as the kernels over int8 activations see it: words of four bytes, as many as ``VectorArithmetic/Vector``
/// has lanes. All sums of bytes are exact, so sets differ in speed alone, and their results are the same bits wherever
/// multiply-adds are rounded once.
public protocol ByteDotSet: RoundingArithmetic, ColumnArithmetic {
    /// Four bytes a lane, or the sum of a lane.
    associatedtype Words: SIMD where Words.Scalar == UInt32

    /// sum + the four products of each lane's weights, with signs and less ``byteOffset``, by activations of -127 … 127.
    static func byteDot(_ sum: Words, _ weights: Words, _ activations: Words) -> Words
    /// What is taken for a weight of 0 by ``byteDot(_:_:_:)``: 128 where the instruction wants weights without signs.
    static var byteOffset: Int32 { get }
    /// sum + the four products of each lane's weights of 0 … 15, for up to eight of these; not a sum yet, but what
    /// ``total(_:)`` makes one.
    static func nibbleDot(_ sum: Words, _ weights: Words, _ activations: Words) -> Words
    static func total(_ sum: Words) -> Words
    /// Sums with signs as fp32.
    static func floats(_ sums: Words) -> Vector
    /// Eight numbers within a byte to the nearest whole one, even ones in the middle.
    static func roundedBytes(_ values: SIMD8<Float>) -> UInt64

    /// Runs one register tile; each set lists the shapes that fill its registers without spilling. `panels` is 1,
    /// ``sharedPanels``, or a power of two up to ``panelsTogether(rows:)``.
    static func tile<Code: ByteDotCode, Zero: ZeroPointRule>(
        _: Code.Type, _: Zero.Type, rows: Int, panels: Int, _ operands: ByteDotOperands)
    /// The most panels that several tiles of rows take together.
    static var sharedPanels: Int { get }
    /// Panels taken together by a lone tile of rows, so that enough sums are in flight to hide their latency.
    static func panelsTogether(rows: Int) -> Int
}

extension ByteDotSet {
    /// 2ˢ · `activationSum` in all lanes.
    @_alwaysEmitIntoClient @inline(__always)
    static func multiple(of activationSum: UnsafePointer<Int32>, shift: UInt32) -> Words {
        Words(repeating: UInt32(bitPattern: activationSum.pointee) &<< shift)
    }
    /// The bytes' low and high halves.
    @_alwaysEmitIntoClient @inline(__always)
    static func lowNibbles(_ words: Words) -> Words { words & Words(repeating: 0x0f0f_0f0f) }
    @_alwaysEmitIntoClient @inline(__always)
    static func highNibbles(_ words: Words) -> Words { (words &>> 4) & Words(repeating: 0x0f0f_0f0f) }
    /// One word in all lanes.
    @_alwaysEmitIntoClient @inline(__always)
    static func repeated(_ word: UnsafePointer<UInt32>) -> Words { Words(repeating: word.pointee) }

    /// The tile of a code.
    @_alwaysEmitIntoClient @inline(__always)
    static func tile(_ coding: PanelCoding, rows: Int, panels: Int, _ operands: ByteDotOperands) {
        switch (coding.code, coding.zeroPoints) {
        case (.int4, false): tile(Int4Dot.self, Symmetric.self, rows: rows, panels: panels, operands)
        case (.int4, true): tile(Int4Dot.self, ZeroPointed.self, rows: rows, panels: panels, operands)
        case (_, false): tile(Int8Dot.self, Symmetric.self, rows: rows, panels: panels, operands)
        case (_, true): tile(Int8Dot.self, ZeroPointed.self, rows: rows, panels: panels, operands)
        }
    }
}

extension ByteDotSet {
    @_alwaysEmitIntoClient @inline(__always)
    public static func panelsTogether(_ sweep: PanelSweep) -> Int {
        // A step is the 64 bytes of four k.
        sweep.tiles.count == 1
            ? sweep.tuning.streamed(panelsTogether(rows: sweep.tiles.rows), rows: sweep.tiles.rows, rowBytes: 64)
            : min(sweep.tuning.sharedPanels, sharedPanels)
    }

    /// Tiles add to the accumulators, once for each group of scales.
    @_alwaysEmitIntoClient @inline(__always)
    public static func multiply(_ sweep: PanelSweep, _ block: PanelBlock) {
        guard case .byteDot(let coding) = sweep.format else { preconditionFailure("panels that hold no bytes") }
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

/// Where bytes lie, the same for every set.
///
/// **Weights.** A panel holds 16 columns as elsewhere (see ``PanelLayout``), its reduction blocks of 256 k each begin with the
/// scales of ``PanelCoding``. Then come the codes in groups of 32 k. int8: for each quad of k, the 16 columns' four bytes.
/// int4: for each of the first four quads likewise, with the code of the quad four further on in the high half of each byte.
///
/// **Activations.** In tiles of rows, a block of k at the distance of fp32 tiles; a block holds its groups of 32 k one after
/// the other. A group is, for each row, its scale (fp32) and the sum of its bytes (Int32), then for each quad of k the rows'
/// four bytes.
public enum ByteDotLayout {
    /// Bytes of a group's codes.
    @_alwaysEmitIntoClient @inline(__always)
    public static func groupBytes(_ code: PanelCode) -> Int { code.isByte ? 512 : 256 }

    /// Bytes of a panel's reduction block of `depth` values of k; the last group is filled up.
    @_alwaysEmitIntoClient @inline(__always)
    public static func blockBytes(_ coding: PanelCoding, _ depth: Int) -> Int {
        coding.scaleBytes(depth) &+ ((depth &+ 31) >> 5) &* groupBytes(coding.code)
    }
}

/// What a register tile works on: c += a · b over one reduction block.
public struct ByteDotOperands {
    /// The tile's groups of activations, ``RoundingArithmetic/groupWords`` words a row each.
    public var a: UnsafePointer<UInt32>
    /// Rows that the tile is laid out for.
    public var tileRows: Int
    /// The first panel's block, and the distance to the next panel in bytes.
    public var b: UnsafeRawPointer
    public var panelStride: Int
    /// Groups of 32 k in this block, 8 or fewer.
    public var groups: Int
    /// Bytes of a group's codes at one vector of columns after the other.
    public var stepBytes: Int
    /// Its scales: bytes of all and of a row of 16, groups of activations that share one (as a power of two), and their width.
    public var scaleBytes: Int
    public var scaleRowBytes: Int
    public var scaleShift: Int
    public var wideScales: Bool
    public var zeroOffset: Int
    /// Accumulators, [panel][row][16], panels `cPanelStride` floats apart, which hold the sums so far.
    public var c: UnsafeMutablePointer<Float>
    public var cPanelStride: Int
    /// Whether this tile asks for the block at `next`, and those of the next panels at the same distance.
    public var asks: Bool
    public var next: UnsafeRawPointer

    @_alwaysEmitIntoClient @inline(__always)
    public init(
        a: UnsafePointer<UInt32>, tileRows: Int, b: UnsafeRawPointer, panelStride: Int, groups: Int,
        coding: PanelCoding,
        scaleBytes: Int, c: UnsafeMutablePointer<Float>, cPanelStride: Int, asks: Bool, next: UnsafeRawPointer
    ) {
        self.a = a
        self.tileRows = tileRows
        self.b = b
        self.panelStride = panelStride
        self.groups = groups
        stepBytes = ByteDotLayout.groupBytes(coding.code)
        self.scaleBytes = scaleBytes
        scaleRowBytes = coding.scaleRowBytes
        scaleShift = coding.groupShift &- 5
        wideScales = coding.wideScales
        zeroOffset = coding.zeroOffset
        self.c = c
        self.cPanelStride = cPanelStride
        self.asks = asks
        self.next = next
    }

    /// The same for the rows from `row` on, which ask for nothing.
    @_alwaysEmitIntoClient @inline(__always)
    public func rows(from row: Int) -> ByteDotOperands {
        var rest = self
        rest.a += row
        rest.c += row &* 16
        rest.asks = false
        return rest
    }
}
