/// How far quantised weights are from what they were made of.
public struct QuantisationError: Sendable, Hashable {
    /// Σ (w - what its code stands for)².
    public internal(set) var squares = 0.0
    /// Σ w².
    public internal(set) var weightSquares = 0.0

    /// The root of the mean square error, as a share of the weights' own root mean square; 0 where all weights are 0.
    public var relative: Double { weightSquares == 0 ? 0 : (squares / weightSquares).squareRoot() }

    static func += (sum: inout QuantisationError, other: QuantisationError) {
        sum.squares += other.squares
        sum.weightSquares += other.weightSquares
    }
}
