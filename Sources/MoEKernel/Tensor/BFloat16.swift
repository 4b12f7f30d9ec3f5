/// The upper half of an IEEE 754 binary32: 8 exponent bits, 7 mantissa bits.
public struct BFloat16: Sendable, Hashable {
    /// The stored 16 bits.
    public var bitPattern: UInt16

    /// A value from its stored bits.
    public init(bitPattern: UInt16) { self.bitPattern = bitPattern }

    /// The nearest value, ties to even. Infinities are kept, a finite value past the largest becomes infinite, NaN stays a
    /// quiet NaN.
    public init(_ value: Float) {
        let bits = value.bitPattern
        if value.isNaN {
            bitPattern = UInt16(truncatingIfNeeded: bits >> 16) | 0x0040
        } else {
            // Adding just under half a unit, one more where the kept part is odd, rounds to nearest even by carry.
            bitPattern = UInt16(truncatingIfNeeded: (bits &+ 0x7fff &+ (bits >> 16 & 1)) >> 16)
        }
    }
}

extension Float {
    /// The same value; every bf16 number is an fp32 number.
    public init(_ value: BFloat16) { self.init(bitPattern: UInt32(value.bitPattern) << 16) }
}
