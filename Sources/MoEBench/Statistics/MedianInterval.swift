/// An interval that holds the median of what samples are drawn from in 95 of 100 cases, whatever that distribution is: two order
/// statistics, from the binomial count of samples below the median. It costs a sort, so it can be looked at while measuring;
/// what is shown is the bootstrap's (``Bootstrap``). Source: Conover, "Practical Nonparametric Statistics", 1971.
package enum MedianInterval {
    /// With fewer, not even the smallest and the largest sample hold the median often enough.
    package static let fewest = 6

    /// nil below ``fewest`` samples.
    package static func of(sorted: [Double]) -> ClosedRange<Double>? {
        let count = Double(sorted.count)
        guard sorted.count >= fewest else { return nil }
        // The normal approximation of the binomial, rounded outwards.
        let rank = max(1, Int((count - 1.96 * count.squareRoot()) / 2))
        return sorted[rank - 1]...sorted[sorted.count - rank]
    }

    /// Half the interval's width over the median; nil where there is no interval or the median is not positive.
    package static func relativeHalfWidth(_ samples: [Double]) -> Double? {
        let sorted = samples.sorted()
        guard let interval = of(sorted: sorted) else { return nil }
        let median = Summary.quantile(0.5, ofSorted: sorted)
        return median > 0 ? (interval.upperBound - interval.lowerBound) / 2 / median : nil
    }
}
