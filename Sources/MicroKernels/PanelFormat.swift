/// How the weights of a panel are stored.
public enum PanelFormat: Sendable, Hashable {
    case float32, bfloat16, float16
    case coded(PanelCoding)
    /// Integer codes laid out for products of bytes (see ``ByteDotLayout``).
    case byteDot(PanelCoding)
    /// bf16 numbers laid out for products of pairs (see ``PanelLayout``); an odd last k is paired with zeros.
    case bfloat16Pairs
    /// bf16 numbers of two panels side by side (see ``PanelLayout``), for vectors of a whole row.
    case wideBFloat16

    @_alwaysEmitIntoClient @inline(__always)
    public var isFloat32: Bool { if case .float32 = self { true } else { false } }
    @_alwaysEmitIntoClient @inline(__always)
    public var isBFloat16: Bool { if case .bfloat16 = self { true } else { false } }
    @_alwaysEmitIntoClient @inline(__always)
    public var isCoded: Bool { if case .coded = self { true } else { false } }
    /// Whether such weights are multiplied by rounded activations.
    @_alwaysEmitIntoClient @inline(__always)
    public var roundsActivations: Bool {
        switch self {
        case .byteDot, .bfloat16Pairs: true
        case .float32, .bfloat16, .float16, .coded, .wideBFloat16: false
        }
    }
    /// Neighbouring panels whose numbers of one k lie side by side. Their number is a matrix's number of panels' divisor.
    @_alwaysEmitIntoClient @inline(__always)
    public var panelsPerRow: Int { if case .wideBFloat16 = self { 2 } else { 1 } }

    /// Bytes of the codes or numbers of a row's panels at one k.
    @_alwaysEmitIntoClient @inline(__always)
    public var rowBytes: Int {
        switch self {
        case .float32, .wideBFloat16: 64
        case .bfloat16, .float16, .bfloat16Pairs: 32
        case .coded(let coding), .byteDot(let coding): coding.chunkBytes / PanelCoding.chunk
        }
    }

    /// Bytes of a reduction block of `depth` values of k of a row's panels. Not inlined, like ``panelBytes(_:)``: the compiler would leave bodies of it in
    /// the modules of instruction sets, under one name.
    public func blockBytes(_ depth: Int) -> Int {
        switch self {
        case .coded(let coding): coding.blockBytes(depth)
        case .byteDot(let coding): ByteDotLayout.blockBytes(coding, depth)
        case .bfloat16Pairs: (depth &+ 1) >> 1 &* 64
        default: depth &* rowBytes
        }
    }

    /// Bytes of a panel of `depth` values of k: its blocks one after the other, all but the last of full length.
    public func panelBytes(_ depth: Int) -> Int {
        let rest: Int = depth & 255
        let bytes: Int = (depth >> 8) &* blockBytes(PanelLayout.block) &+ (rest == 0 ? 0 : blockBytes(rest))
        return bytes / panelsPerRow
    }
}

/// How a panel of codes and scales is stored: what a code means, how many k share a scale, and the scales' width.
///
/// A reduction block holds first its scales, for each group of k the 16 columns' (bf16 laid out as in a bf16 panel, or fp32) and where
/// there are zero points those of the columns, bf16 likewise, filled up to a multiple of 64 bytes; then its codes in chunks of 8 values of k, the last one filled up. So a panel is one stream, and a
/// block needs nothing from elsewhere.
public struct PanelCoding: Sendable, Hashable {
    public var code: PanelCode
    /// Values of k that share a scale, as a power of two: 4 … 8.
    public var groupShift: Int
    /// Scales in fp32, not bf16.
    public var wideScales: Bool
    /// Whether each group has zero points: numbers that are taken off the codes' before scaling.
    public var zeroPoints: Bool

    @_alwaysEmitIntoClient @inline(__always)
    public init(code: PanelCode, groupShift: Int, wideScales: Bool, zeroPoints: Bool = false) {
        self.code = code
        self.groupShift = groupShift
        self.wideScales = wideScales
        self.zeroPoints = zeroPoints
    }

    /// Values of k in a chunk.
    @_alwaysEmitIntoClient @inline(__always) public static var chunk: Int { 8 }
    @_alwaysEmitIntoClient @inline(__always) public var chunkBytes: Int { code.isByte ? 128 : 64 }
    @_alwaysEmitIntoClient @inline(__always) public var zeroOffset: Int { wideScales ? 64 : 32 }
    /// Bytes of a group's scales, and of its zero points after them.
    @_alwaysEmitIntoClient @inline(__always) public var scaleRowBytes: Int { zeroOffset &+ (zeroPoints ? 32 : 0) }

    /// Bytes of a block before its codes.
    @_alwaysEmitIntoClient @inline(__always)
    public func scaleBytes(_ depth: Int) -> Int {
        let groups: Int = (depth &+ (1 << groupShift) &- 1) >> groupShift
        return (groups &* scaleRowBytes &+ 63) & ~63
    }

    @_alwaysEmitIntoClient @inline(__always)
    public func blockBytes(_ depth: Int) -> Int { scaleBytes(depth) &+ ((depth &+ 7) >> 3) &* chunkBytes }
}

/// Codes of a panel. Their places within a chunk are chosen so that AVX2 decodes them in order with few instructions:
///
/// - int8: column c at k is byte 16·k + c, so that eight or sixteen columns are widened at once.
/// - E4M3: column c at k is byte 64·(c div 8) + 16·(k div 2) + 2·(c mod 8) + k mod 2. An fp16 number is made of each byte, eight
///   columns at a time.
/// - Four bits: column c at k is in byte 16·(c div 4) + 8·(k div 2 mod 2) + 2·(c mod 4) + k mod 2, in the high half where k ≥ 4.
///   Two table look-ups give the bytes of bf16 numbers; interleaved they are words of two k of one column, like those of bf16 panels.
public enum PanelCode: UInt8, Sendable, Hashable {
    case float8E4M3, float4E2M1, int4, int8

    @_alwaysEmitIntoClient @inline(__always) public var isByte: Bool { self == .float8E4M3 || self == .int8 }

    /// What decoded numbers must be multiplied by; packed scales include it. E4M3 is decoded through fp16, whose exponents are biased
    /// by 8 more.
    @_alwaysEmitIntoClient @inline(__always) public var factor: Float { self == .float8E4M3 ? 256 : 1 }
}

/// The sixteen numbers of a four-bit code, in bf16: their low and their high bytes, the first in the lowest byte.
public struct NibbleTable {
    public var low: SIMD4<UInt32>
    public var high: SIMD4<UInt32>

    @_alwaysEmitIntoClient @inline(__always)
    init(low: SIMD4<UInt32>, high: SIMD4<UInt32>) {
        self.low = low
        self.high = high
    }

    /// One number. Plain, for the baseline.
    @_alwaysEmitIntoClient @inline(__always)
    func number(_ nibble: UInt32) -> Float {
        let word = Int(nibble >> 2)
        let shift: UInt32 = (nibble & 3) &* 8
        let bits: UInt32 = (high[word] >> shift & 255) << 8 | (low[word] >> shift & 255)
        return Float(bitPattern: bits << 16)
    }
}
