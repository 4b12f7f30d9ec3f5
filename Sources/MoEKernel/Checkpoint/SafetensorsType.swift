/// How a safetensors file stores one number. Every type of the format is known, so that any valid file can be opened;
/// weights and activations are read from ``f32``, ``bf16`` and ``f16``.
///
/// Source: the format's description in huggingface/safetensors.
public enum SafetensorsType: String, Sendable, Hashable, CaseIterable {
    case bool = "BOOL"
    case f4 = "F4"
    case f6E2M3 = "F6_E2M3"
    case f6E3M2 = "F6_E3M2"
    case u8 = "U8"
    case i8 = "I8"
    case f8E5M2 = "F8_E5M2"
    case f8E4M3 = "F8_E4M3"
    case f8E8M0 = "F8_E8M0"
    case f8E4M3FNUZ = "F8_E4M3FNUZ"
    case f8E5M2FNUZ = "F8_E5M2FNUZ"
    case i16 = "I16"
    case u16 = "U16"
    case f16 = "F16"
    case bf16 = "BF16"
    case i32 = "I32"
    case u32 = "U32"
    case f32 = "F32"
    case c64 = "C64"
    case f64 = "F64"
    case i64 = "I64"
    case u64 = "U64"

    /// Bits a number takes; fewer than 8 are packed.
    public var bitCount: Int {
        switch self {
        case .f4: 4
        case .f6E2M3, .f6E3M2: 6
        case .bool, .u8, .i8, .f8E5M2, .f8E4M3, .f8E8M0, .f8E4M3FNUZ, .f8E5M2FNUZ: 8
        case .i16, .u16, .f16, .bf16: 16
        case .i32, .u32, .f32: 32
        case .c64, .f64, .i64, .u64: 64
        }
    }

    /// The library's own type for it; nil where weights and activations cannot be of this type.
    public var elementType: ElementType? {
        switch self {
        case .f32: .float32
        case .bf16: .bfloat16
        case .f16: .float16
        default: nil
        }
    }

    /// The format's type for one of the library's.
    public init(_ type: ElementType) {
        switch type {
        case .float32: self = .f32
        case .bfloat16: self = .bf16
        case .float16: self = .f16
        }
    }

    /// By name; quicker than comparing with each, which adds up over a large header.
    static let named = Dictionary(uniqueKeysWithValues: allCases.map { ($0.rawValue, $0) })

    /// Bytes that a tensor of this type takes; nil where that overflows or is no whole number.
    func byteCount(shape: [Int]) -> Int? {
        guard let bits = checkedProduct(shape, times: bitCount), bits.isMultiple(of: 8) else { return nil }
        return bits / 8
    }
}

/// One tensor of a safetensors file: its description, not its data.
public struct SafetensorsTensor: Sendable, Hashable {
    /// The name it is stored under.
    public let name: String
    /// How its numbers are stored.
    public let type: SafetensorsType
    /// Extent of each dimension, outermost first; empty for a single number.
    public let shape: [Int]
    /// Where its data lies, in bytes from the start of the file.
    public let bytes: Range<Int>
}
