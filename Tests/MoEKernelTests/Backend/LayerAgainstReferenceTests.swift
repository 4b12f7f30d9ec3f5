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

        var testDescription: String {
            "T\(tokens) E\(experts) k\(topK) H\(hidden) F\(expertHidden) \(expert) \(shared) \(type.rawValue) \(router)"
        }

        func configuration() throws -> MoEConfiguration {
            try MoEConfiguration(
                experts: experts, topK: topK, hidden: hidden, expertHidden: expertHidden, router: router,
                expert: expert, shared: shared, weightType: type)
        }
    }

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

    @Test(arguments: cases)
    func agrees(with test: Case) throws {
        let configuration = try test.configuration()
        let weights = MoEWeights.random(seed: 11)
        let x = try Tensor<Float>.random([test.tokens, test.hidden], seed: UInt64(test.tokens))
        let reference = try ReferenceBackend(configuration, source: weights.source(configuration)).forward(x.elements)
        let tolerance = layerTolerance(hidden: test.hidden, expertHidden: test.expertHidden)
        let rowNorm = typicalRowNorm(reference.y, rows: test.tokens)
        var first: (set: CPUInstructionSet, y: Tensor<Float>)?
        for set in CPUInstructionSet.supported {
            for threads in 1...4 {
                let layer = try MoELayer(
                    configuration, weights: weights, pool: ThreadPool(threads: threads), instructionSet: set)
                let output = try layer.forward(x)
                #expect(output.routing.expertIndices.map(Int.init) == reference.expertIndices, "\(set)")
                // Random weights and inputs give logits of about unit variance.
                let logitNorm = Double(reference.logits.count).squareRoot()
                #expect(
                    relativeError(output.routing.logits, reference.logits, floor: logitNorm) < tolerance,
                    "\(set) logits")
                #expect(relativeError(output.routing.weights, reference.weights) < tolerance * 8, "\(set) weights")
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
