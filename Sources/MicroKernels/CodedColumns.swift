import CPlatform

/// A code of panels as a type, so that each loop is compiled for one.
public protocol CodedColumns {
    static var chunkBytes: Int { get }
    /// Whether each group's numbers are counted from a zero point.
    static var hasZeroPoints: Bool { get }
    /// The numbers of the first or last four of a chunk's eight k for vector `index` of the 16 columns, before their scale.
    static func columns<ISA: InstructionSet>(
        _: ISA.Type, _ chunk: UnsafeRawPointer, _ index: Int, last: Bool
    ) -> InlineArray<4, ISA.Vector>
}

public enum Float8Columns: CodedColumns {
    @_alwaysEmitIntoClient @inline(__always) public static var chunkBytes: Int { 128 }
    @_alwaysEmitIntoClient @inline(__always)
    public static func columns<ISA: InstructionSet>(
        _: ISA.Type, _ chunk: UnsafeRawPointer, _ index: Int, last: Bool
    ) -> InlineArray<4, ISA.Vector> {
        ISA.float8Columns(chunk, index, last: last)
    }
}

/// 0, ½, 1, 1½, 2, 3, 4, 6 and their negatives.
public enum Float4Columns: CodedColumns {
    @_alwaysEmitIntoClient @inline(__always) public static var chunkBytes: Int { 64 }
    @_alwaysEmitIntoClient @inline(__always)
    public static func columns<ISA: InstructionSet>(
        _: ISA.Type, _ chunk: UnsafeRawPointer, _ index: Int, last: Bool
    ) -> InlineArray<4, ISA.Vector> {
        let table = NibbleTable(
            low: SIMD4(0xc080_0000, 0xc080_4000, 0xc080_0000, 0xc080_4000),
            high: SIMD4(0x3f3f_3f00, 0x4040_4040, 0xbfbf_bf80, 0xc0c0_c0c0))
        return ISA.nibbleColumns(chunk, index, last: last, table)
    }
}

/// -8 … 7.
public enum Int4Columns: CodedColumns {
    @_alwaysEmitIntoClient @inline(__always) public static var chunkBytes: Int { 64 }
    @_alwaysEmitIntoClient @inline(__always)
    public static func columns<ISA: InstructionSet>(
        _: ISA.Type, _ chunk: UnsafeRawPointer, _ index: Int, last: Bool
    ) -> InlineArray<4, ISA.Vector> {
        let table = NibbleTable(
            low: SIMD4(0xa0c0_e000, 0x8000_4080, 0x4000_8000, 0xe0c0_a080),
            high: SIMD4(0xc0c0_c0c1, 0xbfc0_c0c0, 0x4040_3f00, 0x4040_4040))
        return ISA.nibbleColumns(chunk, index, last: last, table)
    }
}

/// -128 … 127.
public enum Int8Columns: CodedColumns {
    @_alwaysEmitIntoClient @inline(__always) public static var chunkBytes: Int { 128 }
    @_alwaysEmitIntoClient @inline(__always)
    public static func columns<ISA: InstructionSet>(
        _: ISA.Type, _ chunk: UnsafeRawPointer, _ index: Int, last: Bool
    ) -> InlineArray<4, ISA.Vector> {
        var result = InlineArray<4, ISA.Vector>(repeating: ISA.Vector(repeating: 0))
        let first: UnsafeRawPointer = chunk + ((last ? 64 : 0) &+ index &* ISA.Vector.scalarCount)
        for k in 0..<4 { result[k] = ISA.widenedBytes(first + k &* 16) }
        return result
    }
}

/// Codes with zero points.
public enum FromZeroPoint<Code: CodedColumns>: CodedColumns {
    @_alwaysEmitIntoClient @inline(__always) public static var chunkBytes: Int { Code.chunkBytes }
    @_alwaysEmitIntoClient @inline(__always) public static var hasZeroPoints: Bool { true }
    @_alwaysEmitIntoClient @inline(__always)
    public static func columns<ISA: InstructionSet>(
        _: ISA.Type, _ chunk: UnsafeRawPointer, _ index: Int, last: Bool
    ) -> InlineArray<4, ISA.Vector> {
        Code.columns(ISA.self, chunk, index, last: last)
    }
}

extension CodedColumns {
    @_alwaysEmitIntoClient @inline(__always) public static var hasZeroPoints: Bool { false }
}

extension ColumnArithmetic {
    /// Vector `index` of the 16 columns' scales.
    @_alwaysEmitIntoClient @inline(__always)
    static func scales(_ row: UnsafeRawPointer, _ index: Int, wide: Bool) -> Vector {
        let offset: Int = index &* Vector.scalarCount &* 4
        return wide ? (row + offset).loadUnaligned(as: Vector.self) : bfloat16Columns(row, index)
    }
}

/// Scales and zero points of some vectors of columns.
public struct GroupFactors<ISA: InstructionSet, let vectors: Int> {
    public var scales: InlineArray<vectors, ISA.Vector>
    public var zeros: InlineArray<vectors, ISA.Vector>

    @_alwaysEmitIntoClient @inline(__always)
    public init() {
        scales = InlineArray(repeating: ISA.Vector(repeating: 0))
        zeros = InlineArray(repeating: ISA.Vector(repeating: 0))
    }

    /// The weights of column vector `v` that some codes' numbers stand for.
    @_alwaysEmitIntoClient @inline(__always)
    public func weight<Code: CodedColumns>(_: Code.Type, _ numbers: ISA.Vector, _ v: Int) -> ISA.Vector {
        Code.hasZeroPoints ? (numbers - zeros[v]) * scales[v] : numbers * scales[v]
    }
}

/// The register tile over codes: few rows, weights decoded in registers on their way from memory. Each weight is its code's
/// number times its scale, rounded; then the same multiply-adds in the same order as ``Tile``.
public struct CodedTile<ISA: InstructionSet, Code: CodedColumns, let rows: Int, let vectors: Int> {
    @_alwaysEmitIntoClient @inline(__always)
    public static func run(
        _ coding: PanelCoding, _ operands: TileOperands, _ scratch: UnsafeMutablePointer<Float>
    ) {
        let perPanel: Int = 16 / ISA.Vector.scalarCount
        let zero = ISA.Vector(repeating: 0)
        var sums = InlineArray<rows, InlineArray<vectors, ISA.Vector>>(repeating: InlineArray(repeating: zero))
        let a = operands.a
        let stride = operands.panelStride
        let depth = operands.depth
        let ahead: Int = operands.next - operands.b
        let group: Int = 1 << coding.groupShift
        var scaleRow = operands.b
        var chunk = operands.b + coding.scaleBytes(depth)
        var k = 0
        while k < depth {
            var factors = GroupFactors<ISA, vectors>()
            for v in 0..<vectors {
                let row: UnsafeRawPointer = scaleRow + (v / perPanel) &* stride
                factors.scales[v] = ISA.scales(row, v % perPanel, wide: coding.wideScales)
                if Code.hasZeroPoints {
                    factors.zeros[v] = ISA.bfloat16Columns(row + coding.zeroOffset, v % perPanel)
                }
                if v % perPanel == 0 { cp_prefetch_far(row + ahead) }
            }
            scaleRow += coding.scaleRowBytes
            let end = min(k &+ group, depth)
            while k &+ 8 <= end {
                for p in 0..<vectors / perPanel {
                    let line: UnsafeRawPointer = chunk + (p &* stride &+ ahead)
                    cp_prefetch_far(line)
                    if Code.chunkBytes > 64 { cp_prefetch_far(line + 64) }
                }
                let at = a + k &* rows
                // The compiler would leave a loop over bodies of this size rolled, and the sums in memory.
                if vectors > 0 { whole(0, chunk, stride, at, factors, &sums) }
                if vectors > 1 { whole(1, chunk, stride, at, factors, &sums) }
                if vectors > 2 { whole(2, chunk, stride, at, factors, &sums) }
                if vectors > 3 { whole(3, chunk, stride, at, factors, &sums) }
                k &+= 8
                chunk += Code.chunkBytes
            }
            if k < end {
                // The end of the reduction: fewer than eight, and beyond them the activations are not ours. Widened, they are taken
                // one by one.
                for p in 0..<vectors / perPanel {
                    widenChunk(
                        ISA.self, Code.self, coding, chunk + p &* stride,
                        scaleRow - coding.scaleRowBytes + p &* stride, into: scratch + p &* 128)
                }
                var row = UnsafeRawPointer(scratch)
                while k < end {
                    for v in 0..<vectors {
                        let offset: Int = (v / perPanel) &* 512 &+ (v % perPanel) &* ISA.Vector.scalarCount &* 4
                        let column = (row + offset).loadUnaligned(as: ISA.Vector.self)
                        for r in 0..<rows {
                            let offset: Int = k &* rows &+ r
                            sums[r][v] = ISA.multiplyAdd(sums[r][v], ISA.Vector(repeating: a[offset]), column)
                        }
                    }
                    row += 64
                    k &+= 1
                }
            }
        }
        storeSums(ISA.self, sums, operands)
    }

    /// Vector `v` of the columns at a chunk's eight k.
    @_alwaysEmitIntoClient @inline(__always)
    static func whole(
        _ v: Int, _ chunk: UnsafeRawPointer, _ stride: Int, _ a: UnsafePointer<Float>,
        _ factors: GroupFactors<ISA, vectors>,
        _ sums: inout InlineArray<rows, InlineArray<vectors, ISA.Vector>>
    ) {
        half(v, last: false, chunk, stride, a, factors, &sums)
        half(v, last: true, chunk, stride, a + 4 &* rows, factors, &sums)
    }

    @_alwaysEmitIntoClient @inline(__always)
    static func half(
        _ v: Int, last: Bool, _ chunk: UnsafeRawPointer, _ stride: Int, _ a: UnsafePointer<Float>,
        _ factors: GroupFactors<ISA, vectors>,
        _ sums: inout InlineArray<rows, InlineArray<vectors, ISA.Vector>>
    ) {
        let perPanel: Int = 16 / ISA.Vector.scalarCount
        let numbers = Code.columns(ISA.self, chunk + (v / perPanel) &* stride, v % perPanel, last: last)
        for step in 0..<4 {
            let column = factors.weight(Code.self, numbers[step], v)
            for r in 0..<rows {
                let offset: Int = step &* rows &+ r
                sums[r][v] = ISA.multiplyAdd(sums[r][v], ISA.Vector(repeating: a[offset]), column)
            }
        }
        // Else the vectors would share their broadcasts, and all decoded numbers wait for them, more than there are registers.
        for r in 0..<rows { sums[r][v] = ISA.settled(sums[r][v]) }
    }
}

/// Widens the eight k of one chunk, [8][16].
@_alwaysEmitIntoClient @inline(__always)
func widenChunk<ISA: InstructionSet, Code: CodedColumns>(
    _: ISA.Type, _: Code.Type, _ coding: PanelCoding, _ chunk: UnsafeRawPointer, _ scaleRow: UnsafeRawPointer,
    into target: UnsafeMutablePointer<Float>
) {
    let place = UnsafeMutableRawPointer(target)
    for v in 0..<16 / ISA.Vector.scalarCount {
        var factors = GroupFactors<ISA, 1>()
        factors.scales[0] = ISA.scales(scaleRow, v, wide: coding.wideScales)
        if Code.hasZeroPoints { factors.zeros[0] = ISA.bfloat16Columns(scaleRow + coding.zeroOffset, v) }
        let first = Code.columns(ISA.self, chunk, v, last: false)
        let second = Code.columns(ISA.self, chunk, v, last: true)
        for step in 0..<4 {
            let offset: Int = step &* 64 &+ v &* ISA.Vector.scalarCount &* 4
            (place + offset).storeBytes(of: factors.weight(Code.self, first[step], 0), as: ISA.Vector.self)
            (place + (offset &+ 256)).storeBytes(of: factors.weight(Code.self, second[step], 0), as: ISA.Vector.self)
        }
    }
}

/// Widens one block of a coded panel to fp32, [k][16]. Writes whole chunks: up to seven rows past the block's end hold nothing.
@_alwaysEmitIntoClient @inline(__always)
func widenCodes<ISA: InstructionSet, Code: CodedColumns>(
    _: ISA.Type, _: Code.Type, _ coding: PanelCoding, _ source: UnsafeRawPointer, depth: Int,
    into target: UnsafeMutablePointer<Float>
) {
    let group: Int = 1 << coding.groupShift
    var scaleRow = source
    var chunk = source + coding.scaleBytes(depth)
    var k = 0
    while k < depth {
        let end = min(k &+ group, depth)
        while k < end {
            widenChunk(ISA.self, Code.self, coding, chunk, scaleRow, into: target + k &* 16)
            k &+= 8
            chunk += Code.chunkBytes
        }
        scaleRow += coding.scaleRowBytes
    }
}
