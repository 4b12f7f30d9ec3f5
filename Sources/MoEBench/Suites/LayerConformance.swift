import MoEKernel

/// Small layers of every kind against the float64 reference: what somebody runs on a machine that this binary was carried to.
package enum LayerConformance {
    /// One line of the self-test.
    package struct Case: Sendable, CustomStringConvertible {
        package let configuration: MoEConfiguration
        package let tokens: Int
        package let instructionSet: CPUInstructionSet
        package let seed: UInt64
        /// Codes that experts are stored in, nil for numbers.
        package var code: WeightCode?
        package var group = 32
        package var zeroPoints = false
        /// The arithmetic of experts.
        package var arithmetic = ExpertArithmetic.exact
        /// nil for the machine's own.
        package var tuning: CPUTuning?

        package var description: String {
            let c = configuration
            let shared =
                switch c.shared {
                case .none: ""
                case .dense(let width): ", shared \(width)"
                case .sigmoidGated(let width): ", gated shared \(width)"
                }
            let stored =
                code.map { "\($0.rawValue) by \(group)\(zeroPoints ? " from zero points" : "")" }
                ?? (c.weightType ?? .float32).rawValue
            let activations = arithmetic == .exact ? "" : " by \(arithmetic.rawValue) activations"
            let identity = c.identityExperts > 0 ? "+\(c.identityExperts)" : ""
            return "layer \(instructionSet.rawValue): T \(tokens) H \(c.hidden) F \(c.expertHidden) "
                + "E \(c.experts)\(identity) k \(c.topK) \(stored)\(activations) \(c.expert.isGated ? "gated" : "plain") "
                + "\(c.expert.activation.rawValue)\(c.expert.hasBiases ? " biases" : "")\(shared)"
                + ", \(c.router.score) \(c.router.selection)" + (tuning.map { ", \($0)" } ?? "")
        }
    }

    /// Every expert kind with every element type, at ragged sizes, for each instruction set.
    package static func cases(_ sets: [CPUInstructionSet] = CPUInstructionSet.supported) throws(MoEError) -> [Case] {
        // Below, at and just above the widths of vectors, tiles and blocks.
        let sizes: [(tokens: Int, hidden: Int, expertHidden: Int, experts: Int, topK: Int)] = [
            (1, 32, 48, 4, 2), (2, 17, 5, 3, 3), (3, 64, 33, 8, 1), (7, 257, 31, 5, 2), (13, 100, 260, 6, 4),
            (40, 48, 96, 16, 8), (1, 1, 1, 1, 1), (33, 65, 15, 2, 2),
        ]
        var cases: [Case] = []
        for set in sets {
            var turn = 0
            for type in ElementType.allCases {
                for activation in Activation.allCases {
                    for (gated, biases) in [(true, false), (false, true), (true, true), (false, false)] {
                        let size = sizes[turn % sizes.count]
                        let shared: SharedExpert =
                            switch turn % 5 {
                            case 1: .dense(width: 24)
                            case 3: .sigmoidGated(width: 37)
                            default: .none
                            }
                        let router = RouterConfiguration(
                            normalisation: turn % 2 == 0 ? .sum(epsilon: 0) : .none, scale: turn % 3 == 0 ? 2.5 : 1)
                        let configuration = try MoEConfiguration(
                            experts: size.experts, topK: size.topK, hidden: size.hidden,
                            expertHidden: size.expertHidden, router: router,
                            expert: gated
                                ? .gated(activation, biases: biases) : .plain(activation, biases: biases),
                            shared: shared, weightType: type)
                        cases.append(
                            Case(
                                configuration: configuration, tokens: size.tokens, instructionSet: set,
                                seed: UInt64(turn)))
                        // 48 kinds and 8 sizes: stepping by one more than a divisor pairs them differently each time round.
                        turn += turn % 12 == 11 ? 2 : 1
                    }
                }
            }
            cases += try codedCases(set)
            cases += try pairCases(set)
            cases += try tunedCases(set)
            for (index, configuration) in try models().enumerated() {
                cases.append(Case(configuration: configuration, tokens: 30, instructionSet: set, seed: UInt64(index)))
            }
        }
        return cases
    }

    /// For each instruction set those of the cases that have something none before them has: a type, an activation, a code, an arithmetic, a
    /// router, a shared expert.
    package static func quickCases(
        _ sets: [CPUInstructionSet] = CPUInstructionSet.supported
    ) throws(MoEError) -> [Case] {
        var chosen: [Case] = []
        for set in sets {
            var seen: Set<String> = []
            for test in try cases([set]) {
                let news = features(test).subtracting(seen)
                guard !news.isEmpty else { continue }
                seen.formUnion(news)
                chosen.append(test)
            }
        }
        return chosen
    }

    private static func features(_ test: Case) -> Set<String> {
        let c = test.configuration
        let stored = test.code?.rawValue ?? (c.weightType ?? .float32).rawValue
        let shared =
            switch c.shared {
            case .none: "no shared expert"
            case .dense: "a shared expert"
            case .sigmoidGated: "a gated shared expert"
            }
        return [
            "\(stored) \(c.expert.isGated)", "\(stored) \(test.zeroPoints) \(test.arithmetic.rawValue)",
            "\(c.expert.activation.rawValue) \(c.expert.isGated)", "biases \(c.expert.hasBiases)", shared,
            "\(c.router.score) \(c.router.selection)", "weights of inputs \(c.weightSide == .input)",
            "latent \(c.latent != nil)", "identity \(c.identityExperts > 0)", "tuning \(test.tuning != nil)",
        ]
    }

    /// Every code at lengths that no chunk, group or block divides, with one row, few and many.
    private static func codedCases(_ set: CPUInstructionSet) throws(MoEError) -> [Case] {
        var cases: [Case] = []
        let codes = WeightCode.allCases.map { ($0, false) } + WeightCode.allCases.filter(\.isInteger).map { ($0, true) }
        for (turn, (code, zeroPoints)) in codes.enumerated() {
            for (tokens, group) in [(1, 32), (5, 128), (40, 16)] {
                let configuration = try MoEConfiguration(
                    experts: 6, topK: 2, hidden: 301, expertHidden: 67, shared: .dense(width: 24))
                cases.append(
                    Case(
                        configuration: configuration, tokens: tokens, instructionSet: set,
                        seed: UInt64(1000 + turn), code: code, group: group, zeroPoints: zeroPoints))
            }
        }
        // Int8 activations: few rows, each number of rows that a full tile may have, several tiles.
        for (turn, (code, zeroPoints)) in codes.filter(\.0.isInteger).enumerated() {
            for tokens in Array(1...12) + [40] {
                let configuration = try MoEConfiguration(
                    experts: tokens > 12 ? 6 : 1, topK: 1, hidden: 301, expertHidden: 67, shared: .dense(width: 24))
                cases.append(
                    Case(
                        configuration: configuration, tokens: tokens, instructionSet: set,
                        seed: UInt64(1100 + 20 * turn + tokens), code: code, group: tokens % 2 == 0 ? 32 : 128,
                        zeroPoints: zeroPoints, arithmetic: .int8Activations))
            }
        }
        return cases
    }

    /// Bf16 activations: few rows, each number of rows that a full tile may have, several tiles; odd lengths; inputs of experts
    /// that are computed before they are rounded.
    private static func pairCases(_ set: CPUInstructionSet) throws(MoEError) -> [Case] {
        var cases: [Case] = []
        func add(
            tokens: Int, experts: Int, topK: Int = 1, expert: ExpertKind = .gated(.silu),
            weightSide: WeightSide = .output, latent: Int? = nil
        ) throws(MoEError) {
            let configuration = try MoEConfiguration(
                experts: experts, topK: topK, hidden: 301, expertHidden: 67, expert: expert, shared: .dense(width: 24),
                weightType: .bfloat16, weightSide: weightSide, latent: latent)
            cases.append(
                Case(
                    configuration: configuration, tokens: tokens, instructionSet: set,
                    seed: UInt64(1200 + cases.count), arithmetic: .bfloat16Activations))
        }
        for tokens in Array(1...12) + [40] {
            try add(
                tokens: tokens, experts: tokens > 12 ? 6 : 1, expert: tokens % 3 == 0 ? .plain(.relu) : .gated(.silu))
        }
        for tokens in [1, 40] {
            try add(tokens: tokens, experts: 6, topK: 2, latent: 51)
            try add(tokens: tokens, experts: 6, topK: 2, weightSide: .input)
        }
        return cases
    }

    /// Every tile that the set's kernels have for several row blocks, over weights that it widens and over widened ones.
    private static func tunedCases(_ set: CPUInstructionSet) throws(MoEError) -> [Case] {
        let configuration = try MoEConfiguration(
            experts: 3, topK: 2, hidden: 301, expertHidden: 67, weightType: .bfloat16)
        return CPUTuning.everyTile(of: set).enumerated().map { turn, tuning in
            var tuning = tuning
            if turn % 2 == 0 { tuning.directTiles = 0 }
            return Case(
                configuration: configuration, tokens: 25, instructionSet: set, seed: UInt64(2000 + turn), tuning: tuning
            )
        }
    }

    /// Small layers that route and compute as published families do, whose tokens need no context.
    ///
    /// - Parameter weightType: Of the n-th of them.
    static func models(_ weightType: (Int) -> ElementType? = { _ in nil }) throws(MoEError) -> [MoEConfiguration] {
        var turn = 0
        func model(
            topK: Int = 4, _ router: RouterConfiguration, expert: ExpertKind = .gated(.silu),
            shared: SharedExpert = .none, weightSide: WeightSide = .output, identityExperts: Int = 0, latent: Int? = nil
        ) throws(MoEError) -> MoEConfiguration {
            turn += 1
            return try MoEConfiguration(
                experts: 16, topK: topK, hidden: 72, expertHidden: 40, router: router, expert: expert, shared: shared,
                weightType: weightType(turn), weightSide: weightSide, identityExperts: identityExperts, latent: latent)
        }
        let grouped = RouterConfiguration(
            score: .sigmoid, hasSelectionBias: true, selection: .grouped(groups: 4, keep: 2, by: .topTwoSum),
            normalisation: .sum(epsilon: 1e-20), scale: 2.5)
        return [
            try model(grouped, shared: .dense(width: 20)),
            try model(
                .init(selection: .grouped(groups: 8, keep: 3, by: .max), normalisation: .none, scale: 16),
                shared: .dense(width: 20)),
            try model(
                .init(hasBias: true, score: .logits, weightTransform: .softmaxOverSelected, normalisation: .none),
                expert: .gatedClamped(.init(limit: 2, alpha: 1.702, upOffset: 1), biases: true)),
            try model(
                topK: 1, .init(score: .logits, weightTransform: .sigmoid, normalisation: .none),
                shared: .dense(width: 40), weightSide: .input),
            try model(.init(hasSelectionBias: true, normalisation: .clampedSum(minimum: 1e-12))),
            try model(.init(normalisation: .norm(p: 2))),
            try model(
                .init(score: .sqrtSoftplus, hasSelectionBias: true, normalisation: .sum(epsilon: 1e-20), scale: 1.5),
                expert: .gatedClamped(.init(limit: 1)), shared: .dense(width: 24)),
            try model(.init(hasSelectionBias: true, normalisation: .none, scale: 6), identityExperts: 5),
            try model(grouped, expert: .plain(.reluSquared), shared: .dense(width: 24), latent: 20),
            try model(.init(selection: .hierarchical(groups: 4, keep: 2), normalisation: .none)),
        ]
    }

    /// Runs one case; nil when it passes, else what was wrong.
    package static func run(_ test: Case, pool: ThreadPool) throws(MoEError) -> WrongResult? {
        let configuration = test.configuration
        var weights = MoEWeights.random(seed: test.seed)
        if let code = test.code {
            weights = MoEWeights(
                CodedRandomWeights(
                    numbers: try weights.source(configuration), configuration: configuration, code: code,
                    group: test.group, zeroPoints: test.zeroPoints))
        }
        let layer = try MoELayer(
            configuration, weights: weights, pool: pool, instructionSet: test.instructionSet,
            arithmetic: test.arithmetic, tuning: test.tuning)
        var generator = SplitMix64(seed: test.seed)
        let x = (0..<test.tokens * configuration.hidden).map { _ in Float(generator.unit() * 3.4 - 1.7) }
        let inputs = Inputs(tokens: test.tokens, hidden: configuration.hidden, batches: [x])
        let oracle = try LayerOracle(
            configuration, source: try weights.source(configuration), inputs: inputs, sample: test.tokens, seed: 0,
            arithmetic: test.arithmetic)
        let output = try layer.forward(try Tensor(shape: [test.tokens, configuration.hidden], x))
        let check = LayerCheck(oracle)
        do throws(WrongResult) {
            try check.verify(.logits(output.routing.logits), batch: 0)
            try check.verify(.routing(output.routing), batch: 0)
            try check.verify(.activations(output.y.elements), batch: 0)
            return nil
        } catch {
            return error
        }
    }
}
