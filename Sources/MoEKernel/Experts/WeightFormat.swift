/// How a weight source stores a tensor, and so what ``WeightSource/read(_:rows:into:)`` hands out.
public enum WeightFormat: Sendable, Hashable {
    /// Numbers, [outputs, inputs] row-major.
    case plain(ElementType)
    /// Numbers, [inputs, outputs] row-major: a row holds one input's weights for all outputs.
    case transposed(ElementType)
    /// Codes, [outputs, inputs] row-major, a row starting on a byte. `group` consecutive codes of a row share one fp32 scale,
    /// ⌈inputs / group⌉ scales a row; a weight is the code's value times its scale, rounded once to fp32.
    ///
    /// With zero points each group of integer codes also shares one code that stands for 0, and a weight is the difference of its
    /// code's value and that one's (exact), times the scale, rounded once.
    case quantised(WeightCode, group: Int, zeroPoints: Bool = false)

    /// Bytes of a stored row of `count` numbers.
    public func rowBytes(_ count: Int) -> Int {
        switch self {
        case .plain(let type), .transposed(let type): count * type.byteCount
        case .quantised(let code, _, _): (count * code.bitCount + 7) / 8
        }
    }
}

/// Numbers of eight and four bits. Two four-bit codes share a byte, the earlier one in its low half.
public enum WeightCode: String, Sendable, Hashable, CaseIterable {
    /// 1 sign, 4 exponent (bias 7) and 3 significand bits; 0x7f and 0xff are NaN, the largest is 448, there are no infinities.
    /// Source: Micikevicius et al., "FP8 Formats for Deep Learning", 2022 (E4M3).
    case float8E4M3 = "fp8"
    /// 0, ½, 1, 1½, 2, 3, 4, 6 and their negatives. Source: OCP Microscaling Formats specification, 2023 (E2M1).
    case float4E2M1 = "fp4"
    /// code - 8: -8 … 7 in offset binary.
    case int4
    /// -128 … 127 in two's complement.
    case int8

    /// Bits a code takes.
    public var bitCount: Int { self == .float8E4M3 || self == .int8 ? 8 : 4 }

    /// Whether codes are whole numbers, which may have zero points.
    public var isInteger: Bool { self == .int4 || self == .int8 }

    /// What a code stands for.
    public func value(_ code: UInt8) -> Float {
        switch self {
        case .float8E4M3:
            if code & 0x7f == 0x7f { return .nan }
            // Shifted to fp32's places the exponent is 120 too small; 2¹²⁰ mends normal and subnormal codes alike.
            let magnitude = Float(bitPattern: UInt32(code & 0x7f) << 20) * 0x1p120
            return code & 0x80 == 0 ? magnitude : -magnitude
        case .float4E2M1:
            let magnitude: Float =
                switch code & 7 {
                case 0: 0
                case 1: 0.5
                case 2: 1
                case 3: 1.5
                case 4: 2
                case 5: 3
                case 6: 4
                default: 6
                }
            return code & 8 == 0 ? magnitude : -magnitude
        case .int4:
            return Float(Int(code & 15) - 8)
        case .int8:
            return Float(Int8(bitPattern: code))
        }
    }
}
