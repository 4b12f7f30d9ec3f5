/// One group of weights that share a scale: finds scale, zero point and codes.
struct GroupQuantiser {
    let form: WeightQuantisation
    /// The values of float codes without a sign, ascending.
    private let magnitudes: [Float]

    init(_ form: WeightQuantisation) {
        self.form = form
        magnitudes =
            form.code.isInteger
            ? [] : (0..<1 << (form.code.bitCount - 1)).map { form.code.value(UInt8($0)) }.filter { $0.isFinite }
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
            for reach: Float in [7, 7.5, 8] {
                let scale = Self.roundedUp(largest / reach)
                var error = 0.0
                for weight in weights {
                    let code = min(max((weight / scale).rounded(.toNearestOrEven), -8), 7)
                    let difference = Double(weight) - Double(code * scale)
                    error += difference * difference
                }
                if error < best.error { best = (error, scale) }
            }
            return encode(weights, scale: best.scale, zero: 0, into: codes)
        case .float8E4M3, .float4E2M1:
            let scale =
                form.powerOfTwoScales
                ? Float(sign: .plus, exponent: Int(largest.exponent) - Int(magnitudes.last!.exponent), significand: 1)
                : Self.roundedUp(largest / magnitudes.last!)
            for (index, weight) in weights.enumerated() { codes[index] = nearest(weight / scale) }
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
        let zero = min(max((lowest - low / scale).rounded(.toNearestOrEven), lowest), highest)
        return encode(weights, scale: scale, zero: zero, into: codes)
    }

    private func encode(
        _ weights: UnsafeBufferPointer<Float>, scale: Float, zero: Float,
        into codes: UnsafeMutableBufferPointer<UInt8>
    ) -> Parameters {
        let (lowest, highest): (Float, Float) =
            form.code == .int4 ? (-8, 7) : form.zeroPoints ? (-128, 127) : (-127, 127)
        for (index, weight) in weights.enumerated() {
            let value = (weight / scale).rounded(.toNearestOrEven) + zero
            codes[index] = bits(min(max(value, lowest), highest))
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

    /// The float code nearest to a number, of two equally near the even one; numbers past the largest get the largest.
    private func nearest(_ value: Float) -> UInt8 {
        let magnitude = abs(value)
        var (low, high) = (0, magnitudes.count - 1)
        while high - low > 1 {
            let middle = (low + high) / 2
            if magnitudes[middle] <= magnitude { low = middle } else { high = middle }
        }
        let (below, above) = (magnitude - magnitudes[low], magnitudes[high] - magnitude)
        let index = below < above || below == above && low % 2 == 0 ? low : high
        let sign: UInt8 = value.sign == .minus && index > 0 ? 1 << UInt8(form.code.bitCount - 1) : 0
        return UInt8(index) | sign
    }

    /// The next bf16 number that is not below a positive one, so that no weight lies past the largest code by rounding.
    static func roundedUp(_ scale: Float) -> Float {
        Float(bitPattern: (scale.bitPattern + 0xffff) & 0xffff_0000)
    }
}
