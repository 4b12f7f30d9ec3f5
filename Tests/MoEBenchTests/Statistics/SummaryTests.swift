import Testing

@testable import MoEBench

@Suite struct SummaryTests {
    @Test func medianOfOddAndEvenCounts() throws {
        #expect(try #require(Summary([5, 1, 3])).median == 3)
        #expect(try #require(Summary([4, 1, 3, 2])).median == 2.5)
        #expect(Summary([]) == nil)
        #expect(try #require(Summary([7])).minimum == 7)
    }

    @Test func percentilesOfARamp() throws {
        // 0, 1, …, 100: the p-th percentile is p itself.
        let summary = try #require(Summary((0...100).map(Double.init).shuffled()))
        #expect(summary.median == 50)
        #expect(summary.p95 == 95)
        #expect(summary.p99 == 99)
        #expect(summary.minimum == 0)
        #expect(summary.count == 101)
    }

    @Test func percentilesAreRefusedWhereSamplesAreTooFew() throws {
        func summary(_ count: Int) throws -> Summary { try #require(Summary((0..<count).map(Double.init))) }
        #expect(try summary(19).p95 == nil)
        #expect(try summary(20).p95 != nil)
        #expect(try summary(99).p99 == nil)
        #expect(try summary(100).p99 != nil)
        #expect(try summary(4).medianInterval == nil)
        #expect(try summary(5).medianInterval != nil)
    }

    @Test func bootstrapIsDeterministicAndHoldsTheMedian() throws {
        var generator = SplitMix64(seed: 3)
        let samples = (0..<200).map { _ in 10 + generator.unit() }
        let first = try #require(Summary(samples)?.medianInterval)
        #expect(first == Summary(samples.reversed())?.medianInterval)
        #expect(first.contains(try #require(Summary(samples)).median))
        // The median of 200 uniform numbers has a standard deviation of 1/(2√200) = 0.035.
        #expect(first.upperBound - first.lowerBound > 0.05)
        #expect(first.upperBound - first.lowerBound < 0.3)
    }

    @Test func bootstrapOfEqualSamplesIsAPoint() {
        #expect(Bootstrap.medianInterval(ofSorted: Array(repeating: 2, count: 9), seed: 1) == 2...2)
    }

    @Test func bootstrapMatchesResamplingBySorting() {
        let sorted: [Double] = [1, 2, 4, 8, 16, 32]
        var generator = SplitMix64(seed: 9)
        var medians = (0..<Bootstrap.resamples).map { _ in
            let resample = sorted.map { _ in
                sorted[Int(generator.next().multipliedFullWidth(by: UInt64(sorted.count)).high)]
            }.sorted()
            return (resample[2] + resample[3]) / 2
        }
        medians.sort()
        let expected = Summary.quantile(0.025, ofSorted: medians)...Summary.quantile(0.975, ofSorted: medians)
        #expect(Bootstrap.medianInterval(ofSorted: sorted, seed: 9) == expected)
    }
}
