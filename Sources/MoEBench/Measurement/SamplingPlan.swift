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

    /// Samples for each implementation, from the seconds one call takes. Quick ones reach the maximum and leave their share to
    /// slow ones.
    package func samples(forSeconds seconds: [Double]) -> [Int] {
        var counts = [Int](repeating: minimumSamples, count: seconds.count)
        var remaining = budget
        let order = seconds.indices.sorted { seconds[$0] < seconds[$1] }
        for (done, index) in order.enumerated() {
            let share = max(remaining, 0) / Double(order.count - done)
            let affordable = Int(min(share / max(seconds[index], 1e-9), Double(maximumSamples)))
            counts[index] = max(minimumSamples, affordable)
            remaining -= Double(counts[index]) * seconds[index]
        }
        return counts
    }

    /// How many of `samples` fall into round `round`.
    package func share(of samples: Int, inRound round: Int) -> Int {
        samples * (round + 1) / rounds - samples * round / rounds
    }
}
