import AllocationCounter
import CPlatform
import Testing

@testable import MoEKernel

@Suite struct ServerFormTests {
    private func layer(_ type: ElementType = .float32) throws -> MoELayer {
        try MoELayer(
            MoEConfiguration(
                experts: 8, topK: 2, hidden: 80, expertHidden: 56, shared: .sigmoidGated(width: 24), weightType: type),
            weights: .random(seed: 4), pool: ThreadPool(threads: 2))
    }

    /// What a forward needs beside weights and output stays below twice the activations of one stage: all rows' inner ones, in fp32. They
    /// are never stored as a whole.
    @Test(arguments: [(512, 512, 2048, 8, 2), (512, 512, 192, 32, 8), (2048, 128, 256, 32, 4)])
    func memoryIsBounded(tokens: Int, hidden: Int, expertHidden: Int, experts: Int, topK: Int) throws {
        let configuration = try MoEConfiguration(
            experts: experts, topK: topK, hidden: hidden, expertHidden: expertHidden, weightType: .bfloat16)
        let layer = try MoELayer(configuration, weights: .random(seed: 1), pool: ThreadPool(threads: 2))
        let x = try Tensor<Float>.random([tokens, hidden], seed: 2)
        var y = try Tensor<Float>(shape: [tokens, hidden], repeating: 0)
        var workspace = MoEWorkspace()
        try layer.forward(x.span, into: &y.mutableSpan, workspace: &workspace)
        let stage = tokens * topK * max(hidden, expertHidden) * MemoryLayout<Float>.stride
        #expect(workspace.byteCount < 2 * stage, "\(workspace.byteCount) of \(stage)")
    }

    @Test func bothFormsAgree() throws {
        let layer = try layer()
        var workspace = MoEWorkspace()
        // Larger, smaller, larger again: a workspace that was used must not show.
        for tokens in [5, 40, 0, 3, 41, 1] {
            let x = try Tensor<Float>.random([tokens, 80], seed: 9)
            var y = try Tensor<Float>(shape: [tokens, 80], repeating: .nan)
            try layer.forward(x.span, into: &y.mutableSpan, workspace: &workspace)
            let output = try layer.forward(x)
            #expect(y == output.y)
            #expect(workspace.routing == output.routing)
            #expect(workspace.droppedChoices == 0)
            #expect(
                workspace.withTokensPerExpert { load in load.indices.map { Int(load[$0]) } }
                    == output.routing.tokensPerExpert)
        }
    }

    @Test func oneWorkspaceServesSeveralLayers() throws {
        let small = try layer()
        let others = try [
            MoEConfiguration(experts: 3, topK: 3, hidden: 200, expertHidden: 300),
            MoEConfiguration(experts: 6, topK: 2, hidden: 40, expertHidden: 24, latent: 90, hasOutputBias: true),
            MoEConfiguration(
                experts: 12, topK: 1, hidden: 24, expertHidden: 8,
                router: .init(selection: .expertChoice, normalisation: .none), shared: .dense(width: 40)),
            MoEConfiguration(
                experts: 4, topK: 2, hidden: 56, expertHidden: 8, capacity: .limited(.init(limit: .fixed(2))),
                identityExperts: 3),
        ].map { try MoELayer($0, weights: .random(seed: 2), pool: small.pool) }
        var workspace = MoEWorkspace()
        for _ in 0..<3 {
            for layer in [small] + others {
                let width = layer.configuration.hidden
                let x = try Tensor<Float>.random([7, width], seed: 1)
                var y = try Tensor<Float>(shape: [7, width], repeating: .nan)
                try layer.forward(x.span, into: &y.mutableSpan, workspace: &workspace)
                #expect(try layer.forward(x).y == y)
            }
        }
    }

    #if os(Linux)
        /// In a process of its own: not one block is asked of the heap over many calls, counted by calls to malloc.
        @Test(.enabled(if: allocation_counter_works())) func allocatesNothingAfterTheFirstCall() async {
            await #expect(processExitsWith: .success) {
                allocation_counting_begin()
                let x = try Tensor<Float>(shape: [64, 80], repeating: 0.5)
                let pool = try ThreadPool(threads: 2)
                let grouped = RouterConfiguration(
                    score: .sigmoid, hasSelectionBias: true, selection: .grouped(groups: 4, keep: 2, by: .topTwoSum))
                let layers = try [
                    MoEConfiguration(experts: 8, topK: 2, hidden: 80, expertHidden: 56),
                    MoEConfiguration(
                        experts: 8, topK: 2, hidden: 80, expertHidden: 56, router: grouped,
                        capacity: .limited(.init(limit: .factor(1), order: .weight)), latent: 24),
                    MoEConfiguration(
                        experts: 8, topK: 2, hidden: 80, expertHidden: 56,
                        router: .init(selection: .expertChoice, normalisation: .none), shared: .dense(width: 16)),
                    MoEConfiguration(
                        experts: 8, topK: 2, hidden: 80, expertHidden: 56,
                        router: .init(selection: .hierarchical(groups: 2, keep: 1)),
                        capacity: .limited(.init(limit: .fixed(5), scope: .sequence, order: .tokenPriority)),
                        identityExperts: 4),
                ].map { try MoELayer($0, weights: .random(seed: 4), pool: pool) }
                let context = TokenContext(sequenceLength: 16, attentionMask: Array(repeating: true, count: 64))
                layers: for layer in layers {
                    var y = try Tensor<Float>(shape: [64, 80], repeating: 0)
                    var workspace = MoEWorkspace()
                    func call() throws {
                        try layer.forward(x.span, into: &y.mutableSpan, workspace: &workspace, context: context)
                    }
                    for _ in 0..<3 { try call() }
                    // The process may allocate for its own ends now and then, but not in every one of five stretches.
                    for _ in 0..<5 {
                        let before = allocation_totals_now().calls
                        for _ in 0..<100 { try call() }
                        if allocation_totals_now().calls == before && before > 0 { continue layers }
                    }
                    exit(1)
                }
                exit(0)
            }
        }
    #endif

    @Test func bfloat16InAndOut() throws {
        let layer = try layer(.bfloat16)
        let x = try Tensor<Float>.random([9, 80], seed: 6)
        let rounded = try Tensor(shape: x.shape, x.elements.map { BFloat16($0) })
        let exact = try Tensor(shape: x.shape, rounded.elements.map { Float($0) })
        let full = try layer.forward(exact).y
        // bf16 in gives the fp32 result, rounded once.
        #expect(try layer.forward(rounded).y.elements == full.elements.map { BFloat16($0) })
        var mixed = try Tensor<Float>(shape: x.shape, repeating: 0)
        var workspace = MoEWorkspace()
        try layer.forward(rounded.span, into: &mixed.mutableSpan, workspace: &workspace)
        #expect(mixed == full)
    }

    /// Experts that have but one row read it in the input, or packed once for all of them; those of a large batch read it packed for each.
    @Test(arguments: [ElementType.float32, .bfloat16]) func loneRows(_ type: ElementType) throws {
        let configuration = try MoEConfiguration(
            experts: 40, topK: 3, hidden: 304, expertHidden: 288, shared: .dense(width: 24), weightType: type)
        let fused = try MoELayer(configuration, weights: .random(seed: 8), pool: ThreadPool(threads: 2))
        var tuning = try CPUTuning.chosen(try CPUInstructionSet.chosen())
        tuning.fusesActivation = false
        let x = try Tensor<Float>.random([300, 304], seed: 7)
        let rounded = try Tensor(shape: x.shape, x.elements.map { BFloat16($0) })
        let whole = try fused.forward(x).y.elements
        let wholeRounded = try fused.forward(rounded).y.elements
        for layer in [fused, try fused.withTuning(tuning)] {
            for tokens in [1, 2, 16, 17] {
                let part = 0..<tokens * 304
                let y = try layer.forward(try Tensor(shape: [tokens, 304], Array(x.elements[part]))).y
                #expect(y.elements[...] == whole[part], "\(tokens) tokens")
                let other = try layer.forward(try Tensor(shape: [tokens, 304], Array(rounded.elements[part]))).y
                #expect(other.elements[...] == wholeRounded[part], "\(tokens) tokens of bf16")
            }
        }
    }

    @Test func wrongSizesAreNamedAndWriteNothing() throws {
        let layer = try layer()
        let wide = try Tensor<Float>(shape: [2, 81], repeating: 1)
        #expect(throws: MoEError.input(name: "x", value: "of shape [2, 81]", expectation: "a last dimension of 80")) {
            try layer.forward(wide)
        }
        let x = try Tensor<Float>(shape: [2, 80], repeating: 1)
        var y = try Tensor<Float>(shape: [3, 80], repeating: 7)
        var workspace = MoEWorkspace()
        var thrown: MoEError?
        do throws(MoEError) {
            try layer.forward(x.span, into: &y.mutableSpan, workspace: &workspace)
        } catch { thrown = error }
        guard case .input("y", "240 values", _) = thrown else {
            Issue.record("\(String(describing: thrown))")
            return
        }
        #expect(y.elements.allSatisfy { $0 == 7 })
    }

    @Test func noTokens() throws {
        let layer = try layer()
        let output = try layer.forward(Tensor<Float>(shape: [0, 80], []))
        #expect(output.y.shape == [0, 80])
        #expect(output.routing.tokensPerExpert == Array(repeating: 0, count: 8))
        #expect(output.routing.loadBalancingLoss == 0)
    }

    @Test func threeDimensions() throws {
        let layer = try layer()
        let x = try Tensor<Float>.random([2, 3, 80], seed: 6)
        let flat = try Tensor(shape: [6, 80], x.elements)
        let output = try layer.forward(x)
        #expect(output.y.shape == [2, 3, 80])
        #expect(try layer.forward(flat).y.elements == output.y.elements)
    }

    /// The stages one by one are the forward, and so is the server's form.
    @Test(arguments: LayerAgainstReferenceTests.space + LayerAgainstReferenceTests.cases)
    func stagesAlone(test: LayerAgainstReferenceTests.Case) throws {
        let layer = try MoELayer(
            test.configuration(), weights: .random(seed: 4), pool: ThreadPool(threads: 2))
        let x = try Tensor<Float>.random([test.tokens, test.hidden], seed: 2)
        let routing = try layer.route(x, context: test.context)
        let plan = layer.dispatch(routing)
        let experts = try layer.computeExperts(x, plan)
        let y = try layer.combine(experts, routing, plan)
        let output = try layer.forward(x, context: test.context)
        #expect(routing == output.routing)
        #expect(y == output.y)
        #expect(plan.rows == routing.keptPerToken.reduce(0, +))

        var served = try Tensor<Float>(shape: x.shape, repeating: .nan)
        var workspace = MoEWorkspace()
        // A larger batch first: what it left must not show.
        let before = try Tensor<Float>.random([test.tokens + 60, test.hidden], seed: 3)
        var context = test.context
        context.sequenceLength = nil
        context.attentionMask = []
        if !context.tokenIDs.isEmpty { context.tokenIDs = Array(repeating: 3, count: before.rows) }
        var scratch = try Tensor<Float>(shape: before.shape, repeating: .nan)
        try layer.forward(before.span, into: &scratch.mutableSpan, workspace: &workspace, context: context)
        try layer.forward(x.span, into: &served.mutableSpan, workspace: &workspace, context: test.context)
        #expect(served == output.y)
        #expect(workspace.routing == output.routing)
        #expect(workspace.droppedChoices == routing.droppedChoices)
    }

    /// A caller's own routing may send a token to one expert several times, or to more experts than choose.
    @Test func foreignRoutings() throws {
        let pool = try ThreadPool(threads: 2)
        let layer = try MoELayer(
            MoEConfiguration(experts: 8, topK: 4, hidden: 64, expertHidden: 500, weightType: .bfloat16),
            weights: .random(seed: 1), pool: pool)
        let x = try Tensor<Float>.random([120, 64], seed: 2)
        func routing(_ layer: MoELayer, experts: [Int32], weights: [Float]) throws -> Routing {
            try Routing(
                tokens: 120, experts: layer.configuration.choices, topK: experts.count,
                logits: Array(repeating: 0, count: 120 * layer.configuration.choices),
                expertIndices: (0..<120).flatMap { _ in experts }, weights: (0..<120).flatMap { _ in weights })
        }
        func run(_ layer: MoELayer, _ routing: Routing) throws -> Tensor<Float> {
            let plan = layer.dispatch(routing)
            return try layer.combine(try layer.computeExperts(x, plan), routing, plan)
        }
        let fourTimes = try run(layer, routing(layer, experts: [3, 3, 3, 3], weights: [1, 1, 1, 1]))
        let once = try run(layer, routing(layer, experts: [3, 1, 2, 0], weights: [4, 0, 0, 0]))
        // Four equal terms, or one of four times the weight: the same but for rounding.
        #expect(relativeError(fourTimes.elements, once.elements.map { Double($0) }) < 1e-6)

        let choosing = try MoELayer(
            MoEConfiguration(
                experts: 8, topK: 1, hidden: 64, expertHidden: 16,
                router: .init(selection: .expertChoice, normalisation: .none)), weights: .random(seed: 1), pool: pool)
        let all = try routing(choosing, experts: Array(0..<8), weights: Array(repeating: 1, count: 8))
        #expect(throws: MoEError.self) { try choosing.computeExperts(x, choosing.dispatch(all)) }

        // Parts of a layer with a dense shared expert on one whose shared expert is gated.
        func shared(_ shared: SharedExpert) throws -> MoELayer {
            try MoELayer(
                MoEConfiguration(experts: 4, topK: 2, hidden: 64, expertHidden: 8, shared: shared),
                weights: .random(seed: 1), pool: pool)
        }
        let dense = try shared(.dense(width: 8))
        let own = try dense.route(x)
        let parts = try dense.computeExperts(x, dense.dispatch(own))
        #expect(throws: MoEError.self) { try shared(.sigmoidGated(width: 8)).combine(parts, own, dense.dispatch(own)) }
        #expect(dense.dispatch(own).rows(of: 4).isEmpty && dense.dispatch(own).rows(of: -1).isEmpty)
    }

    @Test func contextsThatDoNotFit() throws {
        func layer(_ router: RouterConfiguration, _ capacity: Capacity = .unlimited) throws -> MoELayer {
            try MoELayer(
                MoEConfiguration(experts: 4, topK: 2, hidden: 8, expertHidden: 4, router: router, capacity: capacity),
                weights: .random(seed: 1), pool: ThreadPool(threads: 1))
        }
        let x = try Tensor<Float>(shape: [6, 8], repeating: 1)
        let plain = try layer(.init())
        let table = try layer(.init(selection: .table(vocabulary: 10)))
        let limited = try layer(.init(), .limited(.init(limit: .fixed(1))))
        for (layer, context, name) in [
            (plain, TokenContext(sequenceLength: 4), "sequenceLength"),
            (plain, TokenContext(sequenceLength: 0), "sequenceLength"),
            (plain, TokenContext(attentionMask: [true]), "attentionMask"),
            (plain, TokenContext(tokenIDs: [1, 2]), "tokenIDs"),
            (plain, TokenContext(routerInput: [1]), "routerInput"), (plain, TokenContext(capacity: 3), "capacity"),
            (limited, TokenContext(capacity: -1), "capacity"), (table, TokenContext(), "tokenIDs"),
            (table, TokenContext(tokenIDs: [0, 1, 2, 3, 4, 10]), "tokenIDs"),
            (table, TokenContext(tokenIDs: [0, 1, 2, 3, 4, -1]), "tokenIDs"),
        ] {
            let error = #expect(throws: MoEError.self) { try layer.forward(x, context: context) }
            guard case .input(name, _, _) = error else {
                Issue.record("\(name): \(String(describing: error))")
                continue
            }
        }
        // A call's own capacity stands in for the rule's.
        #expect(try limited.forward(x).routing.droppedChoices == 10)
        #expect(try limited.forward(x, context: TokenContext(capacity: 6)).routing.droppedChoices == 0)
    }

    @Test func selectionBiasIsReplaced() throws {
        let layer = try MoELayer(
            MoEConfiguration(
                experts: 4, topK: 1, hidden: 8, expertHidden: 4, router: .init(score: .sigmoid, hasSelectionBias: true)),
            weights: .random(seed: 1), pool: ThreadPool(threads: 1))
        let x = try Tensor<Float>.random([12, 8], seed: 5)
        let forced = try layer.withSelectionBias([0, 0, 9, 0]).forward(x)
        #expect(forced.routing.expertIndices == Array(repeating: 2, count: 12))
        // Weights come from the scores without it.
        #expect(forced.routing.weights == Array(repeating: 1, count: 12))
        #expect(try layer.forward(x).routing.expertIndices != forced.routing.expertIndices)
        #expect(throws: MoEError.self) { try layer.withSelectionBias([0, 0]) }
        #expect(throws: MoEError.self) { try layer.withSelectionBias([0, 0, .nan, 0]) }
        #expect(throws: MoEError.self) { try self.layer().withSelectionBias([]) }
    }
}
