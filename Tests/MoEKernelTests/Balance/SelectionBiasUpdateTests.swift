import Testing

@testable import MoEKernel

@Suite struct BalanceSelectionBiasTests {
    @Test func stepsTowardsTheMean() throws {
        // Mean 2.5.
        let next = try SelectionBiasUpdate(gamma: 0.5).updated([1, -1, 0, 2], load: [0, 3, 2, 5])
        #expect(next == [1.5, -1.5, 0.5, 1.5])
    }

    @Test func meanLoadKeepsItsBias() throws {
        // A mean of 10/3 in floating point times 3 need not be 10; loads of exactly the mean must still not move.
        #expect(try SelectionBiasUpdate().updated([0.25, 0.5, 1], load: [7, 7, 7]) == [0.25, 0.5, 1])
        #expect(try SelectionBiasUpdate().updated([0.25, 0.5], load: [0, 0]) == [0.25, 0.5])
        #expect(try SelectionBiasUpdate(gamma: 0).updated([0.25, 0.5], load: [9, 1]) == [0.25, 0.5])
        #expect(try SelectionBiasUpdate().updated([], load: []) == [])
    }

    @Test func argumentsAreChecked() throws {
        for gamma in [-1, Float.nan, .infinity] {
            #expect(throws: MoEError.self) { try SelectionBiasUpdate(gamma: gamma) }
        }
        let update = try SelectionBiasUpdate()
        #expect(update.gamma == 0.001)
        for load in [[1], [1, -1], [Int.max, 1], [Int.max, Int.max]] {
            #expect(throws: MoEError.self) { try update.updated([0, 0], load: load) }
        }
    }

    /// Skewed scores, chosen by score plus bias: the update evens out the load.
    @Test func evensOutSkewedScores() throws {
        let (tokens, experts, topK) = (256, 8, 2)
        var generator = SeededGenerator(seed: 5)
        var bias = [Float](repeating: 0, count: experts)
        let update = try SelectionBiasUpdate(gamma: 0.01)
        var first = 0.0
        var last = 0.0
        for step in 0..<200 {
            var indices: [Int32] = []
            for _ in 0..<tokens {
                let scores = (0..<experts).map {
                    Float($0) * 0.05 + Float.random(in: 0...1, using: &generator) + bias[$0]
                }
                indices += scores.indices.sorted { scores[$0] > scores[$1] }.prefix(topK).map(Int32.init)
            }
            let routing = try Routing(
                tokens: tokens, experts: experts, topK: topK,
                logits: Array(repeating: 0, count: tokens * experts), expertIndices: indices,
                weights: Array(repeating: 1, count: tokens * topK))
            if step == 0 { first = routing.maxOverMeanLoad }
            last = routing.maxOverMeanLoad
            bias = try update.updated(bias, load: Routing.expertLoad(of: [routing]))
        }
        #expect(first > 1.5)
        #expect(last < 1.3)
    }
}
