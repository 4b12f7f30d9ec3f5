/// Confidence by resampling. Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979.
package enum Bootstrap {
    package static let resamples = 1000

    /// The percentile interval that holds the middle 95 % of the medians of resamples drawn with replacement.
    ///
    /// Only ranks are drawn: a resample's median is fixed by how often each rank was drawn, so a counting pass replaces the
    /// sort, and ten thousand samples stay well below a second.
    package static func medianInterval(ofSorted sorted: [Double], seed: UInt64) -> ClosedRange<Double> {
        let count = sorted.count
        var generator = SplitMix64(seed: seed)
        var draws = [Int32](repeating: 0, count: count)
        var medians: [Double] = []
        medians.reserveCapacity(resamples)
        for _ in 0..<resamples {
            for index in draws.indices { draws[index] = 0 }
            for _ in 0..<count {
                // The high half of a 128-bit product: uniform over 0..<count without a division.
                draws[Int(generator.next().multipliedFullWidth(by: UInt64(count)).high)] += 1
            }
            medians.append(median(draws[...], of: sorted))
        }
        medians.sort()
        return Summary.quantile(0.025, ofSorted: medians)...Summary.quantile(0.975, ofSorted: medians)
    }

    /// The median of a multiset given as how often each sorted value occurs in it.
    static func median(_ draws: ArraySlice<Int32>, of sorted: [Double]) -> Double {
        let count = sorted.count
        let lower = (count - 1) / 2, upper = count / 2
        var seen = 0
        var first: Double?
        for (index, draw) in draws.enumerated() where draw > 0 {
            seen += Int(draw)
            if first == nil, seen > lower { first = sorted[index] }
            if seen > upper { return (first! + sorted[index]) / 2 }
        }
        return sorted[count - 1]
    }
}
