import Testing

@testable import MoEBench

@Suite struct RunConditionsTests {
    private func rates(_ count: Int, around level: Double, spread: Double, seed: UInt64) -> [Double] {
        var generator = SplitMix64(seed: seed)
        return (0..<count).map { _ in level * (1 + spread * (generator.unit() - 0.5)) }
    }

    @Test func aQuietRunSaysNothing() {
        let conditions = RunConditions(
            ceilings: [
                .init(name: "FMA", rates: rates(30, around: 4e10, spread: 0.02, seed: 1)),
                .init(name: "read", rates: rates(30, around: 1e10, spread: 0.04, seed: 2)),
            ],
            measurements: [("layer", rates(60, around: 1e6, spread: 0.03, seed: 3).map { UInt64($0) })])
        #expect(conditions.slowdown == nil || abs(conditions.slowdown!) < 0.05)
        #expect(conditions.drifts.isEmpty && conditions.sentences.isEmpty)
    }

    /// The clock falls by 12 % after two fifths of the run; a layer that slows with it is explained by it.
    @Test func throttling() throws {
        let scale = (0..<30).map { $0 < 12 ? 1 : 0.88 }
        let arithmetic = zip(rates(30, around: 4e10, spread: 0.02, seed: 1), scale).map { $0 * $1 }
        let layer = zip(rates(30, around: 1e6, spread: 0.02, seed: 2), scale).map { UInt64($0 / $1) }
        let conditions = RunConditions(
            ceilings: [.init(name: "FMA", rates: arithmetic)], measurements: [("layer", layer)])
        #expect(abs(try #require(conditions.slowdown) - 0.12) < 0.015)
        #expect(conditions.drifts.isEmpty)
        let sentence = try #require(conditions.sentences.first)
        #expect(sentence.hasPrefix("the machine slowed down by 1"))
        #expect(sentence.hasSuffix("% during this run; ratios are safe, absolute times are not"))
        // That the passes differ is said with it.
        #expect(conditions.sentences.count == 1)
    }

    @Test func aLayerThatSlowsAlone() throws {
        let layer = (0..<40).map { UInt64(1_000_000 + 5000 * $0) }
        let conditions = RunConditions(
            ceilings: [.init(name: "FMA", rates: rates(30, around: 4e10, spread: 0.02, seed: 1))],
            measurements: [("layer", layer), ("other", layer.map { _ in 7 })])
        #expect(conditions.drifts.map(\.name) == ["layer"])
        #expect(abs(conditions.drifts[0].change - 0.18) < 0.01)
        #expect(conditions.sentences.contains { $0.hasPrefix("layer became 18 % slower") })
    }

    @Test func aDisturbedMachine() throws {
        let halves = (0..<30).map { $0 % 2 == 0 ? 1e10 : 2e10 }
        let conditions = RunConditions(
            ceilings: [
                .init(name: "FMA", rates: rates(30, around: 1, spread: 0.01, seed: 1)),
                .init(name: "read 64.0 MiB", rates: halves),
            ],
            measurements: [])
        #expect(try #require(conditions.spread).ceiling == "read 64.0 MiB")
        #expect(conditions.sentences.count == 1)
        #expect(conditions.sentences[0].contains("read 64.0 MiB passes spans 67 %"))
    }

    /// A layer whose times wander on a machine that is as restless says nothing about the layer.
    @Test func noDriftOnADisturbedMachine() {
        let halves = (0..<30).map { $0 % 2 == 0 ? 1e10 : 2e10 }
        let layer = (0..<40).map { UInt64(1_000_000 + 5000 * $0) }
        let conditions = RunConditions(
            ceilings: [.init(name: "FMA", rates: halves)], measurements: [("layer", layer)])
        #expect(conditions.drifts.isEmpty && conditions.sentences.count == 1)
    }

    /// Slower towards the end, and restless throughout: ratios are not called safe.
    @Test func throttlingAndDisturbance() throws {
        let passes = (0..<30).map { ($0 % 2 == 0 ? 1e10 : 2e10) * ($0 < 12 ? 1 : 0.8) }
        let reads = passes.map { _ in 1e10 }
        let conditions = RunConditions(
            ceilings: [
                .init(name: "FMA", rates: (0..<30).map { $0 < 12 ? 1 : 0.8 }), .init(name: "read", rates: passes),
                .init(name: "read", rates: reads),
            ], measurements: [])
        #expect(abs(try #require(conditions.slowdown) - 0.2) < 1e-9)
        #expect(conditions.sentences.count == 2)
        #expect(conditions.sentences.allSatisfy { !$0.contains("ratios are safe") })
        #expect(conditions.sentences[1].hasSuffix("ratios of the two say little"))
    }

    @Test func tooFewPassesSayNothing() {
        let conditions = RunConditions(ceilings: [.init(name: "FMA", rates: [1, 9, 1, 9])], measurements: [])
        #expect(conditions.slowdown == nil && conditions.spread == nil && conditions.sentences.isEmpty)
    }
}
