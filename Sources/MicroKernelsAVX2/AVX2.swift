import CPlatform
import MicroKernels

/// x86-64-v3: eight lanes, fused multiply-add, sixteen registers.
enum AVX2: InstructionSet, FusedArithmetic {
    typealias Vector = SIMD8<Float>

    @inline(__always) static func bfloat16Columns(_ row: UnsafeRawPointer, _ index: Int) -> Vector {
        let words = row.loadUnaligned(as: SIMD8<UInt32>.self)
        return unsafeBitCast(index == 0 ? words &<< 16 : cp_upper_halves8(words), to: Vector.self)
    }

    // By the conversion instruction: shifted into place and multiplied, a subnormal fp16 number would be a subnormal fp32 one,
    // which many processors multiply a hundred times slower.
    @inline(__always) static func float16Columns(_ row: UnsafeRawPointer, _ index: Int) -> Vector {
        cp_widen_float16x8((row + index &* 16).loadUnaligned(as: SIMD8<Int16>.self))
    }

    @inline(__always)
    static func nibbleColumns(
        _ chunk: UnsafeRawPointer, _ index: Int, last: Bool, _ table: NibbleTable
    ) -> InlineArray<4, Vector> {
        typealias Words = SIMD8<UInt32>
        let codes = (chunk + index &* 32).loadUnaligned(as: Words.self)
        let nibbles = (last ? codes &>> 4 : codes) & Words(repeating: 0x0f0f_0f0f)
        let low = SIMD8(lowHalf: table.low, highHalf: table.low)
        let high = SIMD8(lowHalf: table.high, highHalf: table.high)
        let (lowBytes, highBytes) = (cp_lookup8(low, nibbles), cp_lookup8(high, nibbles))
        // Words of two bf16 numbers of one column.
        let first = cp_interleave_first8(lowBytes, highBytes)
        let second = cp_interleave_last8(lowBytes, highBytes)
        return [
            unsafeBitCast(first &<< 16, to: Vector.self), unsafeBitCast(cp_upper_halves8(first), to: Vector.self),
            unsafeBitCast(second &<< 16, to: Vector.self), unsafeBitCast(cp_upper_halves8(second), to: Vector.self),
        ]
    }

    @inline(__always) static func widenedBytes(_ place: UnsafeRawPointer) -> Vector { cp_widen_int8x8(place) }

    @inline(__always)
    static func float8Columns(_ chunk: UnsafeRawPointer, _ index: Int, last: Bool) -> InlineArray<4, Vector> {
        let codes = (chunk + (index &* 64 &+ (last ? 32 : 0))).loadUnaligned(as: SIMD16<Int16>.self)
        // Sign to fp16's sign, exponent and significand to their places there.
        let mask = SIMD16<Int16>(repeating: Int16(bitPattern: 0xbf80))
        let even = ((codes &<< 8) &>> 1) & mask
        let odd = (codes &>> 1) & mask
        return [
            cp_widen_float16x8(even.lowHalf), cp_widen_float16x8(odd.lowHalf), cp_widen_float16x8(even.highHalf),
            cp_widen_float16x8(odd.highHalf),
        ]
    }

    // Two multiply-adds start each cycle and take four to finish, so eight sums in flight are the aim: four rows of one panel,
    // two or three of two (3 × 4 sums, three broadcasts and a vector of weights are all 16 registers, so bf16, which wants a
    // mask, does without). One row makes do with four, since memory is slower than that and fewer streams are prefetched
    // better.
    @inline(__always) static func panelsTogether(_ format: PanelFormat, rows: Int) -> Int {
        rows <= 2 || rows == 3 && format.isFloat32 ? 2 : 1
    }

    // 6 rows × 2 vectors of sums, 2 of weights and a broadcast are 15 of 16 registers.
    // Private, so that no unspecialised body of it is kept: that would be emitted under a name all modules share.
    @inline(__always)
    private static func rows<Row: PanelRow, Traffic: WeightTraffic>(
        _: Row.Type, _: Traffic.Type, _ rows: Int, _ panels: Int, _ operands: TileOperands
    ) {
        switch (rows, panels) {
        case (1, 2): Tile<AVX2, Row, Traffic, 1, 4>.run(operands)
        case (2, 2): Tile<AVX2, Row, Traffic, 2, 4>.run(operands)
        case (1, _): Tile<AVX2, Row, Traffic, 1, 2>.run(operands)
        case (2, _): Tile<AVX2, Row, Traffic, 2, 2>.run(operands)
        case (3, _): Tile<AVX2, Row, Traffic, 3, 2>.run(operands)
        case (4, _): Tile<AVX2, Row, Traffic, 4, 2>.run(operands)
        case (5, _): Tile<AVX2, Row, Traffic, 5, 2>.run(operands)
        default: Tile<AVX2, Row, Traffic, 6, 2>.run(operands)
        }
    }

    @inline(never) static func tile(_ format: PanelFormat, rows count: Int, panels: Int, _ operands: TileOperands) {
        switch format {
        case .float32:
            if count == 3 && panels == 2 { return Tile<AVX2, Float32Row, Streaming, 3, 4>.run(operands) }
            rows(Float32Row.self, Streaming.self, count, panels, operands)
        case .bfloat16: rows(BFloat16Row.self, Streaming.self, count, panels, operands)
        case .float16: rows(Float16Row.self, Streaming.self, count, panels, operands)
        case .coded, .byteDot, .bfloat16Pairs, .wideBFloat16: break
        }
    }

    @inline(__always) static func transpose(
        _ rows: UnsafePointer<Float>, count: Int, to columns: UnsafeMutablePointer<Float>, stride: Int
    ) {
        cp_transpose8(rows, count, columns, stride)
    }

    @inline(__always) static func settled(_ sum: Vector) -> Vector { cp_settle8(sum) }

    @inline(__always) static func codedPanels(_ coding: PanelCoding, rows: Int) -> Int {
        rows == 1 ? 2 : rows <= (coding.zeroPoints ? 2 : 4) ? 1 : 0
    }

    @inline(__always)
    private static func coded<Code: CodedColumns>(
        _: Code.Type, _ coding: PanelCoding, _ rows: Int, _ panels: Int, _ operands: TileOperands,
        _ scratch: UnsafeMutablePointer<Float>
    ) {
        switch (rows, panels) {
        case (1, 2): CodedTile<AVX2, Code, 1, 4>.run(coding, operands, scratch)
        case (1, _): CodedTile<AVX2, Code, 1, 2>.run(coding, operands, scratch)
        case (2, _): CodedTile<AVX2, Code, 2, 2>.run(coding, operands, scratch)
        case (3, _): CodedTile<AVX2, Code, 3, 2>.run(coding, operands, scratch)
        default: CodedTile<AVX2, Code, 4, 2>.run(coding, operands, scratch)
        }
    }

    // Zero points take two registers more, and rows what is left.
    @inline(__always)
    private static func fromZeroPoint<Code: CodedColumns>(
        _: Code.Type, _ coding: PanelCoding, _ rows: Int, _ panels: Int, _ operands: TileOperands,
        _ scratch: UnsafeMutablePointer<Float>
    ) {
        switch (rows, panels) {
        case (1, 2): CodedTile<AVX2, FromZeroPoint<Code>, 1, 4>.run(coding, operands, scratch)
        case (1, _): CodedTile<AVX2, FromZeroPoint<Code>, 1, 2>.run(coding, operands, scratch)
        default: CodedTile<AVX2, FromZeroPoint<Code>, 2, 2>.run(coding, operands, scratch)
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
            fromZeroPoint(Int4Columns.self, coding, count, panels, operands, scratch)
        case .int4: coded(Int4Columns.self, coding, count, panels, operands, scratch)
        case .int8 where coding.zeroPoints:
            fromZeroPoint(Int8Columns.self, coding, count, panels, operands, scratch)
        case .int8: coded(Int8Columns.self, coding, count, panels, operands, scratch)
        }
    }

    @inline(never) static func genericTile(
        _ format: PanelFormat, rows: Int, panels: Int, streams: Bool, _ operands: TileOperands
    ) {
        runGenericTile(AVX2.self, format, rows: rows, panels: panels, streams: streams, operands)
    }

    @inline(never) static func residentTile(
        _ format: PanelFormat, rows count: Int, panels: Int, _ operands: TileOperands
    ) {
        switch format {
        case .float32: rows(Float32Row.self, Resident.self, count, 1, operands)
        case .bfloat16: rows(BFloat16Row.self, Resident.self, count, 1, operands)
        case .float16, .coded, .byteDot, .bfloat16Pairs, .wideBFloat16: break
        }
    }
}

/// The kernels of x86-64-v3 processors.
public struct AVX2Kernels: KernelSet {
    public init() {}
    public var panelsTogether: Int { AVX2.panelsTogether(.float32, rows: 1) }
    public var lanes: Int { AVX2.Vector.scalarCount }
    public func sweep(_ sweep: PanelSweep) { sweepPanels(AVX2.self, sweep) }
    public func select(_ selection: RouterSelection) { selectExperts(AVX2.self, selection) }
    public func combine(_ combine: CombineRows) { combineRows(AVX2.self, combine) }
    public func pack(_ pack: PackRows) { packRows(AVX2.self, pack) }
    public func multiplyAddChains(steps: Int, seed: Float) -> Float {
        MicroKernels.multiplyAddChains(AVX2.self, steps: steps, seed: seed)
    }
    public func readThrough(_ memory: UnsafeRawPointer, bytes: Int, _ pattern: ReadPattern) -> UInt32 {
        MicroKernels.readThrough(AVX2.self, memory, bytes: bytes, pattern)
    }
}
