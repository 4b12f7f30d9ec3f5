/// IEEE 754 binary16 as bits. Swift's `Float16` does not exist on every platform, and its conversions call the C library where
/// the processor lacks them; these are exact everywhere.
package enum Half {
    /// The value of a binary16 bit pattern, exactly.
    package static func value(_ bits: UInt16) -> Float {
        let sign = UInt32(bits & 0x8000) << 16
        let magnitude = UInt32(bits & 0x7fff) << 13
        if magnitude >= 0x0f80_0000 { return Float(bitPattern: sign | magnitude | 0x7f80_0000) }  // infinity, NaN
        // The exponent field is 112 too small; multiplying by 2¹¹² mends normal and subnormal numbers alike.
        let scaled = Float(bitPattern: magnitude) * 0x1p112
        return Float(bitPattern: scaled.bitPattern | sign)
    }

    /// The bit pattern nearest to a value, ties to even.
    package static func bits(_ value: Float) -> UInt16 {
        let sign = UInt16(truncatingIfNeeded: value.bitPattern >> 16 & 0x8000)
        let magnitude = value.magnitude
        if value.isNaN { return sign | 0x7e00 }
        if magnitude >= 65520 { return sign | 0x7c00 }
        if magnitude < 0x1p-14 {
            // Below the normal range numbers are multiples of 2⁻²⁴: let the addition round to one.
            let rounded = magnitude + 0x1p-1
            return sign | UInt16(truncatingIfNeeded: rounded.bitPattern &- Float(0x1p-1).bitPattern)
        }
        let bits = magnitude.bitPattern
        let rounded = bits &+ 0x0fff &+ (bits >> 13 & 1)
        return sign | UInt16(truncatingIfNeeded: (rounded &- 112 << 23) >> 13)
    }
}
