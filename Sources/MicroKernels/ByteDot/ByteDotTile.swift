import CPlatform

/// An integer code as a type, so that each tile is compiled for one.
public protocol ByteDotCode {
    static var code: PanelCode { get }
    /// Vectors of words that a group of 32 k has for each vector of columns.
    static var steps: Int { get }
    /// Quads of k in one.
    static var quads: Int { get }
    /// Vector `quad` of a step's words, ready for ``add(_:_:_:_:)``.
    static func weights<ISA: ByteDotSet>(_: ISA.Type, _ words: ISA.Words, quad: Int) -> ISA.Words
    static func add<ISA: ByteDotSet>(
        _: ISA.Type, _ sum: ISA.Words, _ weights: ISA.Words, _ activations: ISA.Words
    ) -> ISA.Words
    /// How much too large a group's whole sum is, since weights are multiplied as if they had no signs.
    static func excess<ISA: ByteDotSet>(_: ISA.Type, _ activationSum: UnsafePointer<Int32>) -> ISA.Words
    /// The group's whole sum less that.
    static func total<ISA: ByteDotSet>(_: ISA.Type, _ sum: ISA.Words, _ excess: ISA.Words) -> ISA.Words
}

public enum Int8Dot: ByteDotCode {
    @_alwaysEmitIntoClient @inline(__always) public static var code: PanelCode { .int8 }
    @_alwaysEmitIntoClient @inline(__always) public static var steps: Int { 8 }
    @_alwaysEmitIntoClient @inline(__always) public static var quads: Int { 1 }
    @_alwaysEmitIntoClient @inline(__always)
    public static func weights<ISA: ByteDotSet>(_: ISA.Type, _ words: ISA.Words, quad: Int) -> ISA.Words { words }
    @_alwaysEmitIntoClient @inline(__always)
    public static func add<ISA: ByteDotSet>(
        _: ISA.Type, _ sum: ISA.Words, _ weights: ISA.Words, _ activations: ISA.Words
    ) -> ISA.Words {
        ISA.byteDot(sum, weights, activations)
    }
    @_alwaysEmitIntoClient @inline(__always)
    public static func excess<ISA: ByteDotSet>(
        _: ISA.Type, _ activationSum: UnsafePointer<Int32>
    ) -> ISA.Words {
        ISA.byteOffset == 0 ? ISA.Words(repeating: 0) : ISA.multiple(of: activationSum, shift: 7)
    }
    @_alwaysEmitIntoClient @inline(__always)
    public static func total<ISA: ByteDotSet>(_: ISA.Type, _ sum: ISA.Words, _ excess: ISA.Words) -> ISA.Words {
        ISA.byteOffset == 0 ? sum : sum &- excess
    }
}

/// Nibbles are multiplied as 0 … 15; they mean 8 less.
public enum Int4Dot: ByteDotCode {
    @_alwaysEmitIntoClient @inline(__always) public static var code: PanelCode { .int4 }
    @_alwaysEmitIntoClient @inline(__always) public static var steps: Int { 4 }
    @_alwaysEmitIntoClient @inline(__always) public static var quads: Int { 2 }
    @_alwaysEmitIntoClient @inline(__always)
    public static func weights<ISA: ByteDotSet>(_: ISA.Type, _ words: ISA.Words, quad: Int) -> ISA.Words {
        quad == 0 ? ISA.lowNibbles(words) : ISA.highNibbles(words)
    }
    @_alwaysEmitIntoClient @inline(__always)
    public static func add<ISA: ByteDotSet>(
        _: ISA.Type, _ sum: ISA.Words, _ weights: ISA.Words, _ activations: ISA.Words
    ) -> ISA.Words {
        ISA.nibbleDot(sum, weights, activations)
    }
    @_alwaysEmitIntoClient @inline(__always)
    public static func excess<ISA: ByteDotSet>(
        _: ISA.Type, _ activationSum: UnsafePointer<Int32>
    ) -> ISA.Words {
        ISA.multiple(of: activationSum, shift: 3)
    }
    @_alwaysEmitIntoClient @inline(__always)
    public static func total<ISA: ByteDotSet>(_: ISA.Type, _ sum: ISA.Words, _ excess: ISA.Words) -> ISA.Words {
        ISA.total(sum) &- excess
    }
}

/// Whether codes have zero points, as a type.
public protocol ZeroPointRule {
    static var hasZeroPoints: Bool { get }
}
public enum Symmetric: ZeroPointRule {
    @_alwaysEmitIntoClient @inline(__always) public static var hasZeroPoints: Bool { false }
}
public enum ZeroPointed: ZeroPointRule {
    @_alwaysEmitIntoClient @inline(__always) public static var hasZeroPoints: Bool { true }
}

/// The register tile over bytes: `rows` token rows by `vectors` vectors of columns of all panels taken together. The sums of 32 products
/// are whole numbers in registers; then each is added, times the scales of its weights and of its activations, to the accumulators:
/// one multiply-add for 32 products, in the order of k.
public struct ByteDotTile<ISA: ByteDotSet, Code: ByteDotCode, Zero: ZeroPointRule, let rows: Int, let vectors: Int> {
    @_alwaysEmitIntoClient @inline(__always)
    public static func run(_ operands: ByteDotOperands) {
        let perPanel: Int = 16 / ISA.Vector.scalarCount
        let stride = operands.panelStride
        let ahead: Int = operands.next - operands.b
        let tileRows = operands.tileRows
        var codes = operands.b + operands.scaleBytes
        var a = operands.a
        var group = 0
        while group < operands.groups {
            let scaleRow = operands.b + (group >> operands.scaleShift) &* operands.scaleRowBytes
            if operands.asks {
                for p in 0..<vectors / perPanel { cp_prefetch_far(scaleRow + (p &* stride &+ ahead)) }
            }
            var sums = InlineArray<rows, InlineArray<vectors, ISA.Words>>(
                repeating: InlineArray(repeating: ISA.Words(repeating: 0)))
            // As many steps as `Code.steps` says; unrolled, the group's loads would all come first and want more registers than there are.
            let end = codes + operands.stepBytes
            var step = codes
            var at = a + 2 &* tileRows
            while step < end {
                // A line a panel and step, not all of the group at once: a burst fills the queue of misses.
                if operands.asks {
                    for p in 0..<vectors / perPanel { cp_prefetch_far(step + (p &* stride &+ ahead)) }
                }
                add(step, stride, quad: 0, at, &sums)
                if Code.quads > 1 { add(step, stride, quad: 1, at + Code.steps &* tileRows, &sums) }
                step += 64
                at += tileRows
            }
            finish(operands, scaleRow, a, sums)
            codes += ByteDotLayout.groupBytes(Code.code)
            a += ISA.groupWords &* tileRows
            group &+= 1
        }
    }

    /// Adds a quad of k: of row r, word `at[r]`.
    @_alwaysEmitIntoClient @inline(__always)
    static func add(
        _ step: UnsafeRawPointer, _ stride: Int, quad: Int, _ at: UnsafePointer<UInt32>,
        _ sums: inout InlineArray<rows, InlineArray<vectors, ISA.Words>>
    ) {
        let perPanel: Int = 16 / ISA.Vector.scalarCount
        var weights = InlineArray<vectors, ISA.Words>(repeating: ISA.Words(repeating: 0))
        for v in 0..<vectors {
            let offset: Int = (v / perPanel) &* stride &+ (v % perPanel) &* ISA.Vector.scalarCount &* 4
            weights[v] = Code.weights(ISA.self, (step + offset).loadUnaligned(as: ISA.Words.self), quad: quad)
        }
        // The compiler would leave a loop over bodies of this size rolled, and the sums in memory.
        if rows > 0 { add(0, weights, at, &sums) }
        if rows > 1 { add(1, weights, at, &sums) }
        if rows > 2 { add(2, weights, at, &sums) }
        if rows > 3 { add(3, weights, at, &sums) }
        if rows > 4 { add(4, weights, at, &sums) }
        if rows > 5 { add(5, weights, at, &sums) }
        if rows > 6 { add(6, weights, at, &sums) }
        if rows > 7 { add(7, weights, at, &sums) }
        if rows > 8 { add(8, weights, at, &sums) }
        if rows > 9 { add(9, weights, at, &sums) }
        if rows > 10 { add(10, weights, at, &sums) }
        if rows > 11 { add(11, weights, at, &sums) }
    }

    @_alwaysEmitIntoClient @inline(__always)
    static func add(
        _ r: Int, _ weights: InlineArray<vectors, ISA.Words>, _ at: UnsafePointer<UInt32>,
        _ sums: inout InlineArray<rows, InlineArray<vectors, ISA.Words>>
    ) {
        let activations = ISA.repeated(at + r)
        for v in 0..<vectors { sums[r][v] = Code.add(ISA.self, sums[r][v], weights[v], activations) }
    }

    /// A group's scales of all vectors of columns.
    @_alwaysEmitIntoClient @inline(__always)
    static func scales(
        _ row: UnsafeRawPointer, _ panelStride: Int, wide: Bool
    ) -> InlineArray<vectors, ISA.Vector> {
        let perPanel: Int = 16 / ISA.Vector.scalarCount
        var scales = InlineArray<vectors, ISA.Vector>(repeating: ISA.Vector(repeating: 0))
        for v in 0..<vectors {
            scales[v] = ISA.scales(row + (v / perPanel) &* panelStride, v % perPanel, wide: wide)
        }
        return scales
    }

    /// Adds a group's sums to the accumulators.
    @_alwaysEmitIntoClient @inline(__always)
    static func finish(
        _ operands: ByteDotOperands, _ scaleRow: UnsafeRawPointer, _ a: UnsafePointer<UInt32>,
        _ sums: InlineArray<rows, InlineArray<vectors, ISA.Words>>
    ) {
        // Asked once, not for each vector.
        let scales =
            operands.wideScales
            ? scales(scaleRow, operands.panelStride, wide: true) : scales(scaleRow, operands.panelStride, wide: false)
        if rows > 0 { finish(0, operands, scaleRow, a, scales, sums) }
        if rows > 1 { finish(1, operands, scaleRow, a, scales, sums) }
        if rows > 2 { finish(2, operands, scaleRow, a, scales, sums) }
        if rows > 3 { finish(3, operands, scaleRow, a, scales, sums) }
        if rows > 4 { finish(4, operands, scaleRow, a, scales, sums) }
        if rows > 5 { finish(5, operands, scaleRow, a, scales, sums) }
        if rows > 6 { finish(6, operands, scaleRow, a, scales, sums) }
        if rows > 7 { finish(7, operands, scaleRow, a, scales, sums) }
        if rows > 8 { finish(8, operands, scaleRow, a, scales, sums) }
        if rows > 9 { finish(9, operands, scaleRow, a, scales, sums) }
        if rows > 10 { finish(10, operands, scaleRow, a, scales, sums) }
        if rows > 11 { finish(11, operands, scaleRow, a, scales, sums) }
    }

    @_alwaysEmitIntoClient @inline(__always)
    static func finish(
        _ r: Int, _ operands: ByteDotOperands, _ scaleRow: UnsafeRawPointer, _ a: UnsafePointer<UInt32>,
        _ scales: InlineArray<vectors, ISA.Vector>, _ sums: InlineArray<rows, InlineArray<vectors, ISA.Words>>
    ) {
        let perPanel: Int = 16 / ISA.Vector.scalarCount
        let scale = UnsafeRawPointer(a + r).load(as: Float.self)
        let activationSum = UnsafeRawPointer(a + (operands.tileRows &+ r)).assumingMemoryBound(to: Int32.self)
        // Once for all columns: the compiler cannot tell that what is stored below leaves it as it is.
        let excess = Code.excess(ISA.self, activationSum)
        for v in 0..<vectors {
            var sum = ISA.floats(Code.total(ISA.self, sums[r][v], excess))
            if Zero.hasZeroPoints {
                // Both products and their difference are whole numbers below 2²⁴: exact.
                let row: UnsafeRawPointer = scaleRow + ((v / perPanel) &* operands.panelStride &+ operands.zeroOffset)
                let zeros = ISA.bfloat16Columns(row, v % perPanel)
                sum = ISA.multiplyAdd(sum, zeros, ISA.Vector(repeating: Float(0 &- activationSum.pointee)))
            }
            let offset: Int =
                (v / perPanel) &* operands.cPanelStride &+ r &* 16 &+ (v % perPanel) &* ISA.Vector.scalarCount
            let place = UnsafeMutableRawPointer(operands.c + offset)
            let before = place.loadUnaligned(as: ISA.Vector.self)
            place.storeBytes(
                of: ISA.multiplyAdd(before, sum, scales[v] * ISA.Vector(repeating: scale)), as: ISA.Vector.self)
        }
    }
}
