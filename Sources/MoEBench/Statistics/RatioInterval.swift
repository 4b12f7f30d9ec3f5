/// How sure a ratio of medians is, by resampling.
///
/// Samples that follow upon each other are alike: a machine is slow for a while, then fast. Drawn one by one they would look surer
/// than they are, so runs of them are drawn, as long as a round of the timer was.
/// Source: Politis, Romano, "A Circular Block-Resampling Procedure for Stationary Data", 1992.
package enum RatioInterval {
    /// Samples of one factor, in the order they were taken.
    package struct Factor: Sendable {
        fileprivate let sorted: [Double]
        /// The place of each sample in `sorted`.
        fileprivate let ranks: [Int]

        package init(_ samples: [Double]) {
            let order = samples.indices.sorted { samples[$0] < samples[$1] }
            sorted = order.map { samples[$0] }
            var ranks = [Int](repeating: 0, count: samples.count)
            for (rank, index) in order.enumerated() { ranks[index] = rank }
            self.ranks = ranks
        }

        /// Times of calls, in seconds.
        package init(nanoseconds: [UInt64]) { self.init(nanoseconds.map { Double($0) * 1e-9 }) }

        package var median: Double { sorted.isEmpty ? .nan : Summary.quantile(0.5, ofSorted: sorted) }
        package var count: Int { sorted.count }

        /// The median of a resample: only how often each rank was drawn matters.
        fileprivate func drawMedian(_ generator: inout SplitMix64, _ draws: inout [Int32]) -> Double {
            let count = ranks.count
            let block = max(count / RatioInterval.blocks, 1)
            for index in 0..<count { draws[index] = 0 }
            var drawn = 0
            while drawn < count {
                var index = Int(generator.next().multipliedFullWidth(by: UInt64(count)).high)
                let take = min(block, count - drawn)
                for _ in 0..<take {
                    draws[ranks[index]] += 1
                    index = index + 1 == count ? 0 : index + 1
                }
                drawn += take
            }
            return Bootstrap.median(draws.prefix(count), of: sorted)
        }
    }

    /// As many as the fewest rounds that end a timer's sampling: a block is a round or longer.
    package static let blocks = SamplingPlan.fewestRounds

    /// The interval of a product of medians over a product of medians.
    ///
    /// - Parameters:
    ///   - confidence: The part of resampled ratios inside, 0.95 as a rule; nearer to 1 where several are looked at together.
    /// - Returns: nil where a factor has fewer samples than an interval needs, or a median is 0.
    package static func of(
        _ numerator: [Factor], over denominator: [Factor], confidence: Double = 0.95, seed: UInt64 = 0x5eed
    ) -> ClosedRange<Double>? {
        let factors = numerator + denominator
        guard factors.allSatisfy({ $0.count >= Summary.samplesForInterval && $0.median > 0 && $0.median.isFinite })
        else {
            return nil
        }
        // Some ten resamples should lie beyond each end, as far as so many samples leave time for them.
        let tail = (1 - confidence) / 2
        let draws = factors.reduce(0) { $0 + $1.count }
        let resamples = Int(min(max(min(10 / tail, 10_000_000 / Double(draws)), 1000), 10_000))
        var generator = SplitMix64(seed: seed)
        var counts = [Int32](repeating: 0, count: factors.map(\.count).max() ?? 0)
        var ratios: [Double] = []
        ratios.reserveCapacity(resamples)
        for _ in 0..<resamples {
            var ratio = 1.0
            for factor in numerator { ratio *= factor.drawMedian(&generator, &counts) }
            for factor in denominator { ratio /= factor.drawMedian(&generator, &counts) }
            ratios.append(ratio)
        }
        ratios.sort()
        let low = Summary.quantile(tail, ofSorted: ratios), high = Summary.quantile(1 - tail, ofSorted: ratios)
        guard low <= high else { return nil }  // a sample of 0 makes what is no number
        return low...high
    }
}
