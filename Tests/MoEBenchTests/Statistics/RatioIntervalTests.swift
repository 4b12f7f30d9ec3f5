import Testing

@testable import MoEBench

@Suite struct RatioIntervalTests {
    private static func uniform(_ count: Int, around middle: Double, seed: UInt64) -> [Double] {
        var generator = SplitMix64(seed: seed)
        return (0..<count).map { _ in middle * (0.9 + 0.2 * generator.unit()) }
    }

    @Test func holdsTheRatio() throws {
        let a = RatioInterval.Factor(Self.uniform(300, around: 2, seed: 1))
        let b = RatioInterval.Factor(Self.uniform(300, around: 1, seed: 2))
        let interval = try #require(RatioInterval.of([a], over: [b]))
        #expect(interval.contains(a.median / b.median))
        // Each median has a deviation of about 0.2/(2√300) = 0.6 %, the ratio of 0.8 %: some 3 % of 2 between the ends.
        let width = (interval.upperBound - interval.lowerBound) / 2
        #expect(width > 0.012 && width < 0.06)
        #expect(RatioInterval.of([a], over: [b]) == interval)
        let sure = try #require(RatioInterval.of([a], over: [b], confidence: 0.999))
        #expect(sure.lowerBound < interval.lowerBound && sure.upperBound > interval.upperBound)
    }

    /// Samples that follow upon each other tell less than as many that do not.
    @Test func slowStretchesMakeItWider() throws {
        let mixed = Self.uniform(200, around: 1, seed: 3)
        let ordered = mixed.sorted()  // as slow a drift as there can be
        let one = RatioInterval.Factor(Array(repeating: 1, count: 200))
        let independent = try #require(RatioInterval.of([.init(mixed)], over: [one]))
        let drifting = try #require(RatioInterval.of([.init(ordered)], over: [one]))
        #expect(drifting.upperBound - drifting.lowerBound > 1.5 * (independent.upperBound - independent.lowerBound))
    }

    @Test func equalSamplesAreAPoint() throws {
        let two = RatioInterval.Factor(Array(repeating: 2, count: 7)),
            four = RatioInterval.Factor(Array(repeating: 4, count: 9))
        #expect(RatioInterval.of([four], over: [two]) == 2...2)
        #expect(RatioInterval.of([four, two], over: [two]) == 4...4)
    }

    @Test func nanosecondsBecomeSeconds() {
        #expect(abs(RatioInterval.Factor(nanoseconds: [3_000_000, 1_000_000, 2_000_000]).median - 2e-3) < 1e-15)
    }

    @Test func tooFewOrNothingHasNone() {
        let few = RatioInterval.Factor([1, 2, 3, 4]), zero = RatioInterval.Factor([0, 0, 0, 0, 0])
        let good = RatioInterval.Factor([1, 2, 3, 4, 5])
        #expect(RatioInterval.of([few], over: [good]) == nil)
        #expect(RatioInterval.of([good], over: [zero]) == nil)
        #expect(RatioInterval.of([good], over: [RatioInterval.Factor([])]) == nil)
        #expect(RatioInterval.of([good], over: [good]) != nil)
    }
}
