import Foundation
import Testing

@testable import MoEKernel

/// The losses against closed forms and against their formulas written out plainly.
@Suite struct BalanceLossTests {
    // MARK: Closed forms

    @Test func evenLogits() throws {
        // Every probability 1/E; ties choose experts 0 and 1, which the probabilities do not mind.
        let routing = try plain(tokens: 6, experts: 4, topK: 2) { _, _ in 0 }
        #expect(close(routing.loadBalancingLoss, 2))
        #expect(close(try routing.switchLoss(sequenceLength: 3), 1))
        #expect(close(routing.zLoss, log(4) * log(4)))
        for score in [RouterScore.softmax, .sigmoid, .sqrtSoftplus] {
            #expect(close(try routing.sequenceBalanceLoss(sequenceLength: 2, score: score), 1))
            #expect(close(try routing.batchBalanceLoss(score: score, alpha: 0.25), 0.25))
        }
    }

    @Test func everyTokenCertainOfOneExpert() throws {
        let routing = try plain(tokens: 6, experts: 4, topK: 1) { _, expert in expert == 2 ? 80 : 0 }
        #expect(close(routing.loadBalancingLoss, 4))
        #expect(close(try routing.switchLoss(sequenceLength: 2), 4))
        #expect(close(try routing.sequenceBalanceLoss(sequenceLength: 3), 4))
        #expect(close(routing.zLoss, 6400))
    }

    /// Two sequences that lean opposite ways: balanced as a batch, unbalanced each.
    @Test func sequencesAndBatches() throws {
        let routing = try plain(tokens: 8, experts: 2, topK: 1) { token, expert in token / 4 == expert ? 80 : 0 }
        #expect(close(try routing.switchLoss(sequenceLength: 4), 2))
        #expect(close(try routing.switchLoss(sequenceLength: 8), 1))
        #expect(close(try routing.sequenceBalanceLoss(sequenceLength: 4), 2))
        #expect(close(try routing.batchBalanceLoss(), 1))
    }

    /// Two layers that lean opposite ways balance each other: not the mean of their losses.
    @Test func layersAreOneLoss() throws {
        let layers = try [0, 1].map { favourite in
            try plain(tokens: 4, experts: 2, topK: 1) { _, expert in expert == favourite ? 80 : 0 }
        }
        #expect(layers.allSatisfy { close($0.loadBalancingLoss, 2) })
        #expect(close(try Routing.loadBalancingLoss(ofLayers: layers), 1))
        #expect(close(try Routing.switchLoss(ofLayers: layers, sequenceLength: 2), 1))
        #expect(close(try Routing.zLoss(ofLayers: layers), 6400))
    }

    @Test func nothingToCount() throws {
        let empty = try plain(tokens: 0, experts: 4, topK: 2) { _, _ in 0 }
        #expect(empty.loadBalancingLoss == 0 && empty.zLoss == 0)
        #expect(try empty.switchLoss(sequenceLength: 5) == 0)
        #expect(try empty.sequenceBalanceLoss(sequenceLength: 5) == 0 && empty.batchBalanceLoss() == 0)
        #expect(try Routing.loadBalancingLoss(ofLayers: []) == 0 && Routing.zLoss(ofLayers: []) == 0)
        #expect(try Routing.switchLoss(ofLayers: [], sequenceLength: 0) == 0)
        #expect(try Routing.expertLoad(of: []).isEmpty)
        let padding = try plain(tokens: 2, experts: 4, topK: 2) { _, _ in 1 }
        #expect(try padding.loadBalancingLoss(mask: [false, false]) == 0 && padding.zLoss(mask: [false, false]) == 0)
    }

    @Test func logitsThatAreNoNumbers() throws {
        for odd in [Float.nan, .infinity] {
            let routing = try plain(tokens: 2, experts: 3, topK: 2) { token, expert in
                token == 1 && expert == 1 ? odd : Float(expert)
            }
            #expect(routing.loadBalancingLoss.isNaN && routing.zLoss.isNaN)
            #expect(try routing.switchLoss(sequenceLength: 2).isNaN)
            #expect(try routing.loadBalancingLoss(mask: [true, false]).isFinite)
            #expect(try routing.zLoss(mask: [true, false]).isFinite)
        }
        let barred = try plain(tokens: 2, experts: 3, topK: 1) { _, expert in expert == 0 ? -.infinity : 0 }
        #expect(close(barred.loadBalancingLoss, 1.5))
        let huge = try plain(tokens: 1, experts: 2, topK: 1) { _, expert in expert == 0 ? 3e38 : -3e38 }
        #expect(close(huge.loadBalancingLoss, 2))
        #expect(close(try huge.sequenceBalanceLoss(sequenceLength: 1, score: .sigmoid), 2))
        #expect(close(try huge.sequenceBalanceLoss(sequenceLength: 1, score: .sqrtSoftplus), 2))
    }

    @Test func loadsWhereExpertsChoose() throws {
        // Two experts with two tokens each; token 2 is nobody's.
        let routing = try Routing(
            tokens: 3, experts: 2, topK: 2, logits: [1, 0, 2, 2, 0, 0], expertIndices: [0, 1, 0, 1, 0, 0],
            weights: [1, 1, 1, 1, 0, 0], kept: [true, true, true, true, false, false], chosenByExperts: true)
        #expect(routing.tokensPerExpert == [2, 2])
        #expect(routing.maxOverMeanLoad == 1)
        #expect(close(routing.loadEntropy, log(2)))
        // Sequences of one token: [0, 1], [0, 1] and none.
        #expect(close(try routing.sequenceBalanceLoss(sequenceLength: 1), 2.0 / 3))
        #expect(close(routing.loadBalancingLoss, 2))
        #expect(try routing.loadBalancingLoss(topK: 1) != 2)
    }

    // MARK: Formulas written out

    @Test(arguments: 0..<40) func againstPlainFormulas(_ seed: Int) throws {
        var generator = SeededGenerator(seed: UInt64(seed))
        let (sequences, length) = (Int.random(in: 1...4, using: &generator), Int.random(in: 1...9, using: &generator))
        let experts = Int.random(in: 1...20, using: &generator)
        let topK = Int.random(in: 1...experts, using: &generator)
        let layers = try (0..<3).map { _ in
            try random(tokens: sequences * length, experts: experts, topK: topK, &generator)
        }
        let routing = layers[0]
        let mask = (0..<routing.tokens).map { $0 == 0 || Bool.random(using: &generator) }

        #expect(close(routing.loadBalancingLoss, Plain.loadBalancing(layers[..<1], topK, mask: nil)))
        #expect(close(try routing.loadBalancingLoss(mask: mask), Plain.loadBalancing(layers[..<1], topK, mask: mask)))
        #expect(
            close(
                try Routing.loadBalancingLoss(ofLayers: layers, mask: mask),
                Plain.loadBalancing(layers[...], topK, mask: mask)))
        #expect(
            close(
                try Routing.loadBalancingLoss(ofLayers: layers, topK: 1), Plain.loadBalancing(layers[...], 1, mask: nil)
            ))

        let z = Plain.logits(routing).map { row in log(row.reduce(0) { $0 + exp($1) }) }
        #expect(close(routing.zLoss, z.reduce(0) { $0 + $1 * $1 } / Double(z.count)))
        let masked = zip(z, mask).filter(\.1).map(\.0)
        #expect(close(try routing.zLoss(mask: mask), masked.reduce(0) { $0 + $1 * $1 } / Double(masked.count)))

        #expect(close(try routing.switchLoss(sequenceLength: length), Plain.switchLoss(layers[..<1], length)))
        #expect(
            close(
                try Routing.switchLoss(ofLayers: layers, sequenceLength: length), Plain.switchLoss(layers[...], length))
        )

        for score in [RouterScore.softmax, .sigmoid, .sqrtSoftplus] {
            for counting in CountedChoices.allCases {
                #expect(
                    close(
                        try routing.sequenceBalanceLoss(
                            sequenceLength: length, score: score, counting: counting, alpha: 0.3),
                        0.3 * Plain.sequenceBalance(routing, length, score, counting)))
                #expect(
                    close(
                        try routing.batchBalanceLoss(score: score, counting: counting),
                        Plain.sequenceBalance(routing, routing.tokens, score, counting)))
            }
        }
        #expect(
            try Routing.expertLoad(of: layers)
                == (0..<experts).map { e in layers.reduce(0) { $0 + $1.expertIndices.count { $0 == e } } })
    }

    // MARK: Arguments

    @Test func argumentsAreChecked() throws {
        let routing = try plain(tokens: 6, experts: 4, topK: 2) { _, _ in 0 }
        let other = try plain(tokens: 4, experts: 4, topK: 1) { _, _ in 0 }
        let wider = try plain(tokens: 6, experts: 5, topK: 2) { _, _ in 0 }
        let short = MoEError.input(name: "mask", value: "2 values", expectation: "6, one a token, or none")
        #expect(throws: short) { try routing.loadBalancingLoss(mask: [true, true]) }
        #expect(throws: short) { try routing.zLoss(mask: [true, true]) }
        #expect(throws: short) { try Routing.loadBalancingLoss(ofLayers: [routing], mask: [true, true]) }
        for length in [4, 0, -1, 12] {
            let error = MoEError.input(
                name: "sequenceLength", value: "\(length)", expectation: "1 or more, and a divisor of 6 tokens")
            #expect(throws: error) { try routing.switchLoss(sequenceLength: length) }
            #expect(throws: error) { try routing.sequenceBalanceLoss(sequenceLength: length) }
        }
        for k in [0, 5] { #expect(throws: MoEError.self) { try routing.loadBalancingLoss(topK: k) } }
        #expect(throws: MoEError.self) { try routing.sequenceBalanceLoss(sequenceLength: 3, score: .logits) }
        #expect(throws: MoEError.self) { try routing.batchBalanceLoss(score: .logits) }
        #expect(throws: MoEError.self) { try Routing.loadBalancingLoss(ofLayers: [routing, other]) }
        #expect(throws: MoEError.self) { try Routing.loadBalancingLoss(ofLayers: [routing, wider]) }
        #expect(throws: MoEError.self) { try Routing.switchLoss(ofLayers: [routing, other], sequenceLength: 2) }
        #expect(throws: MoEError.self) { try Routing.switchLoss(ofLayers: [routing, wider], sequenceLength: 2) }
        #expect(throws: MoEError.self) { try Routing.expertLoad(of: [routing, wider]) }
    }

    // MARK: Support

    private func close(_ value: Double, _ reference: Double) -> Bool {
        abs(value - reference) <= 1e-11 * max(abs(reference), 1)
    }

    /// A routing of given logits that goes to the k largest.
    private func plain(
        tokens: Int, experts: Int, topK: Int, _ logit: (Int, Int) -> Float
    ) throws -> Routing {
        let logits = (0..<tokens).map { token in (0..<experts).map { logit(token, $0) } }
        return try Routing(
            tokens: tokens, experts: experts, topK: topK, logits: logits.flatMap { $0 },
            expertIndices: logits.flatMap { Plain.best(topK, $0.map(Double.init)).map(Int32.init) },
            weights: Array(repeating: 1, count: tokens * topK))
    }

    /// Random logits, and choices that have nothing to do with them, as after a bias.
    private func random(
        tokens: Int, experts: Int, topK: Int, _ generator: inout SeededGenerator
    ) throws -> Routing {
        try Routing(
            tokens: tokens, experts: experts, topK: topK,
            logits: (0..<tokens * experts).map { _ in Float.random(in: -4...4, using: &generator) },
            expertIndices: (0..<tokens).flatMap { _ in
                (0..<experts).shuffled(using: &generator).prefix(topK).map(Int32.init)
            },
            weights: Array(repeating: 1, count: tokens * topK))
    }
}

/// The losses as their papers write them, with arrays of arrays and no care for speed or overflow.
private enum Plain {
    static func logits(_ routing: Routing) -> [[Double]] {
        (0..<routing.tokens).map { token in
            (0..<routing.experts).map { Double(routing.logits[token * routing.experts + $0]) }
        }
    }

    static func shares(_ row: [Double], _ score: RouterScore) -> [Double] {
        let scores = row.map { z in
            switch score {
            case .softmax: exp(z)
            case .sigmoid: 1 / (1 + exp(-z))
            case .sqrtSoftplus: log(1 + exp(z)).squareRoot()
            case .logits: z
            }
        }
        return scores.map { $0 / scores.reduce(0, +) }
    }

    static func best(_ count: Int, _ row: [Double]) -> [Int] {
        Array(row.indices.sorted { (-row[$0], $0) < (-row[$1], $1) }.prefix(count))
    }

    static func mean(_ rows: [[Double]], _ column: Int) -> Double {
        rows.reduce(0) { $0 + $1[column] } / Double(rows.count)
    }

    static func loadBalancing(_ layers: ArraySlice<Routing>, _ k: Int, mask: [Bool]?) -> Double {
        let rows = layers.flatMap { layer in
            zip(logits(layer), mask ?? layer.logits.map { _ in true }).filter(\.1).map(\.0)
        }
        let probabilities = rows.map { shares($0, .softmax) }
        let chosen = rows.map { row in row.indices.map { best(k, row).contains($0) ? 1.0 : 0.0 } }
        let experts = layers.first!.experts
        return Double(experts) * (0..<experts).reduce(0) { $0 + mean(chosen, $1) * mean(probabilities, $1) }
    }

    static func switchLoss(_ layers: ArraySlice<Routing>, _ length: Int) -> Double {
        let experts = layers.first!.experts
        var terms: [Double] = []
        for start in stride(from: 0, to: layers.first!.tokens, by: length) {
            let rows = layers.flatMap { logits($0)[start..<start + length] }
            let probabilities = rows.map { shares($0, .softmax) }
            let chosen = rows.map { row in row.indices.map { best(1, row) == [$0] ? 1.0 : 0.0 } }
            terms += (0..<experts).map { mean(chosen, $0) * mean(probabilities, $0) }
        }
        return Double(experts * experts) * terms.reduce(0, +) / Double(terms.count)
    }

    static func sequenceBalance(
        _ routing: Routing, _ length: Int, _ score: RouterScore, _ counting: CountedChoices
    ) -> Double {
        let (experts, k) = (routing.experts, routing.topK)
        var losses: [Double] = []
        for start in stride(from: 0, to: routing.tokens, by: length) {
            let rows = Array(logits(routing)[start..<start + length])
            let normalised = rows.map { shares($0, score) }
            let chosen =
                switch counting {
                case .routed: routing.expertIndices[start * k..<(start + length) * k].map(Int.init)
                case .bestScores: rows.flatMap { best(k, $0) }
                }
            losses.append(
                (0..<experts).reduce(0) { sum, expert in
                    let f = Double(experts) / Double(k * length) * Double(chosen.count { $0 == expert })
                    return sum + f * mean(normalised, expert)
                })
        }
        return losses.reduce(0, +) / Double(losses.count)
    }
}
