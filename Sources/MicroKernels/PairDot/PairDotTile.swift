import CPlatform

/// The register tile over pairs: `rows` token rows by `vectors` vectors of columns of all panels taken together, all sums in registers
/// over one block of k, as in ``Tile``.
public struct PairDotTile<ISA: PairDotSet, let rows: Int, let vectors: Int> {
    @_alwaysEmitIntoClient @inline(__always)
    public static func run(_ operands: PairDotOperands) {
        let perPanel: Int = 16 / ISA.Vector.scalarCount
        let zero = ISA.Vector(repeating: 0)
        var sums = InlineArray<rows, InlineArray<vectors, ISA.Vector>>(repeating: InlineArray(repeating: zero))
        let tile = operands.tile
        let stride = tile.panelStride
        let tileRows = operands.tileRows
        var a = UnsafeRawPointer(tile.a).assumingMemoryBound(to: UInt32.self)
        var b = tile.b
        var next = tile.next
        var pair = 0
        while pair < tile.depth {
            for p in 0..<vectors / perPanel { cp_prefetch_far(next + p &* stride) }
            next += tile.nextStep
            step(a, b, stride, pass: 0, &sums)
            if ISA.passes > 1 { step(a, b, stride, pass: 1, &sums) }
            a += tileRows
            b += 64
            pair &+= 1
        }
        storeSums(ISA.self, sums, tile)
    }

    /// One pass over a pair of k: of row r, word `a[r]`.
    @_alwaysEmitIntoClient @inline(__always)
    static func step(
        _ a: UnsafePointer<UInt32>, _ b: UnsafeRawPointer, _ stride: Int, pass: Int,
        _ sums: inout InlineArray<rows, InlineArray<vectors, ISA.Vector>>
    ) {
        let perPanel: Int = 16 / ISA.Vector.scalarCount
        if rows < vectors {
            // Few rows: they stay in registers while the columns pass one by one.
            var activations = InlineArray<rows, ISA.Factor>(repeating: ISA.Factor())
            for r in 0..<rows { activations[r] = ISA.activations(a + r, pass: pass) }
            for v in 0..<vectors {
                let offset: Int = (v / perPanel) &* stride &+ (v % perPanel) &* ISA.Vector.scalarCount &* 4
                let weights = ISA.weights(b + offset, pass: pass)
                for r in 0..<rows { sums[r][v] = ISA.pairDot(sums[r][v], weights, activations[r]) }
            }
        } else {
            // Few columns: they stay, and the rows pass.
            var weights = InlineArray<vectors, ISA.Factor>(repeating: ISA.Factor())
            for v in 0..<vectors {
                let offset: Int = (v / perPanel) &* stride &+ (v % perPanel) &* ISA.Vector.scalarCount &* 4
                weights[v] = ISA.weights(b + offset, pass: pass)
            }
            for r in 0..<rows {
                let activations = ISA.activations(a + r, pass: pass)
                for v in 0..<vectors { sums[r][v] = ISA.pairDot(sums[r][v], weights[v], activations) }
            }
        }
        // The compiler would keep each word for the next pass, in registers that many sums leave none of; so it is read again.
        if ISA.passes > 1, rows &* vectors >= 8 {
            for v in 0..<vectors { sums[rows - 1][v] = ISA.settled(sums[rows - 1][v]) }
        }
    }
}

extension PairDotSet {
    /// The tiles of a set with 32 registers whose vector is a panel's row: 24 sums at most, two vectors of weights, and broadcasts.
    @_alwaysEmitIntoClient @inline(__always)
    public static func wideTile(rows: Int, panels: Int, _ operands: PairDotOperands) {
        switch (rows, panels) {
        case (1, 8): PairDotTile<Self, 1, 8>.run(operands)
        case (1, 4): PairDotTile<Self, 1, 4>.run(operands)
        case (2, 4): PairDotTile<Self, 2, 4>.run(operands)
        case (3, 4): PairDotTile<Self, 3, 4>.run(operands)
        case (4, 4): PairDotTile<Self, 4, 4>.run(operands)
        case (5, 4): PairDotTile<Self, 5, 4>.run(operands)
        case (6, 4): PairDotTile<Self, 6, 4>.run(operands)
        case (1, 2): PairDotTile<Self, 1, 2>.run(operands)
        case (2, 2): PairDotTile<Self, 2, 2>.run(operands)
        case (3, 2): PairDotTile<Self, 3, 2>.run(operands)
        case (4, 2): PairDotTile<Self, 4, 2>.run(operands)
        case (5, 2): PairDotTile<Self, 5, 2>.run(operands)
        case (6, 2): PairDotTile<Self, 6, 2>.run(operands)
        case (7, 2): PairDotTile<Self, 7, 2>.run(operands)
        case (8, 2): PairDotTile<Self, 8, 2>.run(operands)
        case (9, 2): PairDotTile<Self, 9, 2>.run(operands)
        case (10, 2): PairDotTile<Self, 10, 2>.run(operands)
        case (11, 2): PairDotTile<Self, 11, 2>.run(operands)
        case (_, 2): PairDotTile<Self, 12, 2>.run(operands)
        case (1, _): PairDotTile<Self, 1, 1>.run(operands)
        case (2, _): PairDotTile<Self, 2, 1>.run(operands)
        case (3, _): PairDotTile<Self, 3, 1>.run(operands)
        case (4, _): PairDotTile<Self, 4, 1>.run(operands)
        case (5, _): PairDotTile<Self, 5, 1>.run(operands)
        case (6, _): PairDotTile<Self, 6, 1>.run(operands)
        case (7, _): PairDotTile<Self, 7, 1>.run(operands)
        case (8, _): PairDotTile<Self, 8, 1>.run(operands)
        case (9, _): PairDotTile<Self, 9, 1>.run(operands)
        case (10, _): PairDotTile<Self, 10, 1>.run(operands)
        case (11, _): PairDotTile<Self, 11, 1>.run(operands)
        default: PairDotTile<Self, 12, 1>.run(operands)
        }
    }

    /// Panels of those tiles for a lone tile of rows.
    @_alwaysEmitIntoClient @inline(__always)
    public static func widePanelsTogether(rows: Int) -> Int { rows == 1 ? 8 : rows <= 6 ? 4 : 2 }
}
