import CPlatform

/// A storage format of panel rows, as a type, so that each register tile is compiled for one.
public protocol PanelRow {
    static var rowBytes: Int { get }
    /// Panels side by side in a row, whose vectors are counted through.
    static var panels: Int { get }
    static func columns<ISA: InstructionSet>(_: ISA.Type, _ row: UnsafeRawPointer, _ index: Int) -> ISA.Vector
}

extension PanelRow {
    @_alwaysEmitIntoClient @inline(__always) public static var panels: Int { 1 }
}

public enum Float32Row: PanelRow {
    @_alwaysEmitIntoClient @inline(__always) public static var rowBytes: Int { 64 }
    @_alwaysEmitIntoClient @inline(__always)
    public static func columns<ISA: InstructionSet>(_: ISA.Type, _ row: UnsafeRawPointer, _ index: Int) -> ISA.Vector {
        let offset: Int = index &* ISA.Vector.scalarCount &* 4
        return (row + offset).loadUnaligned(as: ISA.Vector.self)
    }
}

public enum BFloat16Row: PanelRow {
    @_alwaysEmitIntoClient @inline(__always) public static var rowBytes: Int { 32 }
    @_alwaysEmitIntoClient @inline(__always)
    public static func columns<ISA: InstructionSet>(_: ISA.Type, _ row: UnsafeRawPointer, _ index: Int) -> ISA.Vector {
        ISA.bfloat16Columns(row, index)
    }
}

public enum Float16Row: PanelRow {
    @_alwaysEmitIntoClient @inline(__always) public static var rowBytes: Int { 32 }
    @_alwaysEmitIntoClient @inline(__always)
    public static func columns<ISA: InstructionSet>(_: ISA.Type, _ row: UnsafeRawPointer, _ index: Int) -> ISA.Vector {
        ISA.float16Columns(row, index)
    }
}

public enum WideBFloat16Row: PanelRow {
    @_alwaysEmitIntoClient @inline(__always) public static var rowBytes: Int { 64 }
    @_alwaysEmitIntoClient @inline(__always) public static var panels: Int { 2 }
    @_alwaysEmitIntoClient @inline(__always)
    public static func columns<ISA: InstructionSet>(_: ISA.Type, _ row: UnsafeRawPointer, _ index: Int) -> ISA.Vector {
        ISA.wideBFloat16Columns(row, index)
    }
}

/// Whether a tile's weights come from memory for this tile alone, and it asks for all of the next block; or they lie in the
/// first-level cache, and several tiles share the asking.
public protocol WeightTraffic {
    static var streams: Bool { get }
}
public enum Streaming: WeightTraffic {
    @_alwaysEmitIntoClient @inline(__always) public static var streams: Bool { true }
}
public enum Resident: WeightTraffic {
    @_alwaysEmitIntoClient @inline(__always) public static var streams: Bool { false }
}

/// The register tile: `rows` token rows by `vectors` vectors of output columns, all sums in registers over one block of k.
///
/// `vectors` counts the vectors of all panels taken together. The loops over rows and vectors have constant bounds and are
/// unrolled; the one loop left is over k. What a shape costs is read off the assembly: rows × vectors multiply-adds, `rows`
/// broadcasts and `vectors` loads a step.
public struct Tile<ISA: InstructionSet, Row: PanelRow, Traffic: WeightTraffic, let rows: Int, let vectors: Int> {
    @_alwaysEmitIntoClient @inline(__always)
    public static func run(_ operands: TileOperands) {
        let perRow: Int = 16 / ISA.Vector.scalarCount &* Row.panels
        let zero = ISA.Vector(repeating: 0)
        var sums = InlineArray<rows, InlineArray<vectors, ISA.Vector>>(repeating: InlineArray(repeating: zero))
        var a = operands.a
        var b = operands.b
        let stride = operands.panelStride
        var next = operands.next
        let stream = StreamAhead(operands, rowBytes: Row.rowBytes)
        var k = 0
        // Four k at a time: the loop's own instructions and the prefetches would otherwise be a fifth of all, and a core that is shared
        // with another thread starts about three instructions a cycle. Not where that would take the compiler more registers than there
        // are: a few rows that stay in registers, a streaming tile of 24 sums.
        let unrolls = rows >= vectors && !(Traffic.streams && rows &* vectors >= 24)
        while unrolls && k &+ 4 <= operands.depth {
            for p in 0..<vectors / perRow {
                if Traffic.streams {
                    let line: UnsafeRawPointer = b + (p &* stride &+ stream.distance(k))
                    for l in 0..<Row.rowBytes / 16 { askForStream(ISA.self, line + 64 &* l) }
                } else {
                    // Two tiles or more share the asking, so four k are 128 bytes at most. Tiles that take two panels' rows have a
                    // first-level cache with room for what comes next.
                    let line: UnsafeRawPointer = next + p &* operands.nextStride
                    if vectors > perRow {
                        cp_prefetch(line)
                        cp_prefetch(line + 2 &* operands.nextStep)
                    } else {
                        cp_prefetch_far(line)
                        cp_prefetch_far(line + 2 &* operands.nextStep)
                    }
                }
            }
            next += 4 &* operands.nextStep
            step(a, b, stride, &sums)
            step(a + rows, b + Row.rowBytes, stride, &sums)
            step(a + 2 &* rows, b + 2 &* Row.rowBytes, stride, &sums)
            step(a + 3 &* rows, b + 3 &* Row.rowBytes, stride, &sums)
            a += 4 &* rows
            b += 4 &* Row.rowBytes
            k &+= 4
        }
        while k < operands.depth {
            for p in 0..<vectors / perRow {
                if Traffic.streams {
                    askForStream(ISA.self, b + (p &* stride &+ stream.distance(k)))
                } else {
                    cp_prefetch_far(next + p &* operands.nextStride)
                }
            }
            next += operands.nextStep
            step(a, b, stride, &sums)
            a += rows
            b += Row.rowBytes
            k &+= 1
        }
        storeSums(ISA.self, sums, operands)
    }

    /// One k: of row r, a[r].
    @_alwaysEmitIntoClient @inline(__always)
    static func step(
        _ a: UnsafePointer<Float>, _ b: UnsafeRawPointer, _ stride: Int,
        _ sums: inout InlineArray<rows, InlineArray<vectors, ISA.Vector>>
    ) {
        let perRow: Int = 16 / ISA.Vector.scalarCount &* Row.panels
        let zero = ISA.Vector(repeating: 0)
        if rows < vectors {
            // Few rows: they stay in registers while the columns pass one by one.
            var activations = InlineArray<rows, ISA.Vector>(repeating: zero)
            for r in 0..<rows { activations[r] = ISA.Vector(repeating: a[r]) }
            for v in 0..<vectors {
                let column = Row.columns(ISA.self, b + (v / perRow) &* stride, v % perRow)
                for r in 0..<rows { sums[r][v] = ISA.multiplyAdd(sums[r][v], activations[r], column) }
            }
        } else {
            // Few columns: they stay, and the rows pass.
            var columns = InlineArray<vectors, ISA.Vector>(repeating: zero)
            for v in 0..<vectors { columns[v] = Row.columns(ISA.self, b + (v / perRow) &* stride, v % perRow) }
            for r in 0..<rows {
                let activation = ISA.Vector(repeating: a[r])
                for v in 0..<vectors { sums[r][v] = ISA.multiplyAdd(sums[r][v], activation, columns[v]) }
            }
        }
    }
}

/// How far ahead of its rows a lone tile asks for others: at first within its block, from the row on whose turn is the last of those, for
/// what comes after the block.
public struct StreamAhead {
    @usableFromInline let near: Int
    @usableFromInline let far: Int
    @usableFromInline let turn: Int

    @_alwaysEmitIntoClient @inline(__always)
    public init(_ operands: TileOperands, rowBytes: Int) {
        near = operands.ahead
        turn = max(operands.depth &- operands.ahead / rowBytes, 0)
        far = operands.next - operands.b &- turn &* rowBytes
    }

    /// Bytes from row k to the one asked for.
    @_alwaysEmitIntoClient @inline(__always)
    public func distance(_ k: Int) -> Int { k < turn ? near : far }
}

/// Asks for a line of weights that stream by. Tiles of sixteen lanes have them come into the first level, where a few kilobytes on their
/// way leave room: on Zen 5 that reads 5 % faster beside memory of 73 GB/s, and as fast beside 50.
@_alwaysEmitIntoClient @inline(__always)
func askForStream<ISA: VectorArithmetic>(_: ISA.Type, _ line: UnsafeRawPointer) {
    if ISA.Vector.scalarCount == 16 { cp_prefetch(line) } else { cp_prefetch_far(line) }
}

/// Writes a register tile's sums to its accumulators, added to what earlier blocks left there.
@_alwaysEmitIntoClient @inline(__always)
func storeSums<ISA: VectorArithmetic, let rows: Int, let vectors: Int>(
    _: ISA.Type, _ sums: InlineArray<rows, InlineArray<vectors, ISA.Vector>>, _ operands: TileOperands
) {
    let perPanel: Int = 16 / ISA.Vector.scalarCount
    for v in 0..<vectors {
        let panel: UnsafeMutablePointer<Float> = operands.c + (v / perPanel) &* operands.cPanelStride
        for r in 0..<rows {
            let offset: Int = r &* 16 &+ (v % perPanel) &* ISA.Vector.scalarCount
            let place = UnsafeMutableRawPointer(panel + offset)
            var sum = sums[r][v]
            if operands.accumulate { sum = place.loadUnaligned(as: ISA.Vector.self) + sum }
            place.storeBytes(of: sum, as: ISA.Vector.self)
        }
    }
}
