import Testing

@testable import MoEBench

@Suite struct ServingLoadTests {
    private static func load(_ arrivals: ArrivalProcess, rate: Double = 50, seed: UInt64 = 3) -> ServingLoad {
        var load = ServingLoad(rate: rate, extent: .requests(40_000), prompt: .uniform(10...30), output: .fixed(4))
        load.arrivals = arrivals
        load.seed = seed
        return load
    }

    private static func gaps(_ load: ServingLoad) -> [Double] {
        let times = [0] + load.schedule().map(\.arrival)
        return zip(times, times.dropFirst()).map { $1 - $0 }
    }

    /// Mean 1/rate, and the spread that each process is said to have: of 40,000 gaps the mean is known to 1 %.
    @Test(arguments: [(ArrivalProcess.poisson, 1.0), (.bursty, 2.0)])
    func gapsHaveTheirMeanAndSpread(arrivals: ArrivalProcess, variation: Double) {
        let gaps = Self.gaps(Self.load(arrivals))
        #expect(gaps.allSatisfy { $0 >= 0 })
        let mean = gaps.reduce(0, +) / Double(gaps.count)
        #expect(abs(mean * 50 - 1) < 0.05)
        let variance = gaps.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(gaps.count)
        #expect(abs(variance.squareRoot() / mean / variation - 1) < 0.05)
    }

    /// Of exponential gaps e⁻¹ are longer than the mean; of gamma ones of shape 1/4 far fewer.
    @Test func burstsAreBursts() {
        func share(_ arrivals: ArrivalProcess) -> Double {
            let gaps = Self.gaps(Self.load(arrivals))
            return Double(gaps.count { $0 > 1.0 / 50 }) / Double(gaps.count)
        }
        #expect(abs(share(.poisson) - 0.3679) < 0.01)
        #expect(share(.bursty) < 0.28)
    }

    /// The same seed gives the same requests, at another rate the same ones closer together.
    @Test func everythingFollowsFromTheSeed() {
        let load = Self.load(.bursty)
        #expect(load.schedule() == load.schedule())
        #expect(load.schedule() != Self.load(.bursty, seed: 4).schedule())
        for (slow, fast) in zip(load.schedule(), Self.load(.bursty, rate: 100).schedule()) {
            #expect(abs(slow.arrival - 2 * fast.arrival) <= 1e-9 * slow.arrival)
            #expect(slow.promptTokens == fast.promptTokens)
        }
    }

    @Test func aGivenShareGivesUpOnTheWay() {
        var load = Self.load(.poisson)
        load.output = .uniform(1...20)
        let patient = load.schedule()
        load.cancelled = 0.25
        let schedule = load.schedule()
        let givenUp = schedule.filter { $0.cancelAfter != nil }
        #expect(abs(Double(givenUp.count) / Double(schedule.count) - 0.25) < 0.01)
        #expect(givenUp.allSatisfy { (0..<$0.outputTokens).contains($0.cancelAfter!) })
        #expect(givenUp.contains { $0.cancelAfter == 0 } && givenUp.contains { $0.cancelAfter! > 10 })
        // Who gives up is otherwise the same request.
        #expect(zip(schedule, patient).allSatisfy { $0.promptTokens == $1.promptTokens && $0.arrival == $1.arrival })
    }

    @Test func extentIsRequestsOrSeconds() {
        var load = Self.load(.poisson)
        load.extent = .seconds(20)
        let schedule = load.schedule()
        #expect(schedule.allSatisfy { $0.arrival <= 20 })
        #expect(abs(Double(schedule.count) - 1000) < 150)
        load.extent = .requests(7)
        #expect(load.schedule().count == 7)
    }

    @Test func lengthsFollowTheirDistribution() throws {
        var generator = SplitMix64(seed: 5)
        let uniform = (0..<20_000).map { _ in LengthDistribution.uniform(5...8).draw(using: &generator) }
        for length in 5...8 { #expect(abs(Double(uniform.count { $0 == length }) - 5000) < 300) }
        let logNormal = try #require(LengthDistribution("lognormal:100:0.8"))
        let lengths = (0..<20_000).map { _ in logNormal.draw(using: &generator) }.sorted()
        #expect(abs(Double(lengths[10_000]) - 100) < 4)
        // The 84.1 % quantile is one sigma away.
        #expect(abs(Double(lengths[16_827]) / 222.6 - 1) < 0.05)
        #expect(lengths.first! >= 1 && lengths.last! <= logNormal.maximum)
        #expect((0..<100).allSatisfy { _ in LengthDistribution.fixed(9).draw(using: &generator) == 9 })
    }

    @Test func lengthsAreRead() {
        #expect(LengthDistribution("64") == .fixed(64))
        #expect(LengthDistribution("16-128") == .uniform(16...128))
        #expect(LengthDistribution("lognormal:64:0.5") == .logNormal(median: 64, sigma: 0.5))
        for text in [
            "", "0", "-5", "5-", "9-3", "1-2-3", "lognormal:64", "lognormal:0:1", "lognormal:64:nan", "lognormal:64:5",
            "normal:3:4", "99999999999999999999", "2097152", "1e3",
        ] {
            #expect(LengthDistribution(text) == nil, "\(text)")
        }
    }
}
