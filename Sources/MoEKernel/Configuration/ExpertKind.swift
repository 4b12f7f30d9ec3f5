/// What one expert computes from a token's activations x.
public enum ExpertKind: Sendable, Hashable {
    /// down( act(gate(x)) ∘ up(x) ): with ``Activation/silu`` this is SwiGLU.
    /// Source: Shazeer, "GLU Variants Improve Transformer", 2020.
    case gated(Activation, biases: Bool)
    /// down( g·σ(α g) ∘ (u + offset) ) with g and u clamped first (gpt-oss, DeepSeek-V4).
    case gatedClamped(ClampedGate, biases: Bool)
    /// down( act(up(x)) ): the two-matrix MLP of Switch Transformer and its kin.
    case plain(Activation, biases: Bool)

    /// A gated expert without biases.
    public static func gated(_ activation: Activation) -> ExpertKind { .gated(activation, biases: false) }
    /// A clamped gated expert without biases.
    public static func gatedClamped(_ gate: ClampedGate) -> ExpertKind { .gatedClamped(gate, biases: false) }
    /// A two-matrix expert without biases.
    public static func plain(_ activation: Activation) -> ExpertKind { .plain(activation, biases: false) }

    /// The function between the matrices, ``Activation/silu`` for a clamped gate.
    public var activation: Activation {
        switch self {
        case .gated(let activation, _), .plain(let activation, _): activation
        case .gatedClamped: .silu
        }
    }
    /// Whether every matrix adds a bias.
    public var hasBiases: Bool {
        switch self {
        case .gated(_, let biases), .gatedClamped(_, let biases), .plain(_, let biases): biases
        }
    }
    /// Whether there is a gate matrix.
    public var isGated: Bool {
        if case .plain = self { false } else { true }
    }
    /// The matrices that an expert of this kind has.
    public var projections: [Projection] { isGated ? [.gate, .up, .down] : [.up, .down] }
}

/// A gate g and an up value u as g' · σ(alpha · g') · (u' + upOffset), where g' = min(g, limit) and
/// u' = min(max(u, -limit), limit): the gate is clamped from above only.
public struct ClampedGate: Sendable, Hashable {
    /// L, `swiglu_limit` in published configurations.
    public var limit: Float
    /// α; 1 makes the gate a silu.
    public var alpha: Float
    /// Added to the up value; gpt-oss has 1.
    public var upOffset: Float

    public init(limit: Float, alpha: Float = 1, upOffset: Float = 0) {
        self.limit = limit
        self.alpha = alpha
        self.upOffset = upOffset
    }
}

/// A function applied to each element.
public enum Activation: String, Sendable, Hashable, CaseIterable {
    /// a · σ(a).
    case silu
    /// a · Φ(a) with the error function.
    case gelu
    /// ½ a (1 + tanh(√(2/π)(a + 0.044715 a³))).
    case geluTanh = "gelu_tanh"
    /// a · σ(1.702 a).
    case quickGelu = "quick_gelu"
    /// max(a, 0).
    case relu
    /// max(a, 0)².
    case reluSquared = "relu2"
}

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

/// Where a routing weight acts.
public enum WeightSide: Sendable, Hashable {
    /// On the expert's output.
    case output
    /// On the expert's input (Llama 4); with a non-linear expert that is another function.
    case input
}
