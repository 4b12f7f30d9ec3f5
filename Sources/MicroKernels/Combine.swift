/// The weighted sum of some tokens' expert rows, in slot order, plus the shared expert's row and a bias.
public struct CombineRows {
    public var tokens: Range<Int>
    public var hidden: Int
    public var topK: Int
    /// Expert outputs grouped by expert, [rows, hidden].
    public var rows: UnsafePointer<Float>
    /// For each (token, slot) its row, negative where the slot is empty; nil where there is one slot and row t is token t's.
    public var rowOfSlot: UnsafePointer<Int32>?
    /// [tokens, topK], or nil where every weight is 1; and a factor on all of them.
    public var weights: UnsafePointer<Float>?
    public var weightScale: Float
    /// [tokens, hidden], or nil; and the logit of the sigmoid that scales it, `sharedGateStride` floats a token, or nil.
    public var shared: UnsafePointer<Float>?
    public var sharedGate: UnsafePointer<Float>?
    public var sharedGateStride: Int
    /// [hidden], or nil.
    public var bias: UnsafePointer<Float>?
    /// A factor on the result.
    public var scale: Float
    /// [tokens, hidden] in fp32, or, where `bfloat16` is set, in bf16.
    public var output: UnsafeMutableRawPointer
    public var bfloat16: Bool

    @_alwaysEmitIntoClient @inline(__always)
    public init(
        tokens: Range<Int>, hidden: Int, topK: Int, rows: UnsafePointer<Float>, rowOfSlot: UnsafePointer<Int32>?,
        weights: UnsafePointer<Float>?, weightScale: Float, shared: UnsafePointer<Float>?,
        sharedGate: UnsafePointer<Float>?, sharedGateStride: Int, bias: UnsafePointer<Float>?, scale: Float,
        output: UnsafeMutableRawPointer, bfloat16: Bool
    ) {
        self.tokens = tokens
        self.hidden = hidden
        self.topK = topK
        self.rows = rows
        self.rowOfSlot = rowOfSlot
        self.weights = weights
        self.weightScale = weightScale
        self.shared = shared
        self.sharedGate = sharedGate
        self.sharedGateStride = sharedGateStride
        self.bias = bias
        self.scale = scale
        self.output = output
        self.bfloat16 = bfloat16
    }

    /// The row of a token's slot; negative where it is empty.
    @_alwaysEmitIntoClient @inline(__always)
    func row(_ token: Int, _ slot: Int) -> Int {
        rowOfSlot.map { Int($0[token &* topK &+ slot]) } ?? token
    }

    @_alwaysEmitIntoClient @inline(__always)
    func weight(_ token: Int, _ slot: Int) -> Float {
        weights.map { $0[token &* topK &+ slot] * weightScale } ?? weightScale
    }
}

@_alwaysEmitIntoClient @inline(__always)
public func combineRows<ISA: InstructionSet>(_: ISA.Type, _ combine: CombineRows) {
    typealias V = SIMD8<Float>
    let hidden = combine.hidden
    var token = combine.tokens.lowerBound
    while token < combine.tokens.upperBound {
        // Where experts choose tokens most slots are empty, and the empty ones come last.
        var slots = combine.topK
        while slots > 0 && combine.row(token, slots &- 1) < 0 { slots &-= 1 }
        var sharedWeight: Float = 1
        if let gate = combine.sharedGate {
            sharedWeight = Sigmoid.apply(ISA.self, SIMD16(repeating: gate[token &* combine.sharedGateStride]))[0]
        }
        var column = 0
        while column &+ 16 <= hidden {
            var low = V(repeating: 0)
            var high = V(repeating: 0)
            var slot = 0
            while slot < slots {
                let index = combine.row(token, slot)
                if index >= 0 {
                    let row = UnsafeRawPointer(combine.rows + (index &* hidden &+ column))
                    let weight = V(repeating: combine.weight(token, slot))
                    low = ISA.multiplyAdd(low, weight, row.loadUnaligned(as: V.self))
                    high = ISA.multiplyAdd(high, weight, (row + 32).loadUnaligned(as: V.self))
                }
                slot &+= 1
            }
            if let shared = combine.shared {
                let row = UnsafeRawPointer(shared + (token &* hidden &+ column))
                let weight = V(repeating: sharedWeight)
                low = ISA.multiplyAdd(low, weight, row.loadUnaligned(as: V.self))
                high = ISA.multiplyAdd(high, weight, (row + 32).loadUnaligned(as: V.self))
            }
            if let bias = combine.bias {
                let row = UnsafeRawPointer(bias + column)
                low += row.loadUnaligned(as: V.self)
                high += (row + 32).loadUnaligned(as: V.self)
            }
            if combine.scale != 1 {
                low *= V(repeating: combine.scale)
                high *= V(repeating: combine.scale)
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
                place.storeBytes(of: low, as: V.self)
                (place + 32).storeBytes(of: high, as: V.self)
            }
            column &+= 16
        }
        while column < hidden {
            var sum: Float = 0
            var slot = 0
            while slot < slots {
                let index = combine.row(token, slot)
                if index >= 0 {
                    sum = ISA.multiplyAdd(sum, combine.weight(token, slot), combine.rows[index &* hidden &+ column])
                }
                slot &+= 1
            }
            if let shared = combine.shared {
                sum = ISA.multiplyAdd(sum, sharedWeight, shared[token &* hidden &+ column])
            }
            if let bias = combine.bias { sum += bias[column] }
            if combine.scale != 1 { sum *= combine.scale }
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
