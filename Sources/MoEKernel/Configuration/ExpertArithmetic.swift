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
}

extension WeightFormat {
    /// Whether a matrix stored so, of `depth` inputs, can be multiplied by int8 activations: whole numbers, whose scales hold for 32
    /// activations at least.
    func takesInt8Activations(depth: Int) -> Bool {
        guard case .quantised(let code, let group, _) = self, code.isInteger else { return false }
        return (PanelCoding.groupShift(group, depth: depth) ?? 0) >= 5
    }
}
