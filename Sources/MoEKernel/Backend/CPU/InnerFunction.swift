import MicroKernels

/// What an expert does between its matrices, as the kernels know it.
enum InnerFunction {
    case elementwise(ActivationCode)
    case clamped(GateClamp)

    init(_ kind: ExpertKind) {
        switch kind {
        case .gated(let activation, _), .plain(let activation, _): self = .elementwise(ActivationCode(activation))
        case .gatedClamped(let gate, _):
            self = .clamped(GateClamp(limit: gate.limit, alpha: gate.alpha, offset: gate.upOffset))
        }
    }
}

extension ActivationCode {
    init(_ activation: Activation) {
        self =
            switch activation {
            case .silu: .silu
            case .gelu: .gelu
            case .geluTanh: .geluTanh
            case .quickGelu: .quickGelu
            case .relu: .relu
            case .reluSquared: .reluSquared
            }
    }
}
