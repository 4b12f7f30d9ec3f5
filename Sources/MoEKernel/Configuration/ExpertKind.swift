/// What one expert computes from a token's activations x.
public enum ExpertKind: Sendable, Hashable {
    /// down( act(gate(x)) ∘ up(x) ): with ``Activation/silu`` this is SwiGLU.
    /// Source: Shazeer, "GLU Variants Improve Transformer", 2020.
    case gated(Activation, biases: Bool)
    /// down( act(up(x)) ): the two-matrix MLP of Switch Transformer and its kin.
    case plain(Activation, biases: Bool)

    /// A gated expert without biases.
    public static func gated(_ activation: Activation) -> ExpertKind { .gated(activation, biases: false) }
    /// A two-matrix expert without biases.
    public static func plain(_ activation: Activation) -> ExpertKind { .plain(activation, biases: false) }

    /// The function between the matrices.
    public var activation: Activation {
        switch self {
        case .gated(let activation, _), .plain(let activation, _): activation
        }
    }
    /// Whether every matrix adds a bias.
    public var hasBiases: Bool {
        switch self {
        case .gated(_, let biases), .plain(_, let biases): biases
        }
    }
    /// Whether there is a gate matrix.
    public var isGated: Bool {
        if case .gated = self { true } else { false }
    }
    /// The matrices that an expert of this kind has.
    public var projections: [Projection] { isGated ? [.gate, .up, .down] : [.up, .down] }
}

/// A function applied to each element.
public enum Activation: String, Sendable, Hashable, CaseIterable {
    /// a · σ(a).
    case silu
    /// a · Φ(a) with the error function.
    case gelu
    /// ½ a (1 + tanh(√(2/π)(a + 0.044715 a³))).
    case geluTanh = "gelu_tanh"
    /// max(a, 0).
    case relu
}

/// An expert that every token visits; its output is added to the routed sum. It is of the layer's ``ExpertKind``, without
/// biases.
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
}
