/// Activations to bytes: a row's 32 values of a group share the scale (largest magnitude) / 127, and each is rounded to the
/// nearest multiple of it. So a value is off by half a scale at most, 1/254 of the group's largest.
///
/// Values below 10⁻³⁰ all together count as 0. A group with a value that is not finite has NaN for its scale, and so has its
/// row.
public enum ByteRounding {
    /// Below this a group's magnitudes are 0: the reciprocal of a scale would not be finite.
    @_alwaysEmitIntoClient @inline(__always) public static var smallest: Float { 0x1p-100 }
    @_alwaysEmitIntoClient @inline(__always) public static var largestByte: Float { 127 }
}

extension ByteDotSet {
    /// The scale, the sum, and four bytes a word.
    @_alwaysEmitIntoClient @inline(__always) public static var groupWords: Int { 2 &+ RoundedActivations.group / 4 }

    @_alwaysEmitIntoClient @inline(__always)
    public static func roundGroup(
        _ values: UnsafePointer<Float>, to group: UnsafeMutablePointer<UInt32>, row: Int, rows: Int
    ) {
        let raw = UnsafeRawPointer(values)
        // Magnitudes compare like whole numbers, and what is not finite is above all others.
        let sign = SIMD8<UInt32>(repeating: 0x7fff_ffff)
        var largest = SIMD8<Int32>(repeating: 0)
        for part in 0..<4 {
            let bits = (raw + part &* 32).loadUnaligned(as: SIMD8<UInt32>.self) & sign
            let magnitudes = unsafeBitCast(bits, to: SIMD8<Int32>.self)
            largest.replace(with: magnitudes, where: magnitudes .> largest)
        }
        var four = largest.lowHalf
        four.replace(with: largest.highHalf, where: largest.highHalf .> four)
        let bits = max(max(four[0], four[1]), max(four[2], four[3]))
        let magnitude = Float(bitPattern: UInt32(bitPattern: bits))
        var scale = magnitude / ByteRounding.largestByte
        var inverse = ByteRounding.largestByte / magnitude
        if magnitude < ByteRounding.smallest { (scale, inverse) = (0, 0) }
        let finite = bits < 0x7f80_0000
        if !finite { scale = .nan }
        let words = group + (2 &* rows &+ row)
        var sum: Int32 = 0
        for part in 0..<4 {
            var bytes: UInt64 = 0
            if finite {
                bytes = roundedBytes((raw + part &* 32).loadUnaligned(as: SIMD8<Float>.self) * inverse)
            }
            let place: Int = 2 &* part &* rows
            words[place] = UInt32(truncatingIfNeeded: bytes)
            words[place &+ rows] = UInt32(truncatingIfNeeded: bytes >> 32)
            sum &+= byteSum(bytes)
        }
        group[row] = scale.bitPattern
        group[rows &+ row] = UInt32(bitPattern: sum)
    }
}

/// The eight signed bytes' sum: without signs by the even and the odd ones' sums of 16 bits, less 128 for each.
@_alwaysEmitIntoClient @inline(__always)
func byteSum(_ bytes: UInt64) -> Int32 {
    let unsigned = bytes ^ 0x8080_8080_8080_8080
    let even: UInt64 = 0x00ff_00ff_00ff_00ff
    let pairs = (unsigned & even) &+ (unsigned >> 8 & even)
    return Int32(truncatingIfNeeded: (pairs &* 0x0001_0001_0001_0001) >> 48) &- 1024
}
