import Foundation
import MoEBench
import MoEKernel
import Testing
import VectorCases

/// `moe-bench forward` on every case: each expected tensor must be in the output file and agree.
@Suite struct ForwardVectorTests {
    @Test func thereAreCases() {
        #expect(!VectorCase.fixtures.isEmpty)
        if ProcessInfo.processInfo.environment["MOE_VECTORS"] != nil {
            #expect(!VectorCase.vectors.isEmpty)
            print("MOE_VECTORS: \(VectorCase.vectors.count) cases")
        }
    }

    @Test(arguments: VectorCase.all)
    func agreesWithTheReference(_ test: VectorCase) throws {
        let path = NSTemporaryDirectory() + "moekernel-forward-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        var forward = CheckpointForward(
            model: test.folder, layer: test.layer, input: test.folder + "/input.safetensors", output: path)
        forward.threads = 2
        _ = try forward.run()
        let output = try SafetensorsFile(at: path)
        let expected = try test.file("expected")
        let exact = expected["y_f32"] == nil
        #expect(try output.tensor("y").shape == expected.tensor("y").shape)

        let logits = try output.tensor("router_logits").shape
        let (tokens, experts) = (logits[0], logits[1])
        // The order in which a token's experts stand is the reference's own affair: compare by expert.
        func table(_ file: SafetensorsFile) throws -> [Float] {
            let indices = try file.integers("topk_indices")
            let weights = try file.activations("topk_weights").elements
            var table = [Float](repeating: 0, count: tokens * experts)
            for slot in indices.indices {
                table[slot / (indices.count / tokens) * experts + indices[slot]] = weights[slot]
            }
            return table
        }
        func chosen(_ file: SafetensorsFile) throws -> [Set<Int>] {
            let indices = try file.integers("topk_indices")
            let k = indices.count / tokens
            return (0..<tokens).map { Set(indices[$0 * k..<($0 + 1) * k]) }
        }
        // A bf16 run of the reference rounds its logits z, by at most 2⁻⁹ of each, and its weights by as much. A softmax moves by
        // twice what its logits do, relative to itself, and dividing by the sum of weights adds their rounding once more.
        let largest = try expected.activations("router_logits").elements.reduce(0) { max($0, abs($1)) }
        let loose = 0x1p-9 * (2 * largest + 2)
        for tensor in expected.tensors {
            let name = tensor.name
            switch name {
            case "y":
                try compare(name, output, expected, test.tolerances["y"]!)
            case "y_f32", "y_eager":
                break  // of another precision than this output; CheckpointVectorTests compares y_f32
            case "topk_indices":
                #expect(try chosen(output) == chosen(expected), "experts")
            case "topk_weights":
                let error = try worstError(table(output), table(expected))
                #expect(error <= (exact ? 1e-5 : loose), "topk_weights: \(error)")
            case "kept":
                #expect(try output.integers(name) == expected.integers(name), "kept")
            case "router_logits", "combine":
                if exact { try compare(name, output, expected, name == "combine" ? 1e-5 : 5e-6) }
            case "router_logits_f32", "combine_f32":
                // A bf16 input is an fp32 input, and this library's router works in fp32 on both.
                let own = String(name.dropLast(4))
                try compare(own, output, expected, name == "combine_f32" ? 1e-5 : 5e-6, reference: name)
            case "expert_load":
                #expect(try output.activations(name).elements == expected.activations(name).elements, "expert_load")
            default:
                try compare(name, output, expected, exact ? 1e-5 : loose)
            }
        }
    }

    private func compare(
        _ name: String, _ output: SafetensorsFile, _ expected: SafetensorsFile, _ tolerance: Float,
        reference: String? = nil
    ) throws {
        let error = worstError(
            try output.activations(name).elements, try expected.activations(reference ?? name).elements)
        #expect(error <= tolerance, "\(name): off by \(error) of the largest, \(tolerance) allowed")
    }
}
