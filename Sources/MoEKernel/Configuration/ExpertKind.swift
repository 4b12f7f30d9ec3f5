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

    /// A clamp at `limit`; by default silu(g) · u of the clamped values.
    public init(limit: Float, alpha: Float = 1, upOffset: Float = 0) {
        self.limit = limit
        self.alpha = alpha
        self.upOffset = upOffset
    }
}
