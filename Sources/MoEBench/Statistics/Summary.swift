/// What a set of timings says: order statistics, and how sure the median is.
///
/// The median, not the mean: the time a call needs has a hard floor and a long tail of interruptions, and one of those must
/// not move the result. Percentiles that too few samples can carry are nil, never guessed.
package struct Summary: Sendable, Hashable {
    package let count: Int
    package let minimum: Double
    package let median: Double
    /// nil below ``samplesForP95`` samples.
    package let p95: Double?
    /// nil below ``samplesForP99`` samples.
    package let p99: Double?
    /// 95 % bootstrap interval of the median; nil below ``samplesForInterval`` samples.
    package let medianInterval: ClosedRange<Double>?

    /// The fewest samples of which one lies beyond the percentile.
    package static let samplesForP95 = 20
    package static let samplesForP99 = 100
    /// With fewer, resamples are too alike for an interval to mean anything.
    package static let samplesForInterval = 5

    /// Summarises samples in any order; nil where there are none.
    package init?(_ samples: [Double], seed: UInt64 = 0x5eed) {
        guard !samples.isEmpty else { return nil }
        let sorted = samples.sorted()
        count = sorted.count
        minimum = sorted[0]
        median = Self.quantile(0.5, ofSorted: sorted)
        p95 = count >= Self.samplesForP95 ? Self.quantile(0.95, ofSorted: sorted) : nil
        p99 = count >= Self.samplesForP99 ? Self.quantile(0.99, ofSorted: sorted) : nil
        medianInterval =
            count >= Self.samplesForInterval ? Bootstrap.medianInterval(ofSorted: sorted, seed: seed) : nil
    }

    /// Half the interval's width over the median: 0.01 where the median is known to about one per cent.
    package var relativeHalfWidth: Double? {
        guard let medianInterval, median > 0 else { return nil }
        return (medianInterval.upperBound - medianInterval.lowerBound) / 2 / median
    }

    /// The median alone, of samples in any order, one or more: no resampling, no percentiles.
    package static func median(of samples: [Double]) -> Double { quantile(0.5, ofSorted: samples.sorted()) }

    /// Linear interpolation between the order statistics around q·(n − 1).
    package static func quantile(_ q: Double, ofSorted sorted: [Double]) -> Double {
        let position = q * Double(sorted.count - 1)
        let below = Int(position)
        let above = min(below + 1, sorted.count - 1)
        return sorted[below] + (sorted[above] - sorted[below]) * (position - Double(below))
    }
}
