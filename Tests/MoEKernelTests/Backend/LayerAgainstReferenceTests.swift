import Testing

@testable import MoEKernel

/// Every kind of layer on every instruction set of this machine, 1 to 4 threads, against float64.
@Suite struct LayerAgainstReferenceTests {
    struct Case: CustomTestStringConvertible {
        var tokens = 17
        var experts = 8
        var topK = 2
        var hidden = 64
        var expertHidden = 48
        var router = RouterConfiguration()
        var expert = ExpertKind.gated(.silu)
        var shared = SharedExpert.none
        var type = ElementType.float32
        var weightSide = WeightSide.output
        var capacity = Capacity.unlimited
        var identityExperts = 0
        var expertOutputScale: Float = 1
        var latent: Int?
        var hasOutputBias = false
        var sharedCombine = SharedCombine.sum
        var hasSharedBiases = false
        var sequenceLength: Int?
        var masksPadding = false

        var testDescription: String {
            "T\(tokens) E\(experts)+\(identityExperts) k\(topK) H\(hidden) F\(expertHidden) \(expert) \(shared) "
                + "\(type.rawValue) \(router) \(weightSide) \(capacity) latent \(latent ?? 0)"
        }

        func configuration() throws -> MoEConfiguration {
            try MoEConfiguration(
                experts: experts, topK: topK, hidden: hidden, expertHidden: expertHidden, router: router,
                expert: expert, shared: shared, weightType: type, weightSide: weightSide, capacity: capacity,
                identityExperts: identityExperts, expertOutputScale: expertOutputScale, latent: latent,
                hasOutputBias: hasOutputBias, sharedCombine: sharedCombine, hasSharedBiases: hasSharedBiases)
        }

        var context: TokenContext {
            TokenContext(
                sequenceLength: sequenceLength,
                tokenIDs: router.usesTokenIDs ? (0..<tokens).map { Int32($0 * 7 % 50) } : [],
                attentionMask: masksPadding ? (0..<tokens).map { $0 % 5 != 3 } : [])
        }
    }

    /// Every value of the parameter space's enums, singly and in the combinations that models have.
    static let space: [Case] = {
        var cases: [Case] = []
        for score in RouterScore.allCases {
            for bias in [false, true] {
                for selection in [
                    ExpertSelection.topK, .grouped(groups: 4, keep: 2, by: .max),
                    .grouped(groups: 4, keep: 3, by: .topTwoSum), .grouped(groups: 1, keep: 1, by: .topTwoSum),
                    .table(vocabulary: 50),
                ] {
                    cases.append(
                        Case(
                            tokens: 33, experts: 16, topK: 3, hidden: 40, expertHidden: 24,
                            router: .init(
                                hasBias: bias, score: score, hasSelectionBias: bias, selection: selection,
                                // Raw logits cancel in a sum, which then says nothing about rounding.
                                normalisation: score == .logits ? .none : .sum(epsilon: 1e-20), scale: 2.5,
                                hasExpertScale: bias)))
                }
            }
        }
        for transform in [WeightTransform.softmaxOverSelected, .sigmoid] {
            cases.append(Case(router: .init(score: .logits, weightTransform: transform, normalisation: .none)))
        }
        for normalisation in [
            RouterNormalisation.clampedSum(minimum: 1e-12), .clampedSum(minimum: 0.9), .norm(p: 1), .norm(p: 2),
            .norm(p: 3.5),
        ] {
            cases.append(Case(experts: 11, topK: 4, router: .init(normalisation: normalisation)))
        }
        for (groups, keep) in [(4, 2), (2, 1), (8, 4), (1, 1)] {
            for score in [RouterScore.softmax, .sigmoid] {
                cases.append(
                    Case(
                        tokens: 29, experts: 16, topK: 4,
                        router: .init(
                            score: score, selection: .hierarchical(groups: groups, keep: keep), normalisation: .none),
                        shared: .sigmoidGated(width: 20)))
            }
        }
        for epsilon in [Float(0.01), 0.2, 0] {
            cases.append(
                Case(
                    tokens: 50, experts: 16, topK: 2,
                    router: .init(score: .logits, selection: .sparseMixer(epsilon: epsilon), normalisation: .none)))
        }
        cases.append(
            Case(
                hidden: 64,
                router: .init(input: .rootMeanSquareNormalised(epsilon: 1e-6, scale: 0.125), hasExpertScale: true),
                shared: .dense(width: 24)))
        cases.append(
            Case(
                router: .init(score: .logits, weightTransform: .sigmoid, normalisation: .none),
                shared: .dense(width: 40), weightSide: .input))
        cases.append(Case(experts: 4, topK: 4, router: .init(normalisation: .none), weightSide: .input))
        let clamp = ClampedGate(limit: 1.5, alpha: 1.702, upOffset: 1)
        cases.append(Case(expert: .gatedClamped(clamp, biases: true)))
        cases.append(
            Case(hidden: 300, expertHidden: 270, expert: .gatedClamped(.init(limit: 1)), shared: .dense(width: 9)))
        cases.append(
            Case(tokens: 40, experts: 6, topK: 4, router: .init(normalisation: .none, scale: 6), identityExperts: 5))
        cases.append(Case(type: .bfloat16, identityExperts: 3))
        for tokens in [1, 4, 40] {
            cases.append(
                Case(tokens: tokens, hidden: 90, expert: .plain(.reluSquared), shared: .dense(width: 30), latent: 20))
        }
        cases.append(Case(shared: .sigmoidGated(width: 12), latent: 33, hasOutputBias: true))
        cases.append(Case(hasOutputBias: true))
        cases.append(Case(shared: .dense(width: 16), sharedCombine: .average))
        cases.append(Case(shared: .sigmoidGated(width: 16), sharedCombine: .average, hasSharedBiases: true))
        cases.append(Case(expert: .plain(.gelu), shared: .dense(width: 16), hasSharedBiases: true))
        for tokens in [1, 7, 64] {
            cases.append(
                Case(
                    tokens: tokens, experts: 8, topK: 2,
                    router: .init(selection: .expertChoice, normalisation: .none, scale: 3)))
        }
        cases.append(
            Case(
                tokens: 40, experts: 5, topK: 1,
                router: .init(score: .sigmoid, selection: .expertChoice, normalisation: .none),
                shared: .dense(width: 8), masksPadding: true))
        for limit in [
            CapacityLimit.fixed(3), .fixed(0), .factor(0.5), .factor(1.25), .tokenFraction(0.2), .twiceEvenShare,
        ] {
            for order in [DropOrder.position, .choiceRank, .tokenPriority, .weight] {
                for scope in [CapacityScope.batch, .sequence] {
                    let renormalisation: CapacityRenormalisation =
                        switch order {
                        case .position: .none
                        case .weight: .allChoices(minimum: 1e-7)
                        default: .keptChoices(minimum: 1e-7)
                        }
                    cases.append(
                        Case(
                            tokens: 48, experts: 6, topK: 2, hidden: 24, expertHidden: 8,
                            router: .init(normalisation: .none), expert: .plain(.relu, biases: true),
                            capacity: .limited(
                                .init(
                                    limit: limit, scope: scope, order: order, dropsPadding: order != .weight,
                                    renormalisation: renormalisation)),
                            expertOutputScale: 0.8, sequenceLength: 12, masksPadding: scope == .batch))
                }
            }
        }
        cases.append(
            Case(
                tokens: 30, experts: 3, topK: 2, capacity: .limited(.init(limit: .fixed(2))), identityExperts: 4))
        return cases
    }()

    static let cases: [Case] = {
        var cases = [Case()]
        for tokens in [1, 2, 3, 5, 6, 7, 13, 40, 150] { cases.append(Case(tokens: tokens)) }
        // Sizes on no boundary, and past one reduction block.
        for (hidden, inner) in [(1, 1), (7, 5), (17, 9), (100, 33), (256, 300), (600, 520), (257, 255)] {
            cases.append(Case(tokens: 9, hidden: hidden, expertHidden: inner))
            cases.append(Case(tokens: 30, hidden: hidden, expertHidden: inner, expert: .plain(.relu, biases: true)))
        }
        for activation in Activation.allCases {
            for biases in [false, true] {
                cases.append(Case(expert: .gated(activation, biases: biases)))
                cases.append(Case(expert: .plain(activation, biases: biases)))
            }
        }
        for type in ElementType.allCases {
            for tokens in [1, 2, 3, 4, 29] {
                cases.append(Case(tokens: tokens, hidden: 300, expertHidden: 70, type: type))
                cases.append(Case(tokens: tokens, experts: 1, topK: 1, hidden: 72, expertHidden: 40, type: type))
            }
        }
        for shared in [SharedExpert.dense(width: 24), .sigmoidGated(width: 37)] {
            cases.append(Case(shared: shared))
            cases.append(Case(tokens: 40, hidden: 72, expert: .plain(.gelu), shared: shared, type: .bfloat16))
        }
        for (experts, topK) in [(1, 1), (2, 2), (5, 5), (33, 7), (128, 8), (300, 32)] {
            cases.append(Case(experts: experts, topK: topK, hidden: 32, expertHidden: 16))
        }
        cases.append(Case(router: .init(normalisation: .none, scale: 2.5)))
        cases.append(Case(router: .init(normalisation: .sum(epsilon: 0.25))))
        return cases
    }()

    @Test(arguments: cases + space)
    func agrees(with test: Case) throws {
        let configuration = try test.configuration()
        let weights = MoEWeights.random(seed: 11)
        let x = try Tensor<Float>.random([test.tokens, test.hidden], seed: UInt64(test.tokens))
        let reference = try ReferenceBackend(configuration, source: weights.source(configuration)).forward(
            x.elements, context: test.context)
        let tolerance = layerTolerance(hidden: test.hidden, expertHidden: test.expertHidden)
        let rowNorm = typicalRowNorm(reference.y, rows: test.tokens)
        var first: (set: CPUInstructionSet, y: Tensor<Float>)?
        for set in CPUInstructionSet.supported {
            for threads in 1...4 {
                let layer = try MoELayer(
                    configuration, weights: weights, pool: ThreadPool(threads: threads), instructionSet: set)
                let output = try layer.forward(x, context: test.context)
                #expect(output.routing.expertIndices.map(Int.init) == reference.expertIndices, "\(set)")
                // Random weights and inputs give logits of about unit variance.
                let logitNorm = Double(reference.logits.count).squareRoot()
                #expect(
                    relativeError(output.routing.logits, reference.logits, floor: logitNorm) < tolerance,
                    "\(set) logits")
                #expect(relativeError(output.routing.weights, reference.weights) < tolerance * 8, "\(set) weights")
                #expect(
                    relativeError(output.routing.appliedWeights, reference.appliedWeights) < tolerance * 8,
                    "\(set) applied weights")
                #expect(output.routing.kept ?? reference.kept.map { _ in true } == reference.kept, "\(set) kept")
                for token in 0..<test.tokens {
                    let error = relativeError(
                        output.y[row: token], reference.y[token * test.hidden..<(token + 1) * test.hidden],
                        floor: rowNorm)
                    #expect(error < tolerance, "\(set), \(threads) threads, token \(token)")
                }
                // Threads never change a bit; nor does the instruction set among those with fused multiply-add.
                if let (known, y) = first, known == set || (known != .baseline && set != .baseline) {
                    #expect(output.y == y, "\(set) with \(threads) threads differs from \(known)")
                } else {
                    first = (set, output.y)
                }
            }
        }
    }

    @Test func aTokenDoesNotDependOnItsBatch() throws {
        for type in ElementType.allCases {
            let configuration = try MoEConfiguration(
                experts: 4, topK: 2, hidden: 272, expertHidden: 304, shared: .sigmoidGated(width: 40), weightType: type)
            let x = try Tensor<Float>.random([64, 272], seed: 3)
            for set in CPUInstructionSet.supported {
                let layer = try MoELayer(
                    configuration, weights: .random(seed: 5), pool: ThreadPool(threads: 2), instructionSet: set)
                let whole = try layer.forward(x)
                for size in [1, 2, 3, 5, 7, 16, 33] {
                    var start = 0
                    while start < 64 {
                        let end = min(start + size, 64)
                        let part = try Tensor(shape: [end - start, 272], Array(x.elements[start * 272..<end * 272]))
                        let output = try layer.forward(part)
                        #expect(output.y.elements[...] == whole.y.elements[start * 272..<end * 272], "\(set) \(type)")
                        start = end
                    }
                }
            }
        }
    }
}
