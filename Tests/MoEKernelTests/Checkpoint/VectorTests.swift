import Foundation
import Testing
import VectorCases

@testable import MoEKernel

/// Checkpoints with inputs and what a reference computes from them, on the layer and, for the loader alone, on the float64
/// backend. `ForwardVectorTests` looks at routing, losses and everything else that a forward writes.
@Suite
struct CheckpointVectorTests {
    @Test func everyFamilyHasACase() throws {
        let families = try VectorCase.fixtures.map { test in
            let type = try MoECheckpoint(at: test.folder).modelType
            return try #require(ModelFamily.of(type), "\(test): \(type) is of no family").name
        }
        let missing = ModelFamily.known.map(\.name).filter { !families.contains($0) }
        #expect(missing.isEmpty, "no case among the fixtures: \(missing.joined(separator: ", "))")
    }

    @Test(arguments: VectorCase.all)
    func layerAgrees(_ test: VectorCase) throws {
        let expected = try test.file("expected")
        let layer = try MoECheckpoint(at: test.folder).layer(test.layer)
        let context = try test.context(layer.configuration)
        let x = try test.file("input").activations("x")
        let output = try layer.forward(x, context: context)
        #expect(output.y.shape == x.shape)
        // Where the reference ran in bf16 it also ran the same weights in fp32, as this library does.
        let name = expected["y_f32"] == nil ? "y" : "y_f32"
        try compare(output.y.elements, expected, name, test)
        guard name == "y_f32" else { return }
        let narrow = try layer.forward(test.file("input").activations("x", as: BFloat16.self), context: context)
        // Only the last rounding differs.
        let error = worstError(narrow.y.elements.map { Float($0) }, output.y.elements)
        #expect(error <= 0x1p-8, "bf16 output: \(error)")
    }

    /// The loader alone: the same comparison on a backend that reads rows as the source hands them out.
    @Test(arguments: VectorCase.all)
    func weightsAgree(_ test: VectorCase) throws {
        let expected = try test.file("expected")
        let checkpoint = try MoECheckpoint(at: test.folder)
        let configuration = try checkpoint.configuration(layer: test.layer)
        let reference = ReferenceBackend(configuration, source: try checkpoint.weightSource(layer: test.layer))
        let x = try test.file("input").activations("x")
        let output = try reference.forward(x.elements, context: test.context(configuration))
        try compare(output.y.map { Float($0) }, expected, expected["y_f32"] == nil ? "y" : "y_f32", test)
    }

    private func compare(_ values: [Float], _ expected: SafetensorsFile, _ name: String, _ test: VectorCase) throws {
        let tolerance = try #require(test.tolerances[name], "meta.json states no tolerance for \(name)")
        let error = worstError(values, try expected.activations(name).elements)
        #expect(error <= tolerance, "\(name): off by \(error) of the largest, \(tolerance) allowed")
    }

    @Test func layersShareThreads() throws {
        let folder = try #require(VectorCase.fixtures.first { "\($0)" == "mixtral" }).folder
        let checkpoint = try MoECheckpoint(at: folder)
        let pool = try checkpoint.layer(2).pool
        #expect(try checkpoint.layer(2).pool === pool)
        let other = try ThreadPool(threads: 1)
        #expect(try checkpoint.layer(2, pool: other).pool === other)
        #expect(try MoECheckpoint(at: folder, pool: other).layer(2).pool === other)
        #expect(try checkpoint.layer(2, weightType: .bfloat16).weightByteCount < checkpoint.layer(2).weightByteCount)
    }

    @Test func weightsThatAreNotFiniteAreNamed() throws {
        let folder = try #require(VectorCase.fixtures.first { "\($0)" == "mixtral" }).folder
        let name = "model.layers.2.block_sparse_moe.experts.4.w3.weight"
        let scratch = try Scratch()
        try scratch.write("config.json", Scratch.bytes(folder + "/config.json"))
        var bytes = try Scratch.bytes(folder + "/model.safetensors")
        let tensor = try SafetensorsFile(at: folder + "/model.safetensors").tensor(name)
        // The upper half of an fp32 NaN, in the last element.
        bytes.replaceSubrange(tensor.bytes.upperBound - 2..<tensor.bytes.upperBound, with: [0xc0, 0x7f])
        let path = try scratch.write("model.safetensors", bytes)
        let error = #expect(throws: MoEError.self) { try MoECheckpoint(at: scratch.path).layer(2) }
        #expect("\(error!)".contains(name) && "\(error!)".contains(path), "\(error!)")
    }
}

extension VectorCase {
    /// What the input file says of the tokens.
    func context(_ configuration: MoEConfiguration) throws -> TokenContext {
        let input = try file("input")
        var context = TokenContext()
        let shape = try input.tensor("x").shape
        if shape.count == 3 { context.sequenceLength = shape[1] }
        if input["attention_mask"] != nil {
            context.attentionMask = try input.integers("attention_mask").map { $0 != 0 }
        }
        if configuration.router.usesTokenIDs { context.tokenIDs = try input.integers("input_ids").map(Int32.init) }
        return context
    }
}
