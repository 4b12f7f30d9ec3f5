import CPlatform
import Testing

@testable import MoEKernel

/// The tuning of the CPU path: no legal one changes a result by a bit, every other is refused in words, and all can be replaced from
/// outside.
@Suite struct TuningTests {
    /// What the kernels of a set have.
    static func legal(_ set: CPUInstructionSet) -> (rows: ClosedRange<Int>, panels: ClosedRange<Int>, direct: [Int]) {
        switch set {
        case .baseline: (1...3, 1...1, [0])
        case .avx2: (1...6, 1...1, [0, 1, 2, 4, 1000])
        case .avx512: (1...12, 1...2, [0, 1, 2, 4, 1000])
        }
    }

    struct Layer: Sendable, CustomTestStringConvertible {
        var format: WeightFormat
        var experts = 7
        var topK = 2
        var hidden = 300
        var expertHidden = 70
        var testDescription: String { "\(format) E\(experts) k\(topK) H\(hidden) F\(expertHidden)" }
    }

    static let layers = [
        Layer(format: .plain(.float32)), Layer(format: .plain(.float32), experts: 3, hidden: 33, expertHidden: 521),
        Layer(format: .plain(.bfloat16)), Layer(format: .plain(.bfloat16), hidden: 310, expertHidden: 61),
        Layer(format: .plain(.float16), experts: 2, topK: 1),
        Layer(format: .quantised(.int4, group: 32)), Layer(format: .quantised(.int8, group: 64, zeroPoints: true)),
        Layer(format: .quantised(.float8E4M3, group: 128), experts: 40, topK: 3),
    ]

    @Test(arguments: layers) func noTuningChangesABit(_ test: Layer) throws {
        let configuration = try MoEConfiguration(
            experts: test.experts, topK: test.topK, hidden: test.hidden, expertHidden: test.expertHidden,
            shared: .sigmoidGated(width: 40))
        let source = StoredWeights(configuration: configuration, stored: test.format)
        var generator = SeededGenerator(seed: 11)
        for set in CPUInstructionSet.supported {
            let (rows, panels, direct) = Self.legal(set)
            for threads in [1, 3] {
                let layer = try MoELayer(
                    configuration, weights: MoEWeights(source), pool: ThreadPool(threads: threads), instructionSet: set,
                    tuning: .detected(set))
                // Few tokens and many, no number of them a multiple of any tile.
                let batches = try [1, 5, 31, 131].map { try Tensor<Float>.random([$0, test.hidden], seed: 5) }
                let expected = try batches.map { try layer.forward($0).y.elements.map(\.bitPattern) }
                for tileRows in rows {
                    for sharedPanels in panels {
                        for tasks in [1, 2, 7, 1024] {
                            var tuning = try #require(layer.tuning)
                            tuning.tileRows = tileRows
                            tuning.sharedPanels = sharedPanels
                            tuning.tasksPerThread = tasks
                            tuning.directTiles = direct.randomElement(using: &generator)!
                            tuning.streamPanels = Int.random(in: 1...8, using: &generator)
                            tuning.streamAhead = [0, 64, 512, 1 << 16].randomElement(using: &generator)!
                            tuning.activationBytes = Bool.random(using: &generator) ? tileRows * 1024 : 1 << 20
                            let tuned = try layer.withTuning(tuning)
                            for (x, bits) in zip(batches, expected) {
                                #expect(
                                    try tuned.forward(x).y.elements.map(\.bitPattern) == bits,
                                    "\(set) \(threads) threads \(x.rows) tokens \(tuning)")
                            }
                        }
                    }
                }
            }
        }
    }

    /// A lone tile of every number of rows, over any number of panels side by side, in every arithmetic.
    @Test(arguments: [
        (WeightFormat.plain(.float32), ExpertArithmetic.exact), (.plain(.bfloat16), .exact), (.plain(.float16), .exact),
        (.plain(.bfloat16), .bfloat16Activations), (.quantised(.int8, group: 32), .int8Activations),
        (.quantised(.int4, group: 128), .int8Activations),
        (.quantised(.int4, group: 32, zeroPoints: true), .int8Activations),
    ]) func panelsSideBySideChangeNoBit(_ format: WeightFormat, _ arithmetic: ExpertArithmetic) throws {
        // 19 panels each; then 20, which AVX-512 lays out two by two in bf16.
        for (hidden, expertHidden) in [(301, 150), (310, 157)] {
            try checkPanels(
                MoEConfiguration(experts: 1, topK: 1, hidden: hidden, expertHidden: expertHidden), format, arithmetic)
        }
    }

    private func checkPanels(
        _ configuration: MoEConfiguration, _ format: WeightFormat, _ arithmetic: ExpertArithmetic
    ) throws {
        let source = StoredWeights(configuration: configuration, stored: format)
        let pool = try ThreadPool(threads: 1)
        for set in CPUInstructionSet.supported {
            let layer = try MoELayer(
                configuration, weights: MoEWeights(source), pool: pool, instructionSet: set, arithmetic: arithmetic,
                tuning: .detected(set))
            for tokens in 1...12 {
                let x = try Tensor<Float>.random([tokens, configuration.hidden], seed: 9)
                let expected = try layer.forward(x).y.elements.map(\.bitPattern)
                for panels in 1...8 {
                    var tuning = try #require(layer.tuning)
                    tuning.streamPanels = panels
                    #expect(
                        try layer.withTuning(tuning).forward(x).y.elements.map(\.bitPattern) == expected,
                        "\(set) H\(configuration.hidden) \(tokens) tokens \(panels) panels")
                }
            }
        }
    }

    /// The generic tile sums in the same order, at every shape of a tile and in every format.
    @Test(arguments: layers) func specialisingChangesNoBit(_ test: Layer) throws {
        let configuration = try MoEConfiguration(
            experts: test.experts, topK: test.topK, hidden: test.hidden, expertHidden: test.expertHidden,
            shared: .sigmoidGated(width: 40))
        let source = StoredWeights(configuration: configuration, stored: test.format)
        let pool = try ThreadPool(threads: 2)
        for set in CPUInstructionSet.supported {
            let layer = try MoELayer(
                configuration, weights: MoEWeights(source), pool: pool, instructionSet: set, tuning: .detected(set))
            for sharedPanels in Self.legal(set).panels {
                var tuning = try #require(layer.tuning)
                tuning.sharedPanels = sharedPanels
                tuning.isSpecialised = false
                let generic = try layer.withTuning(tuning)
                for tokens in [1, 2, 3, 4, 5, 6, 9, 12, 40, 131] {
                    let x = try Tensor<Float>.random([tokens, test.hidden], seed: 7)
                    #expect(
                        try generic.forward(x).y.elements.map(\.bitPattern)
                            == layer.forward(x).y.elements.map(\.bitPattern), "\(set) \(tokens) tokens")
                }
            }
        }
    }

    /// So does an activation that is a pass of its own, of every kind of expert.
    @Test(arguments: layers) func separatingTheActivationChangesNoBit(_ test: Layer) throws {
        let kinds: [ExpertKind] = [
            .gated(.silu), .gated(.geluTanh, biases: true), .plain(.reluSquared, biases: true),
            .gatedClamped(ClampedGate(limit: 7, alpha: 1.702, upOffset: 1), biases: true),
        ]
        for kind in kinds {
            let configuration = try MoEConfiguration(
                experts: test.experts, topK: test.topK, hidden: test.hidden, expertHidden: test.expertHidden,
                expert: kind, shared: .sigmoidGated(width: 40))
            let source = StoredWeights(configuration: configuration, stored: test.format)
            for set in CPUInstructionSet.supported {
                for threads in [1, 3] {
                    let layer = try MoELayer(
                        configuration, weights: MoEWeights(source), pool: try ThreadPool(threads: threads),
                        instructionSet: set, tuning: .detected(set))
                    var tuning = try #require(layer.tuning)
                    tuning.fusesActivation = false
                    let separate = try layer.withTuning(tuning)
                    for tokens in [1, 5, 40, 131] {
                        let x = try Tensor<Float>.random([tokens, test.hidden], seed: 7)
                        // Only the pass needs a place for sums.
                        #expect(try Self.workspaceBytes(separate, x) > Self.workspaceBytes(layer, x))
                        #expect(
                            try separate.forward(x).y.elements.map(\.bitPattern)
                                == layer.forward(x).y.elements.map(\.bitPattern), "\(set) \(kind) \(tokens) tokens")
                    }
                }
            }
        }
    }

    private static func workspaceBytes(_ layer: MoELayer, _ x: Tensor<Float>) throws -> Int {
        var workspace = MoEWorkspace()
        var y = try Tensor<Float>(shape: x.shape, repeating: 0)
        var span = y.mutableSpan
        try layer.forward(x.span, into: &span, workspace: &workspace)
        return workspace.byteCount
    }

    static let illegal: [(set: CPUInstructionSet, text: String, field: String, words: String)] = [
        (.avx2, "tile-rows=7", "tileRows", "1 to 6"), (.avx2, "tile-rows=7", "tileRows", "17 registers of 16"),
        (.avx2, "tile-rows=0", "tileRows", "1 to 6"), (.avx2, "tile-rows=-3", "tileRows", "1 to 6"),
        (.avx2, "tile-rows=\(Int.max)", "tileRows", "16 registers"),
        (.avx2, "tile-rows=\(Int.min)", "tileRows", "1 to 6"),
        (.avx2, "shared-panels=2", "sharedPanels", "29 registers of 16"),
        (.avx2, "shared-panels=0", "sharedPanels", "expected 1,"),
        (.avx2, "shared-panels=\(Int.max)", "sharedPanels", "expected 1,"),
        (.avx2, "direct-tiles=-1", "directTiles", "0 or more"),
        (.avx2, "activation-bytes=6143", "activationBytes", "6144 to 1073741824"),
        (.avx2, "activation-bytes=\(1 << 31)", "activationBytes", "6144 to 1073741824"),
        (.avx2, "tasks-per-thread=0", "tasksPerThread", "1 to 1024"),
        (.avx2, "tasks-per-thread=1025", "tasksPerThread", "1 to 1024"),
        (.avx2, "stream-panels=0", "streamPanels", "1 to 8"),
        (.avx2, "stream-panels=9", "streamPanels", "1 to 8"),
        (.avx2, "stream-ahead=-1", "streamAhead", "0 to 65536"),
        (.avx2, "stream-ahead=65537", "streamAhead", "0 to 65536"),
        (.baseline, "tile-rows=4", "tileRows", "21 registers of"),
        (.baseline, "direct-tiles=1", "directTiles", "expected 0,"),
        (.baseline, "shared-panels=2", "sharedPanels", "expected 1,"),
        (.avx512, "tile-rows=13,shared-panels=1", "tileRows", "1 to 12"),
        (.avx512, "tile-rows=20,shared-panels=2", "tileRows", "43 registers of 32"),
        (.avx512, "shared-panels=3", "sharedPanels", "1 to 2"),
    ]

    @Test(arguments: illegal) func whatCannotBeIsRefused(
        _ test: (set: CPUInstructionSet, text: String, field: String, words: String)
    ) throws {
        let table = CPUTuning(instructionSet: test.set, firstLevelBytes: 48 << 10, secondLevelBytes: 1 << 20)
        try table.check(for: test.set)
        let tuning = try table.overridden(by: test.text)
        let error = try #require(throws: MoEError.self) { try tuning.check(for: test.set) }
        guard case .configuration(test.field, _, _) = error else {
            Issue.record("\(error)")
            return
        }
        #expect("\(error)".contains(test.words), "\(error)")
        // And no layer comes of it.
        guard CPUInstructionSet.supported.contains(test.set) else { return }
        let configuration = try MoEConfiguration(experts: 2, topK: 1, hidden: 8, expertHidden: 8)
        let pool = try ThreadPool(threads: 1)
        #expect(throws: error) {
            try MoELayer(
                configuration, weights: .random(seed: 1), pool: pool, instructionSet: test.set, tuning: tuning)
        }
        let layer = try MoELayer(configuration, weights: .random(seed: 1), pool: pool, instructionSet: test.set)
        #expect(throws: error) { try layer.withTuning(tuning) }
    }

    /// A tile that would fit the registers, but that no kernel has, is not said to be too large for them.
    @Test func aTileThatWouldFitIsNotSaidToBeTooLarge() throws {
        var tuning = CPUTuning(instructionSet: .avx512, firstLevelBytes: 0, secondLevelBytes: 0)
        tuning.tileRows = 13
        let error = try #require(throws: MoEError.self) { try tuning.check(for: .avx512) }
        #expect(!"\(error)".contains("registers"))
    }

    /// Every class of machine has an entry that its kernels can run with.
    @Test(arguments: CPUInstructionSet.allCases, [0, 1 << 10, 32 << 10, 48 << 10, 192 << 10, 1 << 40])
    func theTableIsLegal(_ set: CPUInstructionSet, _ bytes: Int) throws {
        for secondLevel in [0, 1 << 10, 1 << 20, 16 << 20, .max] {
            try CPUTuning(instructionSet: set, firstLevelBytes: bytes, secondLevelBytes: secondLevel).check(for: set)
        }
    }

    @Test func overrides() throws {
        let table = CPUTuning(instructionSet: .avx2, firstLevelBytes: 32 << 10, secondLevelBytes: 1 << 20)
        #expect(
            table.description
                == "tile-rows=6,shared-panels=1,direct-tiles=1000,activation-bytes=524288,tasks-per-thread=16,"
                + "stream-panels=8,stream-ahead=0")
        #expect(try table.overridden(by: table.description) == table)
        var expected = table
        expected.tileRows = 4
        expected.tasksPerThread = 8
        #expect(try table.overridden(by: "tile-rows=4,tasks-per-thread=8") == expected)
        #expect(try table.overridden(by: "tile-rows=1,tasks-per-thread=8,tile-rows=4") == expected)
        for name in CPUTuning.fieldNames { #expect(try table.overridden(by: "\(name)=77") != table) }
    }

    @Test(arguments: [
        "", ",", "tile-rows", "tile-rows=", "tile-rows=four", "tile-rows=4,", "rows=4", "=4", "tile-rows=4=4",
        "tile-rows=99999999999999999999", "tile-rows = 4", "tileRows=4",
    ]) func badOverridesAreNamed(_ text: String) throws {
        let error = try #require(throws: MoEError.self) {
            try CPUTuning.detected(.baseline).overridden(by: text)
        }
        guard case .configuration("tuning", _, let expectation) = error else {
            Issue.record("\(error)")
            return
        }
        #expect(expectation.contains("=NUMBER"))
    }

    /// In a process of its own, since the environment belongs to all of one.
    @Test func theEnvironmentReplacesFields() async {
        await #expect(processExitsWith: .success) {
            let configuration = try MoEConfiguration(experts: 2, topK: 1, hidden: 8, expertHidden: 8)
            let pool = try ThreadPool(threads: 1)
            setenv("MOE_TUNING", "tile-rows=2,tasks-per-thread=3", 1)
            let layer = try MoELayer(configuration, weights: .random(seed: 1), pool: pool)
            var expected = CPUTuning.detected(try CPUInstructionSet.chosen())
            expected.tileRows = 2
            expected.tasksPerThread = 3
            guard layer.tuning == expected else { exit(1) }
            // What the caller says comes first.
            let table = CPUTuning.detected(try CPUInstructionSet.chosen())
            guard
                try MoELayer(configuration, weights: .random(seed: 1), pool: pool, tuning: table).tuning == table
            else { exit(2) }
            for (text, field) in [
                ("tile-rows=400", "tileRows"), ("tile-rows=x", "MOE_TUNING"), ("rows=2", "MOE_TUNING"),
            ] {
                setenv("MOE_TUNING", text, 1)
                do {
                    _ = try MoELayer(configuration, weights: .random(seed: 1), pool: pool)
                    exit(3)
                } catch MoEError.configuration(field, _, _) {}
            }
            exit(0)
        }
    }
}
