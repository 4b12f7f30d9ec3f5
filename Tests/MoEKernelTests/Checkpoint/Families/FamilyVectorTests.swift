import Foundation
import Testing

@testable import MoEKernel

/// What families mean and how their files are read, apart from the kernels: a plain layer of the configuration and the weights
/// that a checkpoint gives has to come to what transformers computes.
@Suite
struct FamilyVectorTests {
    static let cases: [String] = {
        let fixtures = Bundle.module.resourcePath! + "/Fixtures"
        let named = ProcessInfo.processInfo.environment["MOE_VECTORS"]?.split(separator: ":").map(String.init) ?? []
        return ([fixtures, fixtures + "/families"] + named).flatMap(CheckpointVectorTests.folders)
    }()

    @Test(arguments: cases)
    func agreesWithTransformers(_ folder: String) throws {
        let meta = try CheckpointVectorTests.Meta(folder)
        let checkpoint = try MoECheckpoint(at: folder)
        let input = try SafetensorsFile(at: folder + "/input.safetensors")
        let expected = try SafetensorsFile(at: folder + "/expected.safetensors")
        let layer = try Self.layer(meta.layer, checkpoint, folder)
        #expect(checkpoint.moeLayers.contains(layer))

        let x = try input.activations("x")
        var tokens = PlainModelLayer.Input(x: (0..<x.rows).map { x[row: $0].map(Double.init) })
        if x.shape.count == 3 { tokens.sequences = x.shape[0] }
        if input["input_ids"] != nil { tokens.tokenIDs = try input.integers("input_ids") }
        if input["attention_mask"] != nil { tokens.isReal = try input.integers("attention_mask").map { $0 != 0 } }
        let configuration = try checkpoint.configuration(layer: layer)
        let source = try checkpoint.weightSource(layer: layer)
        let output = try PlainModelLayer(configuration: configuration, source: source).forward(tokens)

        let exact = expected["y_f32"] != nil ? "_f32" : ""
        try Self.close(output.y, expected.activations("y" + exact).elements, 1e-5, "y")
        // gemma4's router_logits are the outputs of its projection too.
        if expected["router_logits" + exact] != nil {
            try Self.close(output.logits, expected.activations("router_logits" + exact).elements, 1e-5, "logits")
        }
        if exact.isEmpty, expected["topk_indices"] != nil {
            let chosen = try expected.integers("topk_indices")
            let k = configuration.topK
            for token in 0..<x.rows {
                #expect(
                    Set(output.chosen[token]) == Set(chosen[token * k..<(token + 1) * k]), "experts of token \(token)")
            }
        }
        if expected["combine" + exact] != nil {
            try Self.close(output.combine, expected.activations("combine" + exact).elements, 1e-5, "weights by expert")
        }
    }

    /// Files of a decoder count its layers from 0.
    static func layer(_ index: Int, _ checkpoint: MoECheckpoint, _ folder: String) throws -> Int {
        guard let names = try? SafetensorsFile(at: folder + "/model.safetensors").tensors.map(\.name),
            names.contains(where: { $0.contains("decoder.layers.\(index).") || $0.contains("decoder.block.\(index).") })
        else { return index }
        guard
            case .object(let keys) = try JSONValue(Scratch.bytes(folder + "/config.json"), file: folder),
            case .integer(let encoder)? = keys["encoder_layers"] ?? keys["num_layers"]
        else { return index }
        return index + encoder
    }

    static func close(_ values: [[Double]], _ reference: [Float], _ tolerance: Double, _ what: String) throws {
        let values = values.flatMap { $0 }
        try #require(values.count == reference.count, "\(what)")
        let scale = reference.reduce(0) { max($0, abs(Double($1))) }
        let worst = zip(values, reference).reduce(0) { max($0, abs($1.0 - Double($1.1))) }
        #expect(!values.contains { !$0.isFinite }, "\(what)")
        #expect(worst <= tolerance * scale, "\(what): off by \(worst / scale) of the largest, \(tolerance) allowed")
    }
}
