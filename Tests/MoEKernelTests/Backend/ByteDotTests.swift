import MicroKernels
import Testing

@testable import MoEKernel

/// Experts on int8 activations against the float64 reference that rounds activations by the same rule.
@Suite struct ByteDotTests {
    struct Case: RoundedLayerCase {
        static let arithmetic = ExpertArithmetic.int8Activations
        var code: WeightCode
        var group: Int
        var zeroPoints = false
        var scales = StoredWeights.Scales.float32
        var hidden: Int
        var expertHidden: Int
        var expert = ExpertKind.gated(.silu)
        var weightSide = WeightSide.output
        var latent: Int?

        var format: WeightFormat { .quantised(code, group: group, zeroPoints: zeroPoints) }
        var testDescription: String {
            "\(format) \(scales) H\(hidden) F\(expertHidden) \(expert) latent \(latent ?? 0)"
        }

        func source() throws -> StoredWeights {
            StoredWeights(configuration: try configuration(), stored: format, scales: scales)
        }
    }

    /// Lengths that no group of 32, block or panel divides, and some that all do.
    static let cases: [Case] = [
        Case(code: .int4, group: 32, scales: .bfloat16, hidden: 256, expertHidden: 96),
        Case(code: .int4, group: 32, hidden: 301, expertHidden: 33),
        Case(code: .int4, group: 128, hidden: 269, expertHidden: 260, expert: .plain(.relu)),
        Case(code: .int4, group: 32, zeroPoints: true, scales: .bfloat16, hidden: 97, expertHidden: 130),
        Case(code: .int4, group: 128, zeroPoints: true, hidden: 520, expertHidden: 257, expert: .plain(.gelu)),
        Case(code: .int4, group: 1 << 20, hidden: 70, expertHidden: 31),
        Case(code: .int8, group: 1 << 20, hidden: 331, expertHidden: 45),
        Case(code: .int8, group: 32, scales: .bfloat16, hidden: 65, expertHidden: 200, expert: .plain(.silu)),
        Case(code: .int8, group: 64, zeroPoints: true, scales: .bfloat16, hidden: 512, expertHidden: 64),
        Case(
            code: .int8, group: 128, hidden: 140, expertHidden: 48,
            expert: .gatedClamped(.init(limit: 2, alpha: 1.702, upOffset: 1), biases: true)),
        Case(code: .int4, group: 64, hidden: 200, expertHidden: 72, weightSide: .input),
        Case(code: .int8, group: 32, hidden: 160, expertHidden: 64, latent: 50),
        Case(code: .int8, group: 32, hidden: 7, expertHidden: 3),
    ]

    @Test(arguments: cases) func agreesWithReference(_ test: Case) throws { try expectAgreement(test) }

    /// Units that take turns in few buffers, on two memory nodes, with a shared expert that is packed to bytes too.
    @Test(arguments: [nil, 24]) func sharedBuffersAndNodes(latent: Int?) throws {
        let configuration = try MoEConfiguration(
            experts: 9, topK: 3, hidden: 96, expertHidden: 160, shared: .dense(width: 64), latent: latent)
        let source = StoredWeights(configuration: configuration, stored: .quantised(.int4, group: 32))
        let set = try CPUInstructionSet.chosen()
        let one = try MoELayer(
            configuration, weights: MoEWeights(source), pool: ThreadPool(threads: 1), arithmetic: .int8Activations)
        var tuning = CPUTuning.detected(set)
        tuning.tileRows = 1
        tuning.activationBytes = tuning.tileRows * PanelLayout.block * 4
        let placement = WorkerPlacement(nodeOfWorker: [0, 1, 0], processorsOfNode: [[], []], processors: 3)
        let layer = try MoELayer(
            configuration, weights: MoEWeights(source), pool: ThreadPool(placement: placement),
            arithmetic: .int8Activations, tuning: tuning)
        let x = try Tensor<Float>.random([400, 96], seed: 12)
        let expected = try one.forward(x).y
        for _ in 0..<5 { #expect(try layer.forward(x).y == expected) }
    }

    @Test(arguments: cases) func isDeterministic(_ test: Case) throws { try expectDeterminism(test) }

    /// The largest codes by the largest activations: sums that an instruction of 16 bits would clip.
    @Test(arguments: [WeightCode.int4, .int8]) func extremesDoNotSaturate(_ code: WeightCode) throws {
        let configuration = try MoEConfiguration(
            experts: 1, topK: 1, hidden: 64, expertHidden: 64, expert: .plain(.relu))
        let extremes: [UInt8] = code == .int4 ? [0, 15, 0, 15, 8] : [0x80, 0x7f, 0x80, 0x81, 0]
        let source = FunctionCodes(configuration: configuration, code: code, group: 32) { row, column in
            row % 3 == 0 ? extremes[0] : row % 3 == 1 ? extremes[1] : extremes[(row + column) % 5]
        }
        let reference = ReferenceBackend(configuration, source: source, arithmetic: .int8Activations)
        for set in CPUInstructionSet.supported {
            let layer = try MoELayer(
                configuration, weights: MoEWeights(source), pool: ThreadPool(threads: 1), instructionSet: set,
                arithmetic: .int8Activations)
            for tokens in [1, 2, 5, 6, 16] {
                let x = try Tensor<Float>(
                    shape: [tokens, 64], (0..<tokens * 64).map { ($0 / 64 + $0 % 64) % 3 == 0 ? -1 : 1 })
                let expected = try reference.forward(x.elements).y
                let y = try layer.forward(x).y.elements
                #expect(relativeError(y, expected) < 1e-6, "\(set) \(tokens)")
            }
        }
    }

    /// Small, huge, zero and not finite activations.
    @Test func oddActivations() throws {
        let configuration = try MoEConfiguration(experts: 2, topK: 1, hidden: 64, expertHidden: 32)
        let source = StoredWeights(configuration: configuration, stored: .quantised(.int8, group: 32))
        let layer = try MoELayer(configuration, weights: MoEWeights(source), arithmetic: .int8Activations)
        var x = [Float](repeating: 0, count: 4 * 64)
        for k in 0..<64 {
            x[64 + k] = 1e-38
            x[128 + k] = k == 40 ? .infinity : 1
            x[192 + k] = k == 3 ? 1e10 : 1
        }
        let y = try layer.forward(Tensor(shape: [4, 64], x)).y.elements
        #expect(y[..<64].allSatisfy { $0 == 0 })
        #expect(y[64..<128].allSatisfy { abs($0) < 1e-30 })
        #expect(y[128..<192].allSatisfy { $0.isNaN })
        #expect(y[192...].allSatisfy { !$0.isNaN })
    }

    /// What the documentation says of the error, on weights that were quantised from numbers: int8 activations cost an output 1
    /// to 2 %, whatever the weights' code.
    @Test(arguments: [WeightQuantisation.int8, .int8Block, .int4, .int4Group128, .int4Zero])
    func costsAboutOnePercent(_ form: WeightQuantisation) throws {
        let configuration = try MoEConfiguration(experts: 8, topK: 2, hidden: 512, expertHidden: 384)
        let weights = MoEWeights.random(seed: 2).quantised(to: form)
        let exact = try MoELayer(configuration, weights: weights)
        let rounded = try MoELayer(configuration, weights: weights, arithmetic: .int8Activations)
        let x = try Tensor<Float>.random([64, 512], seed: 8)
        let y = try exact.forward(x).y.elements.map { Double($0) }
        let error = relativeError(try rounded.forward(x).y.elements, y)
        #expect(error > 0.003 && error < 0.02, "\(error)")
    }

    @Test(arguments: [
        WeightFormat.plain(.bfloat16), .quantised(.float8E4M3, group: 32), .quantised(.float4E2M1, group: 32),
        .quantised(.int4, group: 16), .quantised(.int8, group: 40),
    ])
    func refusesOtherWeights(_ format: WeightFormat) throws {
        let configuration = try MoEConfiguration(experts: 2, topK: 1, hidden: 320, expertHidden: 320)
        let source = StoredWeights(configuration: configuration, stored: format)
        #expect {
            try MoELayer(configuration, weights: MoEWeights(source), arithmetic: .int8Activations)
        } throws: { error in
            guard case .weights(let tensor, let problem)? = error as? MoEError else { return false }
            return tensor.contains("experts[0].gate") && problem.contains("expected int8 or int4")
        }
    }

    /// Codes of two kinds share no panels, and a type to keep weights in leaves no codes.
    @Test func refusesWhatLeavesNoCodes() throws {
        let configuration = try MoEConfiguration(experts: 2, topK: 1, hidden: 64, expertHidden: 64)
        var source = StoredWeights(configuration: configuration, stored: .quantised(.int8, group: 32))
        source.others = (1, .quantised(.int4, group: 32))
        let kept = try MoEConfiguration(experts: 2, topK: 1, hidden: 64, expertHidden: 64, weightType: .bfloat16)
        for (configuration, source, name) in [
            (configuration, source, "arithmetic"),
            (kept, StoredWeights(configuration: kept, stored: .quantised(.int8, group: 32)), "weightType"),
        ] {
            #expect {
                try MoELayer(configuration, weights: MoEWeights(source), arithmetic: .int8Activations)
            } throws: { error in
                guard case .configuration(let field, _, _)? = error as? MoEError else { return false }
                return field == name
            }
        }
    }
}
