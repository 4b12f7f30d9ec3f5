import Testing

@testable import MoEBench

@Suite struct MedianIntervalTests {
    @Test func ranks() {
        func interval(_ count: Int) -> ClosedRange<Double>? { MedianInterval.of(sorted: (1...count).map(Double.init)) }
        #expect(interval(5) == nil)
        #expect(interval(6) == 1...6)
        // Conover's table has 40 and 61 for a hundred.
        #expect(interval(100) == 40...61)
    }

    /// It holds the median of a skewed distribution in at least 95 of 100 cases, but not in all.
    @Test(arguments: [8, 20, 75]) func coverage(count: Int) throws {
        var generator = SplitMix64(seed: 4)
        let held = (0..<4000).count { _ in
            let sorted = (0..<count).map { _ in generator.unit() * generator.unit() }.sorted()
            // P(UV ≤ m) = m − m·ln m = 1/2.
            return MedianInterval.of(sorted: sorted)!.contains(0.186_682)
        }
        #expect(held > 3780 && held < 4000)
    }

    @Test func relative() throws {
        #expect(MedianInterval.relativeHalfWidth(Array(repeating: 3, count: 10)) == 0)
        #expect(abs(try #require(MedianInterval.relativeHalfWidth([9, 10, 11, 9, 10, 11])) - 0.1) < 1e-12)
        #expect(MedianInterval.relativeHalfWidth([1, 2]) == nil)
    }
}
