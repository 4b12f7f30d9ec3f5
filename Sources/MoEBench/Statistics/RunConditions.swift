/// What a machine did while something was measured on it, from nothing but the samples that were saved: did it slow down, was it
/// disturbed, and did an implementation change while it did not.
package struct RunConditions: Sendable, Hashable {
    package struct Ceiling: Sendable, Hashable {
        /// "FMA", "read 64.0 MiB".
        package let name: String
        /// Work a second of each pass, in the order they ran.
        package let rates: [Double]

        package init(name: String, rates: [Double]) {
            self.name = name
            self.rates = rates
        }
    }

    /// The largest distance between the quartiles of a ceiling's passes, over their median, and whose.
    package struct Spread: Sendable, Hashable {
        package let ceiling: String
        package let relative: Double
    }

    /// An implementation that became slower, by a positive part, or faster while the machine did not.
    package struct Drift: Sendable, Hashable {
        package let name: String
        package let change: Double
    }

    /// The part by which arithmetic was slower in the last third of its passes than in the first; negative where it was faster. nil
    /// where passes are too few or show no direction.
    package let slowdown: Double?
    /// nil where no ceiling has passes enough.
    package let spread: Spread?
    package let drifts: [Drift]

    /// Passes that thirds and quartiles need.
    package static let fewestPasses = 9
    /// What is said: a slowdown by this part, quartiles this far apart.
    private static let notable = 0.05

    /// - Parameters:
    ///   - ceilings: The first is of arithmetic, which nothing but the clock rate and other programs can slow down.
    ///   - measurements: Names and timed calls.
    package init(ceilings: [Ceiling], measurements: [(name: String, nanoseconds: [UInt64])]) {
        let passes = ceilings.filter { $0.rates.count >= Self.fewestPasses }
        let slowdown = passes.first.flatMap { $0 == ceilings.first ? Self.slowdown($0.rates) : nil }
        self.slowdown = slowdown
        let spread = passes.map { Spread(ceiling: $0.name, relative: Self.spread($0.rates)) }
            .max { $0.relative < $1.relative }
        self.spread = spread
        drifts = measurements.compactMap { measurement in
            guard let trend = Trend(measurement.nanoseconds.map { Double($0) }), trend.isDrift else { return nil }
            // A slower machine explains slower calls, and one that is disturbed as much as that explains anything.
            if let spread, spread.relative > abs(trend.change) { return nil }
            if let slowdown, abs(slowdown) >= Self.notable, (slowdown > 0) == (trend.change > 0) { return nil }
            return Drift(name: measurement.name, change: trend.change)
        }
    }

    private static func slowdown(_ rates: [Double]) -> Double? {
        guard let trend = Trend(rates), trend.probability < 0.05 else { return nil }
        let third = rates.count / 3
        let first = Summary.median(of: Array(rates.prefix(third)))
        return first > 0 ? 1 - Summary.median(of: Array(rates.suffix(third))) / first : nil
    }

    private static func spread(_ rates: [Double]) -> Double {
        let sorted = rates.sorted()
        let median = Summary.quantile(0.5, ofSorted: sorted)
        guard median > 0 else { return 0 }
        return (Summary.quantile(0.75, ofSorted: sorted) - Summary.quantile(0.25, ofSorted: sorted)) / median
    }

    /// What a reader of the numbers has to know, one sentence each; empty after a run without disturbance.
    package var sentences: [String] {
        var sentences: [String] = []
        func percent(_ part: Double) -> String { Format.significant(abs(part) * 100, digits: 2) + " %" }
        let change = slowdown.map { abs($0) >= Self.notable ? $0 : 0 } ?? 0
        // Where it slowed down, early and late passes differ by that anyway.
        let disturbed = spread.flatMap { $0.relative >= max(Self.notable, 1.5 * abs(change)) ? $0 : nil }
        if change != 0 {
            sentences.append(
                "the machine \(change > 0 ? "slowed down" : "became faster") by \(percent(change)) during this run; "
                    + (disturbed == nil ? "ratios are safe, absolute times are not" : "absolute times are not safe"))
        }
        if let disturbed {
            sentences.append(
                "the machine was disturbed (the middle half of its \(disturbed.ceiling) passes spans "
                    + percent(disturbed.relative)
                    + "): long calls suffer more than short ones, and ratios of the two say little")
        }
        for drift in drifts {
            sentences.append(
                "\(drift.name) became \(percent(drift.change)) \(drift.change > 0 ? "slower" : "faster") from its first "
                    + "sample to its last, and the machine did not")
        }
        return sentences
    }
}
