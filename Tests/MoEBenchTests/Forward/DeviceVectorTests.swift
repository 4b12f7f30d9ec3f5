import CUDATwins
import MoEKernel
import Testing
import VectorCases

@testable import MoEBench

/// Layers of published families on a GPU's kernels, executed on the CPU: the same cases and tolerances as for the processor.
@Suite struct DeviceVectorTests {
    @Test(arguments: VectorCase.all) func agreesWithTheReference(_ test: VectorCase) throws {
        let pool = try ThreadPool(threads: 1)
        let checkpoint = try MoECheckpoint(at: test.folder, pool: pool)
        // fp32 holds every stored number, so that nothing is rounded that the reference does not round.
        let configuration = try checkpoint.configuration(layer: test.layer, weightType: .float32)
        let input = try ForwardInput(at: test.folder + "/input.safetensors")
        let (output, misuse) = try withTwinMachine { device in
            let layer = try MoELayer(
                configuration, weights: MoEWeights(try checkpoint.weightSource(layer: test.layer)), on: device,
                pool: pool)
            return try layer.forward(try input.x(as: Float.self), context: input.context)
        }
        #expect(misuse == nil)
        let routing = output.routing
        let (tokens, experts, k) = (routing.tokens, routing.experts, routing.topK)
        let expected = try test.file("expected")
        // Where the reference also ran in fp32, that is what this is.
        let name = expected["y_f32"] == nil ? "y" : "y_f32"
        let error = worstError(output.y.elements, try expected.activations(name).elements)
        let allowed = max(test.tolerances[name] ?? test.tolerances["y"]!, 5e-6)
        #expect(error <= allowed, "\(name): off by \(error) of the largest, \(allowed) allowed")

        let exact = expected["y_f32"] == nil
        let indices = try expected.integers("topk_indices")
        let slots = indices.count / max(tokens, 1)
        for token in 0..<tokens {
            let right = Set(indices[token * slots..<(token + 1) * slots])
            let chosen = Set(routing.expertIndices[token * k..<(token + 1) * k].map { Int($0) })
            #expect(chosen == right, "experts of token \(token)")
        }
        guard exact else { return }
        var combine = [Float](repeating: 0, count: tokens * experts)
        for pair in 0..<tokens * k where routing.kept?[pair] ?? true {
            combine[pair / k * experts + Int(routing.expertIndices[pair])] = routing.appliedWeights[pair]
        }
        if expected["combine"] != nil {
            #expect(worstError(combine, try expected.activations("combine").elements) <= 1e-5, "combine")
        }
        #expect(worstError(routing.logits, try expected.activations("router_logits").elements) <= 5e-6, "logits")
    }
}
