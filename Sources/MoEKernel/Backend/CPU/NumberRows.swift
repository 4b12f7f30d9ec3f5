/// Rows of numbers on their way into panels: looked through for what is not finite, and converted.
enum NumberRows {
    /// The index of the first infinity or NaN. Looks at all exponents first, which vectorises; searches only when one is found.
    static func firstNotFinite(_ values: UnsafeRawPointer, _ type: ElementType, _ count: Int) -> Int? {
        switch type {
        case .float32:
            let bits = values.assumingMemoryBound(to: UInt32.self)
            var found: UInt32 = 0
            for index in 0..<count { found |= bits[index] & 0x7f80_0000 == 0x7f80_0000 ? 1 : 0 }
            return found == 0 ? nil : (0..<count).first { bits[$0] & 0x7f80_0000 == 0x7f80_0000 }
        case .bfloat16, .float16:
            let mask = exponent(type)
            let bits = values.assumingMemoryBound(to: UInt16.self)
            var found: UInt16 = 0
            for index in 0..<count { found |= bits[index] & mask == mask ? 1 : 0 }
            return found == 0 ? nil : (0..<count).first { bits[$0] & mask == mask }
        }
    }

    /// The exponent's bits of a 16-bit type; all set in infinities and NaNs.
    static func exponent(_ type: ElementType) -> UInt16 { type == .bfloat16 ? 0x7f80 : 0x7c00 }

    /// From one type to another through fp32, which holds every 16-bit value exactly.
    static func convert(
        _ source: UnsafeRawPointer, _ from: ElementType, _ target: UnsafeMutableRawPointer, _ to: ElementType,
        _ count: Int
    ) {
        let words = source.assumingMemoryBound(to: Float.self)
        let halves = source.assumingMemoryBound(to: UInt16.self)
        let outWords = target.assumingMemoryBound(to: Float.self)
        let outHalves = target.assumingMemoryBound(to: UInt16.self)
        switch (from, to) {
        // The two that loading meets often, as loops of their own that vectorise.
        case (.bfloat16, .float32):
            for index in 0..<count { outWords[index] = Float(bitPattern: UInt32(halves[index]) << 16) }
        case (.float32, .bfloat16):
            for index in 0..<count { outHalves[index] = BFloat16(words[index]).bitPattern }
        default:
            for index in 0..<count {
                let value = from.value(source, index)
                switch to {
                case .float32: outWords[index] = value
                case .bfloat16: outHalves[index] = BFloat16(value).bitPattern
                case .float16: outHalves[index] = Half.bits(value)
                }
            }
        }
    }
}
