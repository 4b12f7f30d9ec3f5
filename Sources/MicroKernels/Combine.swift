/// The weighted sum of some tokens' expert rows, in slot order, plus the shared expert's row.
public struct CombineRows {
    public var tokens: Range<Int>
    public var hidden: Int
    public var topK: Int
    /// Expert outputs grouped by expert, [rows, hidden], and for each (token, slot) its row.
    public var rows: UnsafePointer<Float>
    public var rowOfSlot: UnsafePointer<Int32>
    /// [tokens, topK]
    public var weights: UnsafePointer<Float>
    /// [tokens, hidden], or nil; and the logit of the sigmoid that scales it, `sharedGateStride` floats a token, or nil.
    public var shared: UnsafePointer<Float>?
    public var sharedGate: UnsafePointer<Float>?
    public var sharedGateStride: Int
    /// [tokens, hidden] in fp32, or, where `bfloat16` is set, in bf16.
    public var output: UnsafeMutableRawPointer
    public var bfloat16: Bool

    @_alwaysEmitIntoClient @inline(__always)
    public init(
        tokens: Range<Int>, hidden: Int, topK: Int, rows: UnsafePointer<Float>, rowOfSlot: UnsafePointer<Int32>,
        weights: UnsafePointer<Float>, shared: UnsafePointer<Float>?, sharedGate: UnsafePointer<Float>?,
        sharedGateStride: Int, output: UnsafeMutableRawPointer, bfloat16: Bool
    ) {
        self.tokens = tokens
        self.hidden = hidden
        self.topK = topK
        self.rows = rows
        self.rowOfSlot = rowOfSlot
        self.weights = weights
        self.shared = shared
        self.sharedGate = sharedGate
        self.sharedGateStride = sharedGateStride
        self.output = output
        self.bfloat16 = bfloat16
    }
}

@_alwaysEmitIntoClient @inline(__always)
public func combineRows<ISA: InstructionSet>(_: ISA.Type, _ combine: CombineRows) {
    let hidden = combine.hidden
    var token = combine.tokens.lowerBound
    while token < combine.tokens.upperBound {
        let slots = combine.rowOfSlot + token &* combine.topK
        let weights = combine.weights + token &* combine.topK
        var sharedWeight: Float = 1
        if let gate = combine.sharedGate {
            let logit = SIMD8<Float>(repeating: gate[token &* combine.sharedGateStride])
            sharedWeight =
                (SIMD8<Float>(repeating: 1)
                / (SIMD8<Float>(repeating: 1) + exponential(ISA.self, SIMD8<Float>(repeating: 0) - logit)))[0]
        }
        var column = 0
        while column &+ 16 <= hidden {
            var low = SIMD8<Float>(repeating: 0)
            var high = SIMD8<Float>(repeating: 0)
            var slot = 0
            while slot < combine.topK {
                let row = UnsafeRawPointer(combine.rows + (Int(slots[slot]) &* hidden &+ column))
                let weight = SIMD8<Float>(repeating: weights[slot])
                low = ISA.multiplyAdd(low, weight, row.loadUnaligned(as: SIMD8<Float>.self))
                high = ISA.multiplyAdd(high, weight, (row + 32).loadUnaligned(as: SIMD8<Float>.self))
                slot &+= 1
            }
            if let shared = combine.shared {
                let row = UnsafeRawPointer(shared + (token &* hidden &+ column))
                let weight = SIMD8<Float>(repeating: sharedWeight)
                low = ISA.multiplyAdd(low, weight, row.loadUnaligned(as: SIMD8<Float>.self))
                high = ISA.multiplyAdd(high, weight, (row + 32).loadUnaligned(as: SIMD8<Float>.self))
            }
            let at: Int = token &* hidden &+ column
            if combine.bfloat16 {
                var lane = 0
                while lane < 8 {
                    let place = combine.output + (at &+ lane) &* 2
                    place.storeBytes(of: roundedToBFloat16(low[lane]), as: UInt16.self)
                    (place + 16).storeBytes(of: roundedToBFloat16(high[lane]), as: UInt16.self)
                    lane &+= 1
                }
            } else {
                let place = combine.output + at &* 4
                place.storeBytes(of: low, as: SIMD8<Float>.self)
                (place + 32).storeBytes(of: high, as: SIMD8<Float>.self)
            }
            column &+= 16
        }
        while column < hidden {
            var sum: Float = 0
            var slot = 0
            while slot < combine.topK {
                sum = ISA.multiplyAdd(sum, weights[slot], combine.rows[Int(slots[slot]) &* hidden &+ column])
                slot &+= 1
            }
            if let shared = combine.shared {
                sum = ISA.multiplyAdd(sum, sharedWeight, shared[token &* hidden &+ column])
            }
            let at: Int = token &* hidden &+ column
            if combine.bfloat16 {
                (combine.output + at &* 2).storeBytes(of: roundedToBFloat16(sum), as: UInt16.self)
            } else {
                (combine.output + at &* 4).storeBytes(of: sum, as: Float.self)
            }
            column &+= 1
        }
        token &+= 1
    }
}

/// Nearest bf16, ties to even; NaN stays quiet NaN.
@_alwaysEmitIntoClient @inline(__always)
func roundedToBFloat16(_ value: Float) -> UInt16 {
    let bits = value.bitPattern
    let rounded = UInt16(truncatingIfNeeded: (bits &+ 0x7fff &+ (bits >> 16 & 1)) >> 16)
    return value == value ? rounded : UInt16(truncatingIfNeeded: bits >> 16) | 0x0040
}
