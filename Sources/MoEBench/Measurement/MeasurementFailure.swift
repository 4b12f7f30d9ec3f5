import MoEKernel

/// Why an implementation got no row.
package enum MeasurementFailure: Error, Sendable, Hashable {
    /// A timed call's output differs from the oracle's.
    case wrongResult(WrongResult)
    /// The input was not the same after a call as before.
    case inputChanged
    /// Faster than the machine: work was skipped, or counted that was not done.
    case impossible(rate: Double, ceiling: Double, unit: String)
    /// Work of a kind that the machine was not timed at, so nothing says what is impossible.
    case noCeiling(Bound.Resource)
    /// The call threw.
    case failed(MoEError)
    /// Interrupted before it had a sample.
    case interrupted
}

extension MeasurementFailure: CustomStringConvertible {
    package var description: String {
        switch self {
        case .wrongResult(let wrong): "wrong result: \(wrong)"
        case .inputChanged: "wrong result: the call changed its input"
        case .impossible(let rate, let ceiling, let unit):
            "impossible: \(Format.significant(rate)) \(unit) on a machine that reaches \(Format.significant(ceiling))"
        case .noCeiling(let resource): "not checked: no ceiling of \(resource.rawValue) was measured"
        case .failed(let error): "failed: \(error)"
        case .interrupted: "interrupted"
        }
    }
}
