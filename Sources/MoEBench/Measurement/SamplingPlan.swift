/// How long to measure: until medians are known well enough, but not beyond a budget, and how that is shared out.
package struct SamplingPlan: Sendable, Hashable {
    /// Seconds of timed calls and of what has to precede them, over all implementations of the comparison.
    package var budget: Double
    package var minimumSamples: Int
    package var maximumSamples: Int
    /// The budget is spread over these, each round visiting every implementation and the ceilings; looking at the intervals comes
    /// after each.
    package var rounds: Int
    /// Rounds before sampling may end early: many samples of one moment are well known, and say little of the next.
    static let fewestRounds = 8
    /// Sampling ends early once half of every median's 95 % interval is at most this part of it, at two looks running.
    ///
    /// Stopping at the first tight look would favour lucky ones: among many looks some are tight by chance.
    package var relativeHalfWidth: Double
    /// Calls shorter than this are timed several in a row, as many as fill it.
    package var turnSeconds = 0.01
    /// Work that fits into the cache, and whose calls are shorter than this, starts its turn with an untimed call.
    package var settleSeconds = 0.1

    package init(
        budget: Double, minimumSamples: Int = 5, maximumSamples: Int = 300, rounds: Int = 30,
        relativeHalfWidth: Double = 0.01
    ) {
        self.budget = budget
        self.minimumSamples = minimumSamples
        self.maximumSamples = maximumSamples
        self.rounds = rounds
        self.relativeHalfWidth = relativeHalfWidth
    }

    /// The fewest samples whose interval may end the sampling.
    package var samplesForInterval: Int { max(minimumSamples, Summary.samplesForP95) }

    /// Samples for each implementation, from the seconds one call takes and how much each matters.
    ///
    /// Each has a share of the budget by its weight, and those that reach the maximum leave the rest of theirs to the others. A slow baseline
    /// has few samples, then; but it does not leave few to what it is compared with.
    package func samples(forSeconds seconds: [Double], weights: [Double]? = nil) -> [Int] {
        let weights = weights ?? Array(repeating: 1, count: seconds.count)
        let order = seconds.indices.sorted { seconds[$0] * weights[$1] < seconds[$1] * weights[$0] }
        var counts = [Int](repeating: minimumSamples, count: seconds.count)
        var remaining = budget
        var claims = weights.reduce(0, +)
        for index in order {
            let share = max(remaining, 0) * weights[index] / claims
            claims -= weights[index]
            counts[index] = max(Int(min(share / max(seconds[index], 1e-9), Double(maximumSamples))), minimumSamples)
            remaining -= Double(counts[index]) * seconds[index]
        }
        return counts
    }

    /// How many of `samples` are there after round `round`.
    package func due(of samples: Int, afterRound round: Int) -> Int { samples * (round + 1) / rounds }

    /// Calls in a row that make a turn of an implementation whose calls take so long.
    package func samplesPerTurn(forSeconds seconds: Double) -> Int {
        max(1, Int(min((turnSeconds / max(seconds, 1e-9)).rounded(.up), 1e6)))
    }
}
