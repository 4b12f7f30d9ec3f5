extension Bootstrap {
    /// The percentile interval that holds the middle 95 % of the ratios of medians, both sets of samples being resampled.
    ///
    /// - Returns: nil where one has fewer than ``Summary/samplesForInterval`` samples, or a median of zero.
    package static func ratioInterval(
        of samples: [Double], over baseline: [Double], seed: UInt64 = 0x5eed
    ) -> ClosedRange<Double>? {
        guard min(samples.count, baseline.count) >= Summary.samplesForInterval else { return nil }
        var generator = SplitMix64(seed: seed)
        func median(_ samples: [Double]) -> Double {
            let drawn = samples.indices.map { _ in
                samples[Int(generator.next().multipliedFullWidth(by: UInt64(samples.count)).high)]
            }
            return Summary.quantile(0.5, ofSorted: drawn.sorted())
        }
        var ratios: [Double] = []
        ratios.reserveCapacity(resamples)
        for _ in 0..<resamples {
            let (above, below) = (median(samples), median(baseline))
            guard below > 0 else { return nil }
            ratios.append(above / below)
        }
        ratios.sort()
        return Summary.quantile(0.025, ofSorted: ratios)...Summary.quantile(0.975, ofSorted: ratios)
    }
}
