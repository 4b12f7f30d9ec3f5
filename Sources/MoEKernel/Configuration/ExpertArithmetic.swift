import MicroKernels

/// How experts multiply. Everything else of a layer, the router above all, computes in fp32 either way.
public enum ExpertArithmetic: String, Sendable, Hashable, CaseIterable, Codable {
    /// Weights as they are stored, activations in fp32, sums in fp32.
    case exact
    /// For experts whose weights are int8 or int4 codes: activations are rounded to whole numbers of -127 … 127 too, 32 neighbours sharing
    /// a scale (their largest magnitude / 127), and are multiplied with the codes by the processor's instructions for bytes. Sums of 32
    /// products are exact; they are scaled and added in fp32.
    ///
    /// The error is that of rounding the activations: half a scale at most, evenly spread. For normally distributed values it is about
    /// 0.6 % of a matrix product's norm, and 1 to 2 % of an expert's output.
    /// Activations that are not finite make their token's output NaN.
    ///
    /// Results are bitwise the same for any batch split and number of threads, and on all instruction sets with fused multiply-add.
    case int8Activations = "int8"
    /// For experts whose weights are bf16 numbers, stored or kept so (``MoEConfiguration/weightType``): activations are rounded to bf16 too, to
    /// nearest, even ones in the middle, and products are summed in fp32. Other weights are refused.
    ///
    /// A sum goes over pairs of k: with weights (w₀, w₁) and activations (a₀, a₁) of a pair it becomes fma(w₀, a₀, fma(w₁, a₁, sum)), which is
    /// what the instruction `vdpbf16ps` of processors with AVX512-BF16 does, and others do by two multiply-adds. An odd last k is paired
    /// with zeros. Sums of 256 products are added in order, as everywhere.
    ///
    /// The error is that of rounding the activations: 2⁻⁸ of each at most, about 0.17 % of a matrix product's norm, and 0.2 to 0.4 % of an
    /// expert's output. Activations that are not finite, or not so in bf16, make their token's output infinite or NaN.
    ///
    /// Results are bitwise the same for any batch split and number of threads, and on all instruction sets with fused multiply-add, but for
    /// weights, activations and sums below 2⁻¹²⁶, which `vdpbf16ps` takes for zero.
    case bfloat16Activations = "bf16"
}

extension WeightFormat {
    /// Whether a matrix stored so, of `depth` inputs, can be multiplied by int8 activations: whole numbers, whose scales hold for 32
    /// activations at least.
    func takesInt8Activations(depth: Int) -> Bool {
        guard case .quantised(let code, let group, _) = self, code.isInteger else { return false }
        return (PanelCoding.groupShift(group, depth: depth) ?? 0) >= 5
    }
}
