import Testing

@testable import MoEKernel

/// A router that lets the input be the logits: an identity matrix.
private struct IdentityRouter: WeightSource {
    let hidden: Int
    func format(of name: WeightName) -> WeightFormat { .plain(.float32) }
    func read(_ name: WeightName, rows: Range<Int>, into target: UnsafeMutableRawBufferPointer) throws(MoEError) {
        let out = target.assumingMemoryBound(to: Float.self)
        let columns = if case .expert(_, .down) = name { 4 } else { hidden }
        for index in 0..<rows.count * columns { out[index] = 0 }
        guard name == .router else { return }
        for (index, row) in rows.enumerated() { out[index * hidden + row] = 1 }
    }
}

@Suite struct RoutingTests {
    private func route(_ logits: [[Float]], topK: Int, _ router: RouterConfiguration = .init()) throws -> [Routing] {
        let experts = logits[0].count
        let configuration = try MoEConfiguration(
            experts: experts, topK: topK, hidden: experts, expertHidden: 4, router: router)
        return try CPUInstructionSet.supported.map { set in
            try MoELayer(
                configuration, weights: MoEWeights(IdentityRouter(hidden: experts)), pool: ThreadPool(threads: 1),
                instructionSet: set
            ).route(Tensor(rows: logits))
        }
    }

    @Test func tiesGoToTheLowestIndex() throws {
        for routing in try route([[1, 1, 1, 1, 1], [0, 2, 1, 2, 1], [-1, -1, 0, 0, 0]], topK: 3) {
            #expect(routing.expertIndices == [0, 1, 2, 1, 3, 2, 2, 3, 4])
        }
    }

    @Test func softmaxOverAllExperts() throws {
        for routing in try route([[0, 0, 0, 0]], topK: 2, .init(normalisation: .none)) {
            #expect(routing.weights == [0.25, 0.25])
        }
        for routing in try route([[0, 0, 0, 0]], topK: 2, .init(normalisation: .sum(epsilon: 0), scale: 3)) {
            #expect(routing.weights == [1.5, 1.5])
        }
    }

    /// The documented policy; every weight stays finite and every id in range.
    @Test func logitsThatAreNoNumbers() throws {
        // A zero times infinity or NaN is NaN in every logit, so one bad activation spoils its token's logits and no other's.
        for routing in try route([[1, 2, 3], [.nan, 0, 0], [3, 2, 1]], topK: 2) {
            #expect(routing.expertIndices == [2, 1, 0, 1, 0, 1])
            #expect(routing.weights.allSatisfy { $0.isFinite })
            #expect(routing.weights[2] == 0.5 && routing.weights[3] == 0.5)
        }
    }

    @Test func hugeLogitsDoNotOverflow() throws {
        for routing in try route([[3e38, -3e38, 0], [-3e38, -3e38, -3e38]], topK: 2) {
            #expect(routing.expertIndices == [0, 2, 0, 1])
            #expect(routing.weights == [1, 0, 0.5, 0.5])
        }
    }

    /// Different ways of saying the same router.
    @Test func identities() throws {
        var generator = SeededGenerator(seed: 8)
        let logits = (0..<50).map { _ in (0..<12).map { _ in Float.random(in: -3...3, using: &generator) } }
        func equal(_ a: RouterConfiguration, _ b: RouterConfiguration, topK: Int, within tolerance: Float = 0) throws {
            for (a, b) in zip(try route(logits, topK: topK, a), try route(logits, topK: topK, b)) {
                #expect(a.expertIndices == b.expertIndices)
                #expect(zip(a.weights, b.weights).allSatisfy { abs($0 - $1) <= tolerance * $1 })
            }
        }
        // Softmax over all, chosen, divided by their sum; or chosen, then softmax over them.
        try equal(
            .init(), .init(score: .logits, weightTransform: .softmaxOverSelected, normalisation: .none), topK: 4,
            within: 1e-6)
        for score in [RouterScore.softmax, .sigmoid, .sqrtSoftplus] {
            let plain = RouterConfiguration(score: score, normalisation: .sum(epsilon: 1e-20), scale: 2.5)
            for by in [GroupScore.max, .topTwoSum] {
                var grouped = plain
                grouped.selection = .grouped(groups: 1, keep: 1, by: by)
                try equal(plain, grouped, topK: 4)
                // All groups kept are no groups.
                grouped.selection = .grouped(groups: 3, keep: 3, by: by)
                try equal(plain, grouped, topK: 4)
            }
        }
        // One group at the upper level has all the weight.
        try equal(.init(), .init(selection: .hierarchical(groups: 1, keep: 1)), topK: 3, within: 1e-6)
        try equal(.init(normalisation: .norm(p: 1)), .init(), topK: 5, within: 1e-6)
        try equal(.init(normalisation: .clampedSum(minimum: 1e-12)), .init(), topK: 5, within: 1e-6)
    }

    /// A group's rank is its best, or its two best together; experts outside the kept groups are out whatever their score.
    @Test func groupsOfKnownLogits() throws {
        // Groups {5, 0}, {4, 3}, {1, 1}.
        let logits: [[Float]] = [[5, 0, 4, 3, 1, 1]]
        for routing in try route(
            logits, topK: 2,
            .init(score: .logits, selection: .grouped(groups: 3, keep: 1, by: .max), normalisation: .none))
        {
            #expect(routing.expertIndices == [0, 1])
            #expect(routing.weights == [5, 0])
        }
        for routing in try route(
            logits, topK: 2,
            .init(score: .logits, selection: .grouped(groups: 3, keep: 1, by: .topTwoSum), normalisation: .none))
        {
            #expect(routing.expertIndices == [2, 3])
        }
        // Negative scores in the kept group still go before anything outside of it.
        for routing in try route(
            [[-9, -8, -7, -6, -1, -50]], topK: 2,
            .init(score: .logits, selection: .grouped(groups: 3, keep: 1, by: .topTwoSum), normalisation: .none))
        {
            #expect(routing.expertIndices == [3, 2])
        }
    }

    /// Weights stay finite where a sum is so small that its reciprocal is no number, and where a factor would make them too large.
    @Test func tinySumsAndHugeWeights() throws {
        for routing in try route(
            [[-46, -46, -46, -46]], topK: 1,
            .init(score: .sigmoid, selection: .grouped(groups: 2, keep: 1, by: .max), normalisation: .sum(epsilon: 0)))
        {
            #expect(routing.weights == [1])
        }
        for routing in try route([[-88, -200, -300]], topK: 1, .init(score: .sigmoid)) {
            #expect(routing.weights == [1])
        }
        for routing in try route(
            [[3e38, .infinity, -3e38]], topK: 3, .init(score: .logits, normalisation: .none, scale: 2))
        {
            #expect(routing.weights.allSatisfy { $0.isFinite })
        }
    }

    /// Where a normalisation would divide by zero, weights are zero, not NaN.
    @Test func scoresThatAreAllZero() throws {
        for routing in try route(
            [[-200, -200, -200]], topK: 2, .init(score: .sqrtSoftplus, normalisation: .sum(epsilon: 0)))
        {
            #expect(routing.weights == [0, 0])
        }
    }

    @Test func balanceOfKnownRoutings() throws {
        let even = try Routing(
            tokens: 4, experts: 4, topK: 1, logits: Array(repeating: 0, count: 16), expertIndices: [0, 1, 2, 3],
            weights: [1, 1, 1, 1])
        #expect(even.tokensPerExpert == [1, 1, 1, 1])
        #expect(abs(even.loadBalancingLoss - 1) < 1e-12)
        #expect(abs(even.loadEntropy - 1.3862943611198906) < 1e-12)
        #expect(even.maxOverMeanLoad == 1)
        #expect(abs(even.zLoss - 1.3862943611198906 * 1.3862943611198906) < 1e-12)
        let lone = try Routing(
            tokens: 2, experts: 4, topK: 1, logits: Array(repeating: 0, count: 8), expertIndices: [3, 3],
            weights: [1, 1])
        #expect(lone.maxOverMeanLoad == 4)
        #expect(lone.loadEntropy == 0)
    }

    @Test func foreignRoutingsAreChecked() {
        #expect(throws: MoEError.input(name: "expertIndices", value: "an index of 4", expectation: "0..<4")) {
            try Routing(
                tokens: 1, experts: 4, topK: 1, logits: [0, 0, 0, 0], expertIndices: [4], weights: [1])
        }
        #expect(throws: MoEError.self) {
            try Routing(tokens: 1, experts: 4, topK: 5, logits: [], expertIndices: [], weights: [])
        }
    }
}
