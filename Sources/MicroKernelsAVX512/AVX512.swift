import CPlatform
import MicroKernels

/// x86-64-v4: sixteen lanes, fused multiply-add, thirty-two registers. One vector is a whole panel row.
enum AVX512: InstructionSet, FusedArithmetic {
    typealias Vector = SIMD16<Float>

    @inline(__always) static func bfloat16Columns(_ row: UnsafeRawPointer, _ index: Int) -> Vector {
        cp_widen_bfloat16x16(row)
    }

    @inline(__always) static func wideBFloat16Columns(_ row: UnsafeRawPointer, _ index: Int) -> Vector {
        let words = row.loadUnaligned(as: SIMD16<UInt32>.self)
        return unsafeBitCast(index == 0 ? words &<< 16 : cp_upper_halves16(words), to: Vector.self)
    }

    @inline(__always) static func float16Columns(_ row: UnsafeRawPointer, _ index: Int) -> Vector {
        cp_widen_float16x16(row.loadUnaligned(as: SIMD16<Int16>.self))
    }

    @inline(__always)
    static func nibbleColumns(
        _ chunk: UnsafeRawPointer, _ index: Int, last: Bool, _ table: NibbleTable
    ) -> InlineArray<4, Vector> {
        typealias Words = SIMD16<UInt32>
        let codes = (chunk + index &* 32).loadUnaligned(as: Words.self)
        let nibbles = (last ? codes &>> 4 : codes) & Words(repeating: 0x0f0f_0f0f)
        let low8 = SIMD8(lowHalf: table.low, highHalf: table.low)
        let high8 = SIMD8(lowHalf: table.high, highHalf: table.high)
        let low = SIMD16(lowHalf: low8, highHalf: low8)
        let high = SIMD16(lowHalf: high8, highHalf: high8)
        let (lowBytes, highBytes) = (cp_lookup16(low, nibbles), cp_lookup16(high, nibbles))
        // Words of two bf16 numbers of one column.
        let first = cp_interleave_first16(lowBytes, highBytes)
        let second = cp_interleave_last16(lowBytes, highBytes)
        let upper = Words(repeating: 0xffff_0000)
        return [
            unsafeBitCast(first &<< 16, to: Vector.self), unsafeBitCast(first & upper, to: Vector.self),
            unsafeBitCast(second &<< 16, to: Vector.self), unsafeBitCast(second & upper, to: Vector.self),
        ]
    }

    @inline(__always) static func widenedBytes(_ place: UnsafeRawPointer) -> Vector { cp_widen_int8x16(place) }

    @inline(__always)
    static func float8Columns(_ chunk: UnsafeRawPointer, _ index: Int, last: Bool) -> InlineArray<4, Vector> {
        var result = InlineArray<4, Vector>(repeating: Vector(repeating: 0))
        for pair in 0..<2 {
            let place: UnsafeRawPointer = chunk + (pair &* 16 &+ (last ? 32 : 0))
            let codes = SIMD16(
                lowHalf: place.loadUnaligned(as: SIMD8<Int16>.self),
                highHalf: (place + 64).loadUnaligned(as: SIMD8<Int16>.self))
            // Sign to fp16's sign, exponent and significand to their places there.
            let mask = SIMD16<Int16>(repeating: Int16(bitPattern: 0xbf80))
            result[2 &* pair] = cp_widen_float16x16(((codes &<< 8) &>> 1) & mask)
            result[2 &* pair &+ 1] = cp_widen_float16x16((codes &>> 1) & mask)
        }
        return result
    }

    @inline(__always) static func panelsTogether(_ format: PanelFormat, rows: Int) -> Int {
        rows == 1 ? 8 : rows <= 6 ? 4 : 2
    }

    // Private, so that no unspecialised body of it is kept: that would be emitted under a name all modules share.
    @inline(__always)
    private static func rows<Row: PanelRow, Traffic: WeightTraffic>(
        _: Row.Type, _: Traffic.Type, _ rows: Int, _ panels: Int, _ operands: TileOperands
    ) {
        if panels == 1 {
            onePanel(Row.self, Traffic.self, rows, operands)
        } else {
            somePanels(Row.self, Traffic.self, rows, panels, operands)
        }
    }

    @inline(__always)
    private static func somePanels<Row: PanelRow, Traffic: WeightTraffic>(
        _: Row.Type, _: Traffic.Type, _ rows: Int, _ panels: Int, _ operands: TileOperands
    ) {
        switch (rows, panels) {
        case (1, 8): Tile<AVX512, Row, Traffic, 1, 8>.run(operands)
        case (1, 4): Tile<AVX512, Row, Traffic, 1, 4>.run(operands)
        case (2, 4): Tile<AVX512, Row, Traffic, 2, 4>.run(operands)
        case (3, 4): Tile<AVX512, Row, Traffic, 3, 4>.run(operands)
        case (4, 4): Tile<AVX512, Row, Traffic, 4, 4>.run(operands)
        case (5, 4): Tile<AVX512, Row, Traffic, 5, 4>.run(operands)
        case (6, 4): Tile<AVX512, Row, Traffic, 6, 4>.run(operands)
        default: twoPanels(Row.self, Traffic.self, rows, operands)
        }
    }

    // A panel is one vector: two of them with twelve rows are 24 sums, two vectors of weights, and broadcasts, of
    // 32 registers. One panel alone would want a load for every multiply-add, more than there are ports for.
    @inline(__always)
    private static func twoPanels<Row: PanelRow, Traffic: WeightTraffic>(
        _: Row.Type, _: Traffic.Type, _ rows: Int, _ operands: TileOperands
    ) {
        switch rows {
        case 1: Tile<AVX512, Row, Traffic, 1, 2>.run(operands)
        case 2: Tile<AVX512, Row, Traffic, 2, 2>.run(operands)
        case 3: Tile<AVX512, Row, Traffic, 3, 2>.run(operands)
        case 4: Tile<AVX512, Row, Traffic, 4, 2>.run(operands)
        case 5: Tile<AVX512, Row, Traffic, 5, 2>.run(operands)
        case 6: Tile<AVX512, Row, Traffic, 6, 2>.run(operands)
        case 7: Tile<AVX512, Row, Traffic, 7, 2>.run(operands)
        case 8: Tile<AVX512, Row, Traffic, 8, 2>.run(operands)
        case 9: Tile<AVX512, Row, Traffic, 9, 2>.run(operands)
        case 10: Tile<AVX512, Row, Traffic, 10, 2>.run(operands)
        case 11: Tile<AVX512, Row, Traffic, 11, 2>.run(operands)
        default: Tile<AVX512, Row, Traffic, 12, 2>.run(operands)
        }
    }

    @inline(__always)
    private static func onePanel<Row: PanelRow, Traffic: WeightTraffic>(
        _: Row.Type, _: Traffic.Type, _ rows: Int, _ operands: TileOperands
    ) {
        switch rows {
        case 1: Tile<AVX512, Row, Traffic, 1, 1>.run(operands)
        case 2: Tile<AVX512, Row, Traffic, 2, 1>.run(operands)
        case 3: Tile<AVX512, Row, Traffic, 3, 1>.run(operands)
        case 4: Tile<AVX512, Row, Traffic, 4, 1>.run(operands)
        case 5: Tile<AVX512, Row, Traffic, 5, 1>.run(operands)
        case 6: Tile<AVX512, Row, Traffic, 6, 1>.run(operands)
        case 7: Tile<AVX512, Row, Traffic, 7, 1>.run(operands)
        case 8: Tile<AVX512, Row, Traffic, 8, 1>.run(operands)
        case 9: Tile<AVX512, Row, Traffic, 9, 1>.run(operands)
        case 10: Tile<AVX512, Row, Traffic, 10, 1>.run(operands)
        case 11: Tile<AVX512, Row, Traffic, 11, 1>.run(operands)
        default: Tile<AVX512, Row, Traffic, 12, 1>.run(operands)
        }
    }

    @inline(never) static func tile(_ format: PanelFormat, rows count: Int, panels: Int, _ operands: TileOperands) {
        switch format {
        case .float32: rows(Float32Row.self, Streaming.self, count, panels, operands)
        case .bfloat16: rows(BFloat16Row.self, Streaming.self, count, panels, operands)
        case .float16: rows(Float16Row.self, Streaming.self, count, panels, operands)
        case .wideBFloat16: somePanels(WideBFloat16Row.self, Streaming.self, count, panels, operands)
        case .coded, .byteDot, .bfloat16Pairs: break
        }
    }

    @inline(__always) static func transpose(
        _ rows: UnsafePointer<Float>, count: Int, to columns: UnsafeMutablePointer<Float>, stride: Int
    ) {
        cp_transpose8(rows, count, columns, stride)
    }

    @inline(__always) static func transpose(
        _ rows: InlineArray<8, SIMD16<Float>>, count: Int, to columns: UnsafeMutablePointer<Float>, stride: Int
    ) {
        cp_transpose8x16(
            rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7], count, columns, stride)
    }

    @inline(__always) static func settled(_ sum: Vector) -> Vector { cp_settle16(sum) }

    @inline(__always) static func codedPanels(_ coding: PanelCoding, rows: Int) -> Int {
        rows <= 2 ? 4 : rows <= 6 ? 2 : 0
    }

    @inline(__always)
    private static func coded<Code: CodedColumns>(
        _: Code.Type, _ coding: PanelCoding, _ rows: Int, _ panels: Int, _ operands: TileOperands,
        _ scratch: UnsafeMutablePointer<Float>
    ) {
        switch (rows, panels) {
        case (1, 4): CodedTile<AVX512, Code, 1, 4>.run(coding, operands, scratch)
        case (2, 4): CodedTile<AVX512, Code, 2, 4>.run(coding, operands, scratch)
        case (3, 2): CodedTile<AVX512, Code, 3, 2>.run(coding, operands, scratch)
        case (4, 2): CodedTile<AVX512, Code, 4, 2>.run(coding, operands, scratch)
        case (5, 2): CodedTile<AVX512, Code, 5, 2>.run(coding, operands, scratch)
        case (6, 2): CodedTile<AVX512, Code, 6, 2>.run(coding, operands, scratch)
        case (1, _): CodedTile<AVX512, Code, 1, 1>.run(coding, operands, scratch)
        case (2, _): CodedTile<AVX512, Code, 2, 1>.run(coding, operands, scratch)
        case (3, _): CodedTile<AVX512, Code, 3, 1>.run(coding, operands, scratch)
        case (4, _): CodedTile<AVX512, Code, 4, 1>.run(coding, operands, scratch)
        case (5, _): CodedTile<AVX512, Code, 5, 1>.run(coding, operands, scratch)
        default: CodedTile<AVX512, Code, 6, 1>.run(coding, operands, scratch)
        }
    }

    @inline(never) static func codedTile(
        _ coding: PanelCoding, rows count: Int, panels: Int, _ operands: TileOperands,
        scratch: UnsafeMutablePointer<Float>
    ) {
        switch coding.code {
        case .float8E4M3: coded(Float8Columns.self, coding, count, panels, operands, scratch)
        case .float4E2M1: coded(Float4Columns.self, coding, count, panels, operands, scratch)
        case .int4 where coding.zeroPoints:
            coded(FromZeroPoint<Int4Columns>.self, coding, count, panels, operands, scratch)
        case .int4: coded(Int4Columns.self, coding, count, panels, operands, scratch)
        case .int8 where coding.zeroPoints:
            coded(FromZeroPoint<Int8Columns>.self, coding, count, panels, operands, scratch)
        case .int8: coded(Int8Columns.self, coding, count, panels, operands, scratch)
        }
    }

    @inline(__always)
    private static func resident<Row: PanelRow>(_: Row.Type, _ rows: Int, _ panels: Int, _ operands: TileOperands) {
        if panels == 2 {
            twoPanels(Row.self, Resident.self, rows, operands)
        } else {
            onePanel(Row.self, Resident.self, rows, operands)
        }
    }

    @inline(never) static func genericTile(
        _ format: PanelFormat, rows: Int, panels: Int, streams: Bool, _ operands: TileOperands
    ) {
        runGenericTile(AVX512.self, format, rows: rows, panels: panels, streams: streams, operands)
    }

    @inline(never) static func residentTile(
        _ format: PanelFormat, rows count: Int, panels: Int, _ operands: TileOperands
    ) {
        switch format {
        case .float32: resident(Float32Row.self, count, panels, operands)
        case .bfloat16: resident(BFloat16Row.self, count, panels, operands)
        case .wideBFloat16: twoPanels(WideBFloat16Row.self, Resident.self, count, operands)
        case .float16, .coded, .byteDot, .bfloat16Pairs: break
        }
    }
}

/// The kernels of x86-64-v4 processors.
public struct AVX512Kernels: KernelSet {
    public init() {}
    public var panelsTogether: Int { AVX512.panelsTogether(.float32, rows: 1) }
    public var lanes: Int { AVX512.Vector.scalarCount }
    public func sweep(_ sweep: PanelSweep) { sweepPanels(AVX512.self, sweep) }
    public func select(_ selection: RouterSelection) { selectExperts(AVX512.self, selection) }
    public func combine(_ combine: CombineRows) { combineRows(AVX512.self, combine) }
    public func pack(_ pack: PackRows) { packRows(AVX512.self, pack) }
    public func multiplyAddChains(steps: Int, seed: Float) -> Float {
        MicroKernels.multiplyAddChains(AVX512.self, steps: steps, seed: seed)
    }
    public func readThrough(_ memory: UnsafeRawPointer, bytes: Int, _ pattern: ReadPattern) -> UInt32 {
        MicroKernels.readThrough(AVX512.self, memory, bytes: bytes, pattern)
    }
}
