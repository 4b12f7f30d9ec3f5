import Testing

@testable import MoEBench

@Suite struct TrendTests {
    /// A timing's usual noise: a hard floor, a long tail, now and then an interruption.
    private func noise(_ count: Int, seed: UInt64) -> [Double] {
        var generator = SplitMix64(seed: seed)
        return (0..<count).map { _ in
            let tail = generator.unit() * generator.unit() * generator.unit()
            return (1 + 0.2 * tail) * (generator.unit() < 0.05 ? 3 : 1)
        }
    }

    /// Over a thousand series without a trend, next to none is called a drift.
    @Test(arguments: [12, 60, 300]) func noneInNoise(count: Int) throws {
        let found = try (0..<1000).count { try #require(Trend(noise(count, seed: UInt64($0)))).isDrift }
        #expect(found <= 12)
    }

    @Test(arguments: [20, 60, 300, 10_000]) func foundInNoise(count: Int) throws {
        for (seed, change) in [(1, 0.15), (2, -0.15), (3, 0.4)] {
            let drifting = noise(count, seed: UInt64(seed)).enumerated().map { index, value in
                value * (1 + change * Double(index) / Double(count - 1))
            }
            let trend = try #require(Trend(drifting))
            #expect(trend.isDrift && trend.probability < 0.01)
            // Over the median, which lies half-way up.
            #expect(abs(trend.change - change / (1 + change / 2)) < 0.06)
        }
    }

    @Test func straightLine() throws {
        let trend = try #require(Trend((0..<11).map { 95 + Double($0) }))
        #expect(abs(trend.change - 0.1) < 1e-12)
        // All 55 pairs rise: z is 54 over the root of 11·10·27/18 = 165.
        #expect(abs(trend.probability - 2.6e-5) < 0.1e-5)
    }

    @Test func oneGiantIsNoTrend() throws {
        var samples = Array(repeating: 1.0, count: 30)
        samples[29] = 1000
        let trend = try #require(Trend(samples))
        #expect(trend.change == 0 && !trend.isDrift)
    }

    @Test func tooShortOrConstant() throws {
        #expect(Trend([1, 2, 3, 4, 5, 6, 7]) == nil)
        #expect(Trend(Array(repeating: 0, count: 20)) == nil)
        #expect(try #require(Trend(Array(repeating: 2, count: 20))).probability == 1)
    }
}
