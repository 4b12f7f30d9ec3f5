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

    @Test func bothFormsAgree() throws {
        let layer = try layer()
        var workspace = MoEWorkspace()
        // Larger, smaller, larger again: a workspace that was used must not show.
        for tokens in [5, 40, 3, 41, 1] {
            let x = try Tensor<Float>.random([tokens, 80], seed: 9)
            var y = try Tensor<Float>(shape: [tokens, 80], repeating: .nan)
            try layer.forward(x.span, into: &y.mutableSpan, workspace: &workspace)
            let output = try layer.forward(x)
            #expect(y == output.y)
            #expect(workspace.routing == output.routing)
            #expect(
                workspace.withTokensPerExpert { load in load.indices.map { Int(load[$0]) } }
                    == output.routing.tokensPerExpert)
        }
    }

    @Test func oneWorkspaceServesSeveralLayers() throws {
        let small = try layer()
        let large = try MoELayer(
            MoEConfiguration(experts: 3, topK: 3, hidden: 200, expertHidden: 300), weights: .random(seed: 2),
            pool: small.pool)
        var workspace = MoEWorkspace()
        for _ in 0..<3 {
            for layer in [small, large] {
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
        @Test func allocatesNothingAfterTheFirstCall() async {
            await #expect(processExitsWith: .success) {
                let layer = try MoELayer(
                    MoEConfiguration(experts: 8, topK: 2, hidden: 80, expertHidden: 56), weights: .random(seed: 4),
                    pool: ThreadPool(threads: 2))
                let x = try Tensor<Float>(shape: [64, 80], repeating: 0.5)
                var y = try Tensor<Float>(shape: [64, 80], repeating: 0)
                var workspace = MoEWorkspace()
                for _ in 0..<3 { try layer.forward(x.span, into: &y.mutableSpan, workspace: &workspace) }
                // The process may allocate for its own ends now and then, but not in every one of five stretches.
                for _ in 0..<5 {
                    let before = allocation_count()
                    for _ in 0..<100 { try layer.forward(x.span, into: &y.mutableSpan, workspace: &workspace) }
                    if allocation_count() == before && before > 0 { exit(0) }
                }
                exit(1)
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

    /// The stages one by one are the forward.
    @Test(arguments: [SharedExpert.none, .dense(width: 20), .sigmoidGated(width: 24)])
    func stagesAlone(shared: SharedExpert) throws {
        let layer = try MoELayer(
            MoEConfiguration(experts: 8, topK: 3, hidden: 80, expertHidden: 56, shared: shared),
            weights: .random(seed: 4), pool: ThreadPool(threads: 2))
        let x = try Tensor<Float>.random([23, 80], seed: 2)
        let routing = try layer.route(x)
        let plan = layer.dispatch(routing)
        let experts = try layer.computeExperts(x, plan)
        let y = try layer.combine(experts, routing, plan)
        let output = try layer.forward(x)
        #expect(routing == output.routing)
        #expect(y == output.y)
        #expect((0..<8).map { plan.rows(of: $0).count } == routing.tokensPerExpert)
    }
}
