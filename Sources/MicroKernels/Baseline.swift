/// What every machine of the architecture has: SSE2 on x86-64, NEON on arm64. Four lanes.
///
/// Baseline x86-64 has no fused multiply-add, where `addingProduct` would call the C library for each lane; it multiplies, then
/// adds, within the error bound but not bit for bit like the fused sets.
enum Baseline: InstructionSet {
    typealias Vector = SIMD4<Float>

    #if arch(x86_64)
        @inline(__always) static func multiplyAdd(_ sum: Vector, _ a: Vector, _ b: Vector) -> Vector { sum + a * b }
        @inline(__always)
        static func multiplyAdd(_ sum: SIMD8<Float>, _ a: SIMD8<Float>, _ b: SIMD8<Float>) -> SIMD8<Float> {
            sum + a * b
        }
        @inline(__always)
        static func multiplyAdd(_ sum: SIMD16<Float>, _ a: SIMD16<Float>, _ b: SIMD16<Float>) -> SIMD16<Float> {
            sum + a * b
        }
        @inline(__always) static func multiplyAdd(_ sum: Float, _ a: Float, _ b: Float) -> Float { sum + a * b }
    #else
        @inline(__always)
        static func multiplyAdd(_ sum: Vector, _ a: Vector, _ b: Vector) -> Vector { sum.addingProduct(a, b) }
        @inline(__always)
        static func multiplyAdd(_ sum: SIMD8<Float>, _ a: SIMD8<Float>, _ b: SIMD8<Float>) -> SIMD8<Float> {
            sum.addingProduct(a, b)
        }
        @inline(__always)
        static func multiplyAdd(_ sum: SIMD16<Float>, _ a: SIMD16<Float>, _ b: SIMD16<Float>) -> SIMD16<Float> {
            sum.addingProduct(a, b)
        }
        @inline(__always)
        static func multiplyAdd(_ sum: Float, _ a: Float, _ b: Float) -> Float { sum.addingProduct(a, b) }
    #endif

    @inline(__always) static func bfloat16Columns(_ row: UnsafeRawPointer, _ index: Int) -> Vector {
        let words = (row + (index & 1) &* 16).loadUnaligned(as: SIMD4<UInt32>.self)
        return unsafeBitCast(
            index < 2 ? words &<< 16 : words & SIMD4<UInt32>(repeating: 0xffff_0000), to: Vector.self)
    }

    @inline(__always) static func float16Columns(_ row: UnsafeRawPointer, _ index: Int) -> Vector {
        // Each half in the upper half of a word.
        var halves = SIMD8<UInt16>(repeating: 0)
        halves.oddHalf = (row + index &* 8).loadUnaligned(as: SIMD4<UInt16>.self)
        let upper = unsafeBitCast(halves, to: SIMD4<Int32>.self)
        // The sign stays, exponent and significand move to their fp32 places, 2¹¹² mends the exponent's bias.
        let placed = (upper &>> 3) & SIMD4<Int32>(repeating: Int32(bitPattern: 0x8fff_e000))
        return unsafeBitCast(placed, to: Vector.self) * Vector(repeating: 0x1p112)
    }

    // Plain code a number at a time: what a machine without byte look-ups has.
    @inline(__always)
    static func nibbleColumns(
        _ chunk: UnsafeRawPointer, _ index: Int, last: Bool, _ table: NibbleTable
    ) -> InlineArray<4, Vector> {
        var result = InlineArray<4, Vector>(repeating: Vector(repeating: 0))
        for k in 0..<4 {
            for lane in 0..<4 {
                let offset: Int = index &* 16 &+ (k >> 1) &* 8 &+ lane &* 2 &+ (k & 1)
                let byte = UInt32((chunk + offset).load(as: UInt8.self))
                result[k][lane] = table.number(byte >> (last ? 4 : 0) & 15)
            }
        }
        return result
    }

    @inline(__always) static func widenedBytes(_ place: UnsafeRawPointer) -> Vector {
        var result = Vector(repeating: 0)
        for lane in 0..<4 { result[lane] = Float((place + lane).load(as: Int8.self)) }
        return result
    }

    @inline(__always)
    static func float8Columns(_ chunk: UnsafeRawPointer, _ index: Int, last: Bool) -> InlineArray<4, Vector> {
        var result = InlineArray<4, Vector>(repeating: Vector(repeating: 0))
        let quad: Int = (index >> 1) &* 64 &+ (index & 1) &* 8 &+ (last ? 32 : 0)
        for k in 0..<4 {
            for lane in 0..<4 {
                let offset: Int = quad &+ (k >> 1) &* 16 &+ lane &* 2 &+ (k & 1)
                let code = UInt32((chunk + offset).load(as: UInt8.self))
                // The exponent's bias is 120 too small in fp32; 2¹¹² leaves the number divided by 256.
                let magnitude = Float(bitPattern: (code & 0x7f) << 20) * 0x1p112
                result[k][lane] = Float(bitPattern: magnitude.bitPattern | (code & 0x80) << 24)
            }
        }
        return result
    }

    @inline(__always) static func codedPanels(_ coding: PanelCoding, rows: Int) -> Int { 0 }
    @inline(__always)
    static func codedTile(
        _ coding: PanelCoding, rows: Int, panels: Int, _ operands: TileOperands, scratch: UnsafeMutablePointer<Float>
    ) {}
    @inline(__always) static func transpose(
        _ rows: UnsafePointer<Float>, count: Int, to columns: UnsafeMutablePointer<Float>, stride: Int
    ) {
        for column in 0..<8 {
            var row = 0
            while row < count {
                let to: Int = column &* stride &+ row
                columns[to] = rows[row &* 16 &+ column]
                row &+= 1
            }
        }
    }
    @inline(__always) static func settled(_ sum: Vector) -> Vector { sum }
    @inline(__always) static func panelsTogether(_ format: PanelFormat, rows: Int) -> Int { rows == 1 ? 2 : 1 }

    // Sixteen registers: 3 rows × 4 vectors of sums leave four for weights, broadcasts and products.
    // Private, so that no unspecialised body of it is kept: that would be emitted under a name all modules share.
    @inline(__always)
    private static func rows<Row: PanelRow, Traffic: WeightTraffic>(
        _: Row.Type, _: Traffic.Type, _ rows: Int, _ panels: Int, _ operands: TileOperands
    ) {
        switch (rows, panels) {
        case (1, 2): Tile<Baseline, Row, Traffic, 1, 8>.run(operands)
        case (1, _): Tile<Baseline, Row, Traffic, 1, 4>.run(operands)
        case (2, _): Tile<Baseline, Row, Traffic, 2, 4>.run(operands)
        default: Tile<Baseline, Row, Traffic, 3, 4>.run(operands)
        }
    }

    @inline(never) static func tile(_ format: PanelFormat, rows count: Int, panels: Int, _ operands: TileOperands) {
        switch format {
        case .float32: rows(Float32Row.self, Streaming.self, count, panels, operands)
        case .bfloat16: rows(BFloat16Row.self, Streaming.self, count, panels, operands)
        case .float16: rows(Float16Row.self, Streaming.self, count, panels, operands)
        case .coded, .byteDot, .bfloat16Pairs, .wideBFloat16: break
        }
    }

    @inline(never) static func genericTile(
        _ format: PanelFormat, rows: Int, panels: Int, streams: Bool, _ operands: TileOperands
    ) {
        runGenericTile(Baseline.self, format, rows: rows, panels: panels, streams: streams, operands)
    }

    @inline(never) static func residentTile(
        _ format: PanelFormat, rows count: Int, panels: Int, _ operands: TileOperands
    ) {
        rows(Float32Row.self, Resident.self, count, 1, operands)
    }
}

/// The kernels of ``Baseline``.
public struct BaselineKernels: KernelSet {
    public init() {}
    public var panelsTogether: Int { Baseline.panelsTogether(.float32, rows: 1) }
    public var lanes: Int { Baseline.Vector.scalarCount }
    public func sweep(_ sweep: PanelSweep) { sweepPanels(Baseline.self, sweep) }
    public func select(_ selection: RouterSelection) { selectExperts(Baseline.self, selection) }
    public func combine(_ combine: CombineRows) { combineRows(Baseline.self, combine) }
    public func pack(_ pack: PackRows) { packRows(Baseline.self, pack) }
    public func multiplyAddChains(steps: Int, seed: Float) -> Float {
        MicroKernels.multiplyAddChains(Baseline.self, steps: steps, seed: seed)
    }
    public func readThrough(_ memory: UnsafeRawPointer, bytes: Int, _ pattern: ReadPattern) -> UInt32 {
        MicroKernels.readThrough(Baseline.self, memory, bytes: bytes, pattern)
    }
}
