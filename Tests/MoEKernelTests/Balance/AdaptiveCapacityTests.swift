import Testing

@testable import MoEKernel

@Suite struct BalanceAdaptiveCapacityTests {
    @Test func followsConstantSkew() throws {
        var capacity = try AdaptiveCapacity(
            experts: 4, topK: 1, headroom: 1.5, rate: 0.25, bounds: 1...10, initial: 1)
        // Max over mean is 2.
        var distance = 2.0
        for step in 1...80 {
            try capacity.observe(demand: [2, 8, 4, 2].span)
            distance *= 0.75
            #expect(abs(capacity.factor - (3 - distance)) < 1e-12, "step \(step)")
        }
        #expect(abs(capacity.factor - 3) < 1e-8 && capacity.observations == 80)
        #expect(try capacity.choices(tokens: 16) == 12)
    }

    @Test func evenLoadReturnsToTheMinimum() throws {
        var capacity = try AdaptiveCapacity(experts: 4, topK: 2, initial: 4)
        for _ in 0..<400 { try capacity.observe(demand: [8, 8, 8, 8].span) }
        #expect(abs(capacity.factor - 1.25) < 1e-12)
        #expect(capacity.factor >= 1.25)
        var tight = try AdaptiveCapacity(experts: 4, topK: 2, headroom: 1, rate: 1, bounds: 1.5...3)
        try tight.observe(demand: [8, 8, 8, 8].span)
        #expect(tight.factor == 1.5)
    }

    @Test func boundsHold() throws {
        var generator = SeededGenerator(seed: 8)
        var capacity = try AdaptiveCapacity(experts: 6, topK: 1, headroom: 2, rate: 0.7, bounds: 2.2...3)
        for _ in 0..<300 {
            let demand = (0..<6).map { _ in Int32.random(in: 0...9, using: &generator) }
            try capacity.observe(demand: demand.span)
            #expect(capacity.bounds.contains(capacity.factor))
        }
        try capacity.observe(demand: [9, 0, 0, 0, 0, 0].span)
        #expect(capacity.factor == 3)
    }

    @Test func capacityIsThatOfTheFactor() throws {
        let capacity = try AdaptiveCapacity(experts: 8, topK: 2, initial: 2.5)
        for tokens in [0, 1, 3, 7, 64, 1000] {
            #expect(
                try capacity.choices(tokens: tokens)
                    == CapacityLimit.factor(2.5).choices(tokens: tokens, experts: 8, topK: 2))
        }
        #expect(try capacity.choices(tokens: 7) == 5)
    }

    @Test func noDemandChangesNothing() throws {
        var capacity = try AdaptiveCapacity(experts: 2, topK: 1, initial: 3)
        try capacity.observe(demand: [0, 0].span)
        try capacity.observe(routing([], experts: 2))
        try capacity.observe(routing([], experts: 2), sequenceLength: 7)
        #expect(capacity.factor == 3 && capacity.observations == 0)
    }

    @Test func demandIsCountedBeforeDropping() throws {
        var capacity = try AdaptiveCapacity(experts: 2, topK: 1, headroom: 1, rate: 1, bounds: 1...2)
        try capacity.observe(routing([0, 0, 0, 1], experts: 2, kept: [true, false, false, true]))
        #expect(capacity.factor == 1.5)
        // Even over the batch, yet each sequence sends all it has to one expert.
        try capacity.observe(routing([0, 0, 1, 1], experts: 2))
        #expect(capacity.factor == 1)
        try capacity.observe(routing([0, 0, 1, 1], experts: 2), sequenceLength: 2)
        #expect(capacity.factor == 2)
    }

    /// A stream of skewed batches served with the capacity found so far: drops start high and cease.
    @Test func dropsFall() throws {
        let (tokens, experts) = (512, 8)
        var generator = SeededGenerator(seed: 2)
        var capacity = try AdaptiveCapacity(experts: experts, topK: 1, bounds: 1...8)
        var rates: [Double] = []
        for _ in 0..<80 {
            // A third of the tokens want expert 0, on top of an even spread.
            let choices = (0..<tokens).map { _ in
                Int.random(in: 0..<3, using: &generator) == 0 ? 0 : Int32.random(in: 0..<8, using: &generator)
            }
            let limit = try capacity.choices(tokens: tokens)
            var loads = [Int](repeating: 0, count: experts)
            let kept = choices.map { expert in
                loads[Int(expert)] += 1
                return loads[Int(expert)] <= limit
            }
            let routing = try routing(choices, experts: experts, kept: kept)
            rates.append(routing.dropRate)
            try capacity.observe(routing)
        }
        #expect(rates[0] > 0.2)
        #expect(rates.suffix(40).allSatisfy { $0 == 0 })
        #expect(capacity.factor > 3.5 && capacity.factor < 5)
    }

    @Test func argumentsAreChecked() throws {
        func refuses(
            experts: Int = 4, topK: Int = 2, headroom: Double = 1, rate: Double = 0.5,
            bounds: ClosedRange<Double> = 1...2, initial: Double? = nil, _ name: String
        ) {
            let error = #expect(throws: MoEError.self) {
                try AdaptiveCapacity(
                    experts: experts, topK: topK, headroom: headroom, rate: rate, bounds: bounds, initial: initial)
            }
            guard case .input(name, _, _)? = error else {
                Issue.record("\(String(describing: error)) does not name \(name)")
                return
            }
        }
        refuses(experts: 0, "experts")
        refuses(topK: 0, "topK")
        refuses(topK: 5, "topK")
        for headroom in [0, -1, .nan, Double.infinity] { refuses(headroom: headroom, "headroom") }
        for rate in [0, -1, 1.5, Double.nan] { refuses(rate: rate, "rate") }
        refuses(bounds: 0...2, "bounds")
        refuses(bounds: 1...Double.infinity, "bounds")
        for initial in [0.5, 3, .nan] { refuses(initial: initial, "initial") }

        var capacity = try AdaptiveCapacity(experts: 4, topK: 2)
        #expect(throws: MoEError.self) { try capacity.choices(tokens: -1) }
        #expect(throws: MoEError.self) { try capacity.choices(tokens: .max) }
        #expect(throws: MoEError.self) { try capacity.observe(demand: [1, 2].span) }
        #expect(throws: MoEError.self) { try capacity.observe(demand: [1, 2, 3, -4].span) }
        #expect(throws: MoEError.self) { try capacity.observe(routing([0, 1], experts: 2)) }
        #expect(throws: MoEError.self) { try capacity.observe(routing([0, 1, 1], experts: 4), sequenceLength: 2) }
        let chosen = try Routing(
            tokens: 1, experts: 4, topK: 4, logits: [0, 0, 0, 0], expertIndices: [0, 1, 2, 3], weights: [1, 1, 1, 1],
            kept: [true, true, true, true], chosenByExperts: true)
        #expect(throws: MoEError.self) { try capacity.observe(chosen) }
        #expect(capacity.factor == 1.25 && capacity.observations == 0)
    }

    /// One choice a token.
    private func routing(_ choices: [Int32], experts: Int, kept: [Bool]? = nil) throws -> Routing {
        try Routing(
            tokens: choices.count, experts: experts, topK: 1,
            logits: Array(repeating: 0, count: choices.count * experts), expertIndices: choices,
            weights: Array(repeating: 1, count: choices.count), kept: kept)
    }
}
