/// One group of weights that share a scale: finds scale, zero point and codes.
struct GroupQuantiser {
    let form: WeightQuantisation
    /// Of float codes: significand bits, the bias of their exponent, the code of the largest without its sign, and the sign.
    private let significandBits: UInt32
    private let bias: UInt32
    private let largestIndex: UInt32
    private let sign: UInt8

    init(_ form: WeightQuantisation) {
        self.form = form
        (significandBits, bias, largestIndex, sign) = form.code == .float8E4M3 ? (3, 7, 0x7e, 0x80) : (1, 1, 7, 8)
    }

    /// Weights below this are zeros: their scale would lose bits at the bottom of the range of fp32.
    private static let smallest: Float = 0x1p-100

    struct Parameters: Equatable {
        var scale: Float
        /// The code of 0, of meaning where there are zero points.
        var zero: UInt8
    }

    /// Quantises finite weights; a code a byte.
    func quantise(_ weights: UnsafeBufferPointer<Float>, into codes: UnsafeMutableBufferPointer<UInt8>) -> Parameters {
        var low: Float = 0
        var high: Float = 0
        for weight in weights {
            low = min(low, weight)
            high = max(high, weight)
        }
        let largest = max(-low, high)
        // Nothing to scale. A scale must be positive; 1 is as good as any.
        if largest < Self.smallest {
            codes.update(repeating: bits(0))
            return Parameters(scale: 1, zero: bits(0))
        }
        switch form.code {
        case .int8 where form.zeroPoints: return affine(weights, low, high, lowest: -128, highest: 127, codes)
        case .int4 where form.zeroPoints: return affine(weights, low, high, lowest: -8, highest: 7, codes)
        case .int8:
            return encode(weights, scale: Self.roundedUp(largest / 127), zero: 0, into: codes)
        case .int4:
            // -8 … 7 is lopsided: between the scale that reaches the largest weight on either side and the one that uses -8 and clips
            // 7.5 and more on the other, take what has the least squared error.
            var best: (error: Double, scale: Float) = (.infinity, 1)
            for reach in 0..<3 {
                let scale = Self.roundedUp(largest / (7 + 0.5 * Float(reach)))
                let error = Self.int4Error(weights, scale)
                if error < best.error { best = (error, scale) }
            }
            return encode(weights, scale: best.scale, zero: 0, into: codes)
        case .float8E4M3, .float4E2M1:
            let end = form.code.value(UInt8(largestIndex))
            let scale =
                form.powerOfTwoScales
                ? Float(sign: .plus, exponent: Int(largest.exponent) - Int(end.exponent), significand: 1)
                : Self.roundedUp(largest / end)
            for index in weights.indices { codes[index] = nearest(weights[index] / scale) }
            return Parameters(scale: scale, zero: 0)
        }
    }

    /// A scale and a zero point that spread the codes over low … high, 0 among them.
    private func affine(
        _ weights: UnsafeBufferPointer<Float>, _ low: Float, _ high: Float, lowest: Float, highest: Float,
        _ codes: UnsafeMutableBufferPointer<UInt8>
    ) -> Parameters {
        // Halved, since the difference of two large numbers may be too large.
        let scale = Self.roundedUp((high / 2 - low / 2) / (highest - lowest) * 2)
        let zero = min(max(Self.rounded(lowest - low / scale), lowest), highest)
        return encode(weights, scale: scale, zero: zero, into: codes)
    }

    private func encode(
        _ weights: UnsafeBufferPointer<Float>, scale: Float, zero: Float,
        into codes: UnsafeMutableBufferPointer<UInt8>
    ) -> Parameters {
        let (lowest, highest): (Float, Float) =
            form.code == .int4 ? (-8, 7) : form.zeroPoints ? (-128, 127) : (-127, 127)
        let first: UInt8 = form.code == .int4 ? 8 : 0
        for index in weights.indices {
            let value = min(max(Self.rounded(weights[index] / scale) + zero, lowest), highest)
            // The lowest bits of the sum are those of the whole number.
            codes[index] = UInt8(truncatingIfNeeded: (value + Self.roundingShift).bitPattern) &+ first
        }
        return Parameters(scale: scale, zero: bits(zero))
    }

    /// The code of a whole number, or of 0 where codes are floats.
    private func bits(_ value: Float) -> UInt8 {
        switch form.code {
        case .int4: UInt8(Int(value) + 8)
        case .int8: UInt8(bitPattern: Int8(value))
        case .float8E4M3, .float4E2M1: 0
        }
    }

    /// Σ (w - code · scale)² for symmetric codes of 4 bits, in four sums that are added at the end.
    private static func int4Error(_ weights: UnsafeBufferPointer<Float>, _ scale: Float) -> Double {
        func square(_ index: Int) -> Double {
            let weight = weights[index]
            let difference = Double(weight) - Double(min(max(rounded(weight / scale), -8), 7) * scale)
            return difference * difference
        }
        var (first, second, third, fourth) = (0.0, 0.0, 0.0, 0.0)
        var index = 0
        while index + 4 <= weights.count {
            first += square(index)
            second += square(index + 1)
            third += square(index + 2)
            fourth += square(index + 3)
            index += 4
        }
        while index < weights.count {
            first += square(index)
            index += 1
        }
        return first + second + (third + fourth)
    }

    /// Between 2²³ and 2²⁴ the numbers of fp32 are the whole ones.
    private static let roundingShift: Float = 0x1.8p23

    /// The whole number nearest to one below 2²² in magnitude, ties to the even one; `rounded` is a call where a processor of the
    /// baseline has no instruction for it.
    private static func rounded(_ value: Float) -> Float { (value + roundingShift) - roundingShift }

    /// The float code nearest to a number, of two equally near the even one; numbers past the largest get the largest.
    @inline(__always)
    private func nearest(_ value: Float) -> UInt8 {
        let magnitude = abs(value).bitPattern
        // Codes without exponent are multiples of the smallest; the others are the upper bits of fp32's, rounded.
        let steps = abs(value) * Float(bitPattern: (126 &+ bias &+ significandBits) &<< 23)
        let shift = 23 &- significandBits
        let half: UInt32 = 1 &<< (shift &- 1)
        let upper = (magnitude &+ (half &- 1) &+ (magnitude &>> shift & 1)) &>> shift
        let index =
            magnitude < (128 &- bias) &<< 23
            ? (steps + Self.roundingShift).bitPattern & 0xff : upper &- (127 &- bias) &<< significandBits
        let code = UInt8(truncatingIfNeeded: min(index, largestIndex))
        return value < 0 && code > 0 ? code | sign : code
    }

    /// The next bf16 number that is not below a positive one, so that no weight lies past the largest code by rounding.
    static func roundedUp(_ scale: Float) -> Float {
        Float(bitPattern: (scale.bitPattern + 0xffff) & 0xffff_0000)
    }
}
