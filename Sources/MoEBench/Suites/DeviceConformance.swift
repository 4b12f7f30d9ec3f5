import MoEKernel

/// Layers on a GPU against the float64 reference: what somebody runs on a machine with one.
///
/// The reference multiplies the same weights, rounded to what the layer keeps them as, and the same activations, rounded to what the layer
/// multiplies. What is left is the rounding of inner values and results to that type, and the order of sums in fp32.
package enum DeviceConformance {
    /// One line of the self-test.
    package struct Case: Sendable, CustomStringConvertible {
        package var configuration: MoEConfiguration
        package var tokens: Int
        package var seed: UInt64
        /// The types of x and of y.
        package var input: ElementType
        package var output: ElementType
        /// Tokens that are compared; all where there are no more.
        package var sample: Int
        package var sequences = 1
        package var masksLast = 0
        /// Cut as for a device of so many; nil: as for the device.
        package var multiprocessors: Int?

        package init(
            _ configuration: MoEConfiguration, tokens: Int, seed: UInt64, input: ElementType, output: ElementType,
            sample: Int = .max
        ) {
            self.configuration = configuration
            self.tokens = tokens
            self.seed = seed
            self.input = input
            self.output = output
            self.sample = sample
        }

        package var description: String {
            let c = configuration
            let shared = c.shared.width.map { ", shared \($0)" } ?? ""
            let latent = c.latent.map { ", latent \($0)" } ?? ""
            let capacity = c.capacity == .unlimited ? "" : ", limited capacity"
            let identity = c.identityExperts > 0 ? "+\(c.identityExperts)" : ""
            return "T \(tokens) H \(c.hidden) F \(c.expertHidden) E \(c.experts)\(identity) k \(c.topK) "
                + "\((c.weightType ?? .float32).rawValue), \(input.rawValue) to \(output.rawValue), "
                + "\(c.expert.isGated ? "gated" : "plain") \(c.expert.activation.rawValue)"
                + "\(c.expert.hasBiases ? " biases" : "")\(shared)\(latent)\(capacity), \(c.router.score) "
                + "\(c.router.selection)"
                + (multiprocessors.map { ", as on \($0) multiprocessor\($0 == 1 ? "" : "s")" } ?? "")
        }
    }

    /// The norm of a token's error over the norm of its output, at most, for layers of real sizes: 4·10⁻³ with bf16 numbers, an eighth of it
    /// with fp16, and with fp32 what sums of another order may differ by.
    package static func contract(_ c: MoEConfiguration, output: ElementType) -> Double {
        func of(_ type: ElementType) -> Double {
            switch type {
            case .float32: sums(c)
            case .bfloat16: 4e-3
            case .float16: 5e-4
            }
        }
        return max(of(c.weightType ?? .float32), of(output))
    }

    /// The same for layers of any size. Roundings of type T are by u at most, u/√3 in the mean square, and independent of each other: those of
    /// inner values, of the latent width's two sides, of experts' rows where they are kept in T, and of the output. Few numbers and few
    /// experts, and squares of them, stray from the mean: four times that is allowed.
    package static func limit(_ c: MoEConfiguration, output: ElementType) -> Double {
        func squared(_ type: ElementType) -> Double {
            let unit: Double =
                switch type {
                case .float32: 0x1p-24
                case .bfloat16: 0x1p-9
                case .float16: 0x1p-12
                }
            return unit * unit / 3
        }
        let type = c.weightType ?? .float32
        let keepsRows = type == output && type != .float32
        let inSeries = 1 + (c.latent == nil ? 0 : 2) + (keepsRows ? c.latent == nil ? 1 : 2 : 0)
        let roundings = Double(inSeries) * squared(type) + squared(output)
        return 4 * roundings.squareRoot() + sums(c)
    }

    /// What fp32 sums may cost, as on the CPU.
    private static func sums(_ c: MoEConfiguration) -> Double {
        Tolerance().output(
            hidden: c.hidden, expertHidden: max(c.expertHidden, c.shared.width ?? 0, c.latent ?? 0),
            matrices: c.expert.projections.count, experts: c.choices, topK: c.topK, logitScale: 2)
    }

    /// What a case found.
    package struct Finding: Sendable, CustomStringConvertible {
        /// The largest relative error of a token.
        package let worst: Double
        package let limit: Double
        /// Tokens whose choice of experts is too near to call, and which are not compared.
        package let undecided: Int
        package let compared: Int

        package var description: String {
            "\(compared) tokens, error at most \(Format.scientific(worst)) of \(Format.scientific(limit))"
                + (undecided > 0 ? ", \(undecided) too near to call" : "")
        }
    }

    /// A result that is wrong.
    package struct Wrong: Error, Sendable, CustomStringConvertible {
        package let description: String
    }

    /// Runs one case on a layer that `make` builds.
    package static func run(
        _ test: Case, on device: CUDADevice, make: (MoEConfiguration, MoEWeights) throws -> MoELayer
    ) throws -> Finding {
        let c = test.configuration
        let weights = MoEWeights.random(seed: test.seed)
        let layer = try make(c, weights)
        var generator = SplitMix64(seed: test.seed ^ 0x5eed)
        // Numbers that every type of activations involved holds, so that all that compute see the same.
        let held: [ElementType] = [test.input, c.weightType ?? .float32]
        let x = (0..<test.tokens * c.hidden).map { _ in
            held.reduce(Float(generator.unit() * 3.4 - 1.7)) { value, type in type.rounded(value) }
        }
        var context = TokenContext()
        if test.sequences > 1 { context.sequenceLength = test.tokens / test.sequences }
        if test.masksLast > 0 {
            context.attentionMask = (0..<test.tokens).map { $0 < test.tokens - test.masksLast }
        }
        if case .table(let vocabulary) = c.router.selection {
            context.tokenIDs = (0..<test.tokens).map { Int32($0 * 7 % vocabulary) }
        }

        let stream = try CUDAStream(on: device)
        let input = try deviceTensor(x, [test.tokens, c.hidden], test.input, on: stream)
        let output = try DeviceTensor(shape: [test.tokens, c.hidden], test.output, on: stream)
        var workspace = CUDAWorkspace()
        var results: [[Float]] = []
        for _ in 0..<2 {
            // Whatever is not written shows.
            try output.poison(on: stream)
            try layer.forward(input, into: output, workspace: &workspace, on: stream, context: context)
            results.append(try output.floats(on: stream))
        }
        guard zip(results[0], results[1]).allSatisfy({ $0.bitPattern == $1.bitPattern }) else {
            throw Wrong(description: "two runs of one batch differ")
        }
        guard let routing = try workspace.routing(on: stream) else { throw Wrong(description: "no routing") }
        return try compare(
            test, x, results[0], routing, try weights.source(c), context)
    }

    private static func compare(
        _ test: Case, _ x: [Float], _ y: [Float], _ routing: Routing, _ source: any WeightSource,
        _ context: TokenContext
    ) throws -> Finding {
        let c = test.configuration
        // Where tokens compete the whole batch is one case, else each token is.
        let competes = c.capacity != .unlimited || c.router.isExpertChoice
        let all = Array(0..<test.tokens)
        let step = max(test.tokens / max(test.sample, 1), 1)
        let tokens = competes || test.sample >= test.tokens ? all : all.filter { $0 % step == 0 }
        var part = context
        if !competes {
            part.sequenceLength = nil
            part.attentionMask = []
            part.tokenIDs = context.tokenIDs.isEmpty ? [] : tokens.map { context.tokenIDs[$0] }
        }
        let reference = try ReferenceBackend(c, source: source).forward(
            tokens.flatMap { x[$0 * c.hidden..<($0 + 1) * c.hidden] }, context: part)
        let isReal = test.sample < test.tokens || c.hidden >= 256
        let limit = isReal ? contract(c, output: test.output) : limit(c, output: test.output)
        // Logits are fp32 sums of exact products: their error is bounded, and choices nearer than that are anybody's.
        let nearest = DeviceCheck.nearest
        let slots = c.slots
        var worst = 0.0, undecided = 0
        let isNear = reference.margins.map { $0 < nearest }
        if competes, isNear.contains(true) {
            throw Wrong(description: "nothing to compare: tokens compete, and a choice is not clear; take another seed")
        }
        for (place, token) in tokens.enumerated() {
            if isNear[place] {
                undecided += 1
                continue
            }
            let expected = reference.expertIndices[place * slots..<(place + 1) * slots]
            let found = routing.expertIndices[token * slots..<(token + 1) * slots].map(Int.init)
            guard c.router.isExpertChoice || expected.sorted() == found.sorted() else {
                throw Wrong(description: "token \(token) chose \(found); expected \(Array(expected))")
            }
            var error = 0.0, norm = 0.0
            for h in 0..<c.hidden {
                let right = reference.y[place * c.hidden + h]
                let difference = Double(y[token * c.hidden + h]) - right
                guard difference.isFinite else { throw Wrong(description: "y[\(token), \(h)] is not finite") }
                error += difference * difference
                norm += right * right
            }
            // A token that no expert takes is zero.
            guard norm > 0 else {
                guard error == 0 else { throw Wrong(description: "token \(token) is not zero") }
                continue
            }
            let relative = (error / norm).squareRoot()
            worst = max(worst, relative)
            guard relative <= limit else {
                throw Wrong(description: "token \(token) has a relative error of \(relative); the limit is \(limit)")
            }
        }
        guard undecided < tokens.count else {
            throw Wrong(description: "nothing to compare: no token's choice is clear")
        }
        return Finding(worst: worst, limit: limit, undecided: undecided, compared: tokens.count - undecided)
    }

    static func deviceTensor(
        _ values: [Float], _ shape: [Int], _ type: ElementType, on stream: CUDAStream
    ) throws(MoEError) -> DeviceTensor {
        let tensor = try DeviceTensor(shape: shape, type, on: stream)
        try tensor.copy(fromFloats: values, on: stream)
        return tensor
    }
}

extension DeviceConformance {
    /// Every expert kind and element type, and layers as published families have them, at sizes that no tile divides.
    package static func cases() throws(MoEError) -> [Case] {
        var cases: [Case] = []
        let sizes: [(tokens: Int, hidden: Int, expertHidden: Int, experts: Int, topK: Int)] = [
            (1, 72, 40, 8, 2), (5, 136, 48, 4, 2), (40, 88, 72, 6, 3), (100, 64, 40, 3, 1), (16, 48, 96, 16, 8),
            (9, 200, 24, 5, 5), (33, 100, 30, 4, 2), (150, 40, 136, 2, 2),
        ]
        var turn = 0
        for type in ElementType.allCases {
            for activation in Activation.allCases {
                for (gated, biases) in [(true, false), (false, true)] {
                    let size = sizes[turn % sizes.count]
                    let shared: SharedExpert =
                        switch turn % 5 {
                        case 1: .dense(width: 24)
                        case 3: .sigmoidGated(width: 37)
                        default: .none
                        }
                    let configuration = try MoEConfiguration(
                        experts: size.experts, topK: size.topK, hidden: size.hidden, expertHidden: size.expertHidden,
                        router: RouterConfiguration(
                            normalisation: turn % 2 == 0 ? .sum(epsilon: 0) : .none, scale: turn % 3 == 0 ? 2.5 : 1),
                        expert: gated ? .gated(activation, biases: biases) : .plain(activation, biases: biases),
                        shared: shared, weightType: type)
                    let others = ElementType.allCases
                    cases.append(
                        Case(
                            configuration, tokens: size.tokens, seed: UInt64(turn), input: others[turn / 2 % 3],
                            output: others[(turn / 2 + turn / 7) % 3]))
                    turn += turn % 12 == 11 ? 2 : 1
                }
            }
        }
        for (index, configuration) in try models().enumerated() {
            for tokens in [3, 40] {
                var test = Case(
                    configuration, tokens: tokens, seed: UInt64(100 + index), input: .float32, output: .float32)
                test.input = configuration.weightType == .bfloat16 && tokens == 40 ? .bfloat16 : .float32
                test.output = test.input
                if tokens == 40, configuration.capacity.rule != nil || configuration.router.isExpertChoice {
                    test.sequences = 4
                    test.masksLast = 3
                }
                cases.append(test)
            }
        }
        return cases
    }

    /// The processor's models, and small layers with what else kernels do.
    private static func models() throws(MoEError) -> [MoEConfiguration] {
        func type(_ turn: Int) -> ElementType { turn % 3 == 0 ? .float32 : .bfloat16 }
        var turn = 0
        func model(
            topK: Int = 4, _ router: RouterConfiguration = .init(), expert: ExpertKind = .gated(.silu),
            shared: SharedExpert = .none, capacity: Capacity = .unlimited, identityExperts: Int = 0, scale: Float = 1,
            hasOutputBias: Bool = false, combine: SharedCombine = .sum, hasSharedBiases: Bool = false
        ) throws(MoEError) -> MoEConfiguration {
            turn += 1
            return try MoEConfiguration(
                experts: 16, topK: topK, hidden: 72, expertHidden: 40, router: router, expert: expert, shared: shared,
                weightType: type(turn), capacity: capacity, identityExperts: identityExperts, expertOutputScale: scale,
                hasOutputBias: hasOutputBias, sharedCombine: combine, hasSharedBiases: hasSharedBiases)
        }
        let normalised = RouterConfiguration(
            input: .rootMeanSquareNormalised(epsilon: 1e-6, scale: 0.118), hasExpertScale: true)
        return try LayerConformance.models(type) + [
            try model(scale: 0.8),
            try model(shared: .dense(width: 24), combine: .average),
            try model(normalised, shared: .sigmoidGated(width: 24)),
            try model(
                topK: 2, .init(score: .logits, selection: .sparseMixer(epsilon: 0.01), normalisation: .none),
                hasOutputBias: true),
            try model(.init(selection: .table(vocabulary: 50)), shared: .dense(width: 24), hasSharedBiases: true),
            try model(.init(selection: .expertChoice, normalisation: .none)),
            try model(
                capacity: .limited(.init(limit: .factor(1), scope: .sequence, order: .choiceRank, dropsPadding: true))),
            try model(
                capacity: .limited(
                    .init(limit: .fixed(5), order: .weight, renormalisation: .keptChoices(minimum: 1e-6)))),
            try model(capacity: .limited(.init(limit: .factor(0.5), order: .tokenPriority)), identityExperts: 3),
        ]
    }

    /// Real sizes, of which a sample of tokens is compared.
    package static func largeCases() throws(MoEError) -> [Case] {
        func shape(
            _ tokens: Int, _ hidden: Int, _ inner: Int, _ experts: Int, _ topK: Int, _ type: ElementType = .bfloat16,
            _ expert: ExpertKind = .gated(.silu)
        ) throws(MoEError) -> Case {
            Case(
                try MoEConfiguration(
                    experts: experts, topK: topK, hidden: hidden, expertHidden: inner, expert: expert,
                    weightType: type),
                tokens: tokens, seed: UInt64(tokens + experts), input: type, output: type, sample: 8)
        }
        return [
            try shape(4096, 2048, 768, 128, 8), try shape(4096, 2048, 768, 128, 8, .float16),
            try shape(256, 2048, 512, 256, 8), try shape(1, 2048, 512, 256, 8), try shape(8, 2048, 512, 256, 8),
            try shape(16, 4096, 14_336, 8, 2), try shape(1024, 256, 1024, 4, 2, .bfloat16, .plain(.relu)),
            try shape(2048, 2048, 8192, 8, 2, .bfloat16, .plain(.relu)), try shape(512, 1024, 512, 16, 4, .float32),
        ]
    }
}
