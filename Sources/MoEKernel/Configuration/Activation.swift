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
