/// An expert that every token visits; its output is added to the routed sum. It is of the layer's ``ExpertKind``, without
/// biases unless ``MoEConfiguration/hasSharedBiases`` is set.
public enum SharedExpert: Sendable, Hashable {
    case none
    /// Added as it is.
    case dense(width: Int)
    /// Multiplied by σ(x · g), one learned vector g of length H (Qwen2-MoE).
    case sigmoidGated(width: Int)

    /// Its inner width; nil without a shared expert.
    public var width: Int? {
        switch self {
        case .none: nil
        case .dense(let width), .sigmoidGated(let width): width
        }
    }

    /// Whether a learned vector gates it.
    public var isGated: Bool {
        if case .sigmoidGated = self { true } else { false }
    }
}

/// How the shared expert's output joins the routed sum.
public enum SharedCombine: Sendable, Hashable {
    /// routed + shared.
    case sum
    /// (routed + shared) / 2 (Cohere 2).
    case average
}
