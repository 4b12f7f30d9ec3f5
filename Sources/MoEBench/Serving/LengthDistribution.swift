import CPlatform

/// How many tokens prompts have, or answers.
package enum LengthDistribution: Sendable, Hashable {
    case fixed(Int)
    /// Every length of a range alike.
    case uniform(ClosedRange<Int>)
    /// A logarithm that is normally distributed: most are short, a few very long, as in recorded traffic. Cut at three sigma.
    case logNormal(median: Double, sigma: Double)

    /// Reads "64", "16-64", or "lognormal:64:0.8" (median and sigma); nil where the text is none of these or a length is not 1 to
    /// ``longest``.
    package init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        if parts[0] == "lognormal" {
            guard parts.count == 3, let median = Double(parts[1]), let sigma = Double(parts[2]), median >= 1,
                (0...4).contains(sigma), median * exp(3 * sigma) <= Double(Self.longest)
            else { return nil }
            self = .logNormal(median: median, sigma: sigma)
            return
        }
        let ends = text.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
        let allowed = 1...Self.longest
        guard ends.count <= 2, let first = ends[0], let last = ends[ends.count - 1], allowed.contains(first),
            allowed.contains(last), first <= last
        else { return nil }
        self = ends.count == 1 ? .fixed(first) : .uniform(first...last)
    }

    package static let longest = 1 << 20
    package static let expectation = "a number of tokens, a range such as 16-64, or lognormal:MEDIAN:SIGMA"

    /// The most tokens that are ever drawn.
    package var maximum: Int {
        switch self {
        case .fixed(let length): length
        case .uniform(let range): range.upperBound
        case .logNormal(let median, let sigma): Int((median * exp(3 * sigma)).rounded(.up))
        }
    }

    func draw(using generator: inout SplitMix64) -> Int {
        switch self {
        case .fixed(let length): length
        case .uniform(let range): Int.random(in: range, using: &generator)
        case .logNormal(let median, let sigma):
            min(max(Int((median * exp(sigma * Draw.normal(using: &generator))).rounded()), 1), maximum)
        }
    }
}

extension LengthDistribution: CustomStringConvertible {
    package var description: String {
        switch self {
        case .fixed(let length): "\(length)"
        case .uniform(let range): "\(range.lowerBound)-\(range.upperBound)"
        case .logNormal(let median, let sigma):
            "lognormal:\(Format.significant(median)):\(Format.significant(sigma))"
        }
    }
}
