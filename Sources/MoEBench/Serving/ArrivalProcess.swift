import CPlatform

/// When requests come: gaps between them that do not depend on one another, with a mean of 1/rate.
package enum ArrivalProcess: String, Sendable, Hashable, CaseIterable {
    /// Exponential gaps: many senders who know nothing of each other.
    case poisson
    /// Gamma-distributed gaps of shape 1/4, whose standard deviation is twice their mean: clusters, and long pauses between them.
    case bursty

    /// The gaps' shape: 1 is exponential, less is more bursty. Their coefficient of variation is 1/√shape.
    package var shape: Double { self == .poisson ? 1 : 0.25 }

    /// One gap in units of the mean gap, so that a seed gives the same pattern at every rate.
    func gap(using generator: inout SplitMix64) -> Double {
        switch self {
        case .poisson: Draw.exponential(using: &generator)
        case .bursty: Draw.gamma(shape: shape, using: &generator) / shape
        }
    }
}

/// Random numbers of some distributions.
enum Draw {
    static func exponential(using generator: inout SplitMix64) -> Double { -log(1 - generator.unit()) }

    /// Mean 0, variance 1. Source: Box, Muller, "A Note on the Generation of Random Normal Deviates", 1958.
    static func normal(using generator: inout SplitMix64) -> Double {
        let radius = (2 * exponential(using: &generator)).squareRoot()
        return radius * cos(2 * .pi * generator.unit())
    }

    /// Mean `shape`, variance `shape`. Source: Marsaglia, Tsang, "A Simple Method for Generating Gamma Variables", 2000.
    static func gamma(shape: Double, using generator: inout SplitMix64) -> Double {
        if shape < 1 {
            let larger = gamma(shape: shape + 1, using: &generator)
            return larger * pow(1 - generator.unit(), 1 / shape)
        }
        let d = shape - 1.0 / 3, c = 1 / (9 * d).squareRoot()
        while true {
            let x = normal(using: &generator)
            let v = 1 + c * x
            guard v > 0 else { continue }
            let cube = v * v * v
            if log(1 - generator.unit()) < x * x / 2 + d - d * cube + d * log(cube) { return d * cube }
        }
    }
}
