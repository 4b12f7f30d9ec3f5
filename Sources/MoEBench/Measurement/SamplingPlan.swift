/// How long to measure: a budget, and how it is shared out.
package struct SamplingPlan: Sendable, Hashable {
    /// Seconds of timed calls, over all implementations of the comparison.
    package var budget: Double
    package var minimumSamples: Int
    package var maximumSamples: Int
    /// Everything is spread over these, each round visiting every implementation and the ceilings.
    package var rounds: Int

    package init(budget: Double, minimumSamples: Int = 5, maximumSamples: Int = 300, rounds: Int = 20) {
        self.budget = budget
        self.minimumSamples = minimumSamples
        self.maximumSamples = maximumSamples
        self.rounds = rounds
    }

    /// Samples for each implementation, from the seconds one call takes and how much each matters.
    ///
    /// First everything gets as many as a 95th percentile needs, as far as the budget goes; then what is left is spent the same
    /// way up to the maximum. Quick ones leave their share to slow ones.
    package func samples(forSeconds seconds: [Double], weights: [Double]? = nil) -> [Int] {
        let weights = weights ?? Array(repeating: 1, count: seconds.count)
        let order = seconds.indices.sorted { seconds[$0] * weights[$1] < seconds[$1] * weights[$0] }
        var counts = [Int](repeating: 0, count: seconds.count)
        var remaining = budget
        for target in [min(Summary.samplesForP95, maximumSamples), maximumSamples] {
            var claims = order.reduce(0) { $0 + weights[$1] }
            for index in order {
                let share = max(remaining, 0) * weights[index] / claims
                claims -= weights[index]
                let affordable = Int(min(share / max(seconds[index], 1e-9), Double(maximumSamples)))
                let more = max(0, min(target - counts[index], affordable))
                counts[index] += more
                remaining -= Double(more) * seconds[index]
            }
        }
        return counts.map { max($0, minimumSamples) }
    }

    /// How many of `samples` fall into round `round`.
    package func share(of samples: Int, inRound round: Int) -> Int {
        samples * (round + 1) / rounds - samples * round / rounds
    }
}
