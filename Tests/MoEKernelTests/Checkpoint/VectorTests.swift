import Foundation
import Testing

@testable import MoEKernel

/// Checkpoints with inputs and what transformers computes from them: the fixtures beside these tests, and the folders
/// under `MOE_VECTORS` whose family is loaded.
@Suite
struct CheckpointVectorTests {
    static let fixtures = folders(in: Bundle.module.resourcePath! + "/Fixtures")
    static let vectors = ProcessInfo.processInfo.environment["MOE_VECTORS"].map(folders) ?? []
    static let loadedVectors = vectors.filter { folder in
        modelType(folder).map(MoECheckpoint.supportedModelTypes.contains) ?? false
    }

    static func folders(in folder: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).sorted().map { "\(folder)/\($0)" }
            .filter { FileManager.default.fileExists(atPath: $0 + "/meta.json") }
    }

    static func modelType(_ folder: String) -> String? {
        guard case .object(let keys)? = try? JSONValue(Scratch.bytes(folder + "/config.json"), file: folder),
            case .string(let type)? = keys["model_type"]
        else { return nil }
        return type
    }

    @Test func thereAreCases() {
        #expect(Self.fixtures.count >= 11)
        guard let folder = ProcessInfo.processInfo.environment["MOE_VECTORS"] else { return }
        #expect(!Self.loadedVectors.isEmpty, "no case of a loaded family in \(folder)")
        print("MOE_VECTORS: \(Self.loadedVectors.count) of \(Self.vectors.count) cases are of loaded families")
    }

    @Test(arguments: fixtures + loadedVectors)
    func agreesWithTransformers(_ folder: String) throws {
        let meta = try Meta(folder)
        let input = try SafetensorsFile(at: folder + "/input.safetensors")
        let expected = try SafetensorsFile(at: folder + "/expected.safetensors")
        let layer = try MoECheckpoint(at: folder).layer(meta.layer)
        let x = try input.activations("x")
        let output = try layer.forward(x)
        #expect(output.y.shape == x.shape)

        // Where the reference ran in bf16 it also ran the same weights in fp32, as this library does.
        let exact = expected["y_f32"] != nil ? "_f32" : ""
        try compare(output.y.elements, expected, "y" + exact, meta)
        let routing = output.routing
        #expect(routing.tokens == x.rows)
        try close(routing.logits, expected.activations("router_logits" + exact).elements, 5e-6, "router logits")

        // The order in which a token's experts stand is the reference's own affair: compare by expert.
        let chosen = try expected.integers("topk_indices")
        let (tokens, k) = (routing.tokens, routing.topK)
        for token in 0..<tokens {
            let ours = Set(routing.expertIndices[token * k..<(token + 1) * k].map(Int.init))
            #expect(ours == Set(chosen[token * k..<(token + 1) * k]), "experts of token \(token)")
        }
        var weights = [Float](repeating: 0, count: tokens * routing.experts)
        var reference = weights
        let topKWeights = try expected.activations("topk_weights").elements
        for slot in 0..<tokens * k {
            weights[slot / k * routing.experts + Int(routing.expertIndices[slot])] = routing.weights[slot]
            reference[slot / k * routing.experts + chosen[slot]] = topKWeights[slot]
        }
        try close(weights, reference, exact.isEmpty ? 1e-5 : 3e-2, "weights")
        if expected["combine" + exact] != nil {
            try close(weights, expected.activations("combine" + exact).elements, 1e-5, "weights by expert")
        }

        #expect(
            routing.tokensPerExpert
                == chosen.reduce(into: [Int](repeating: 0, count: routing.experts)) { $0[$1] += 1 })
        if expected["aux_loss"] != nil {
            // The reference's softmax of bf16 logits is itself in bf16.
            try close(
                [Float(routing.loadBalancingLoss)], expected.activations("aux_loss").elements,
                exact.isEmpty ? 1e-5 : 3e-2,
                "load-balancing loss")
        }

        if !exact.isEmpty {
            let narrow = try layer.forward(input.activations("x", as: BFloat16.self))
            try compare(narrow.y.elements.map { Float($0) }, expected, "y", meta)
            // Only the last rounding differs.
            try close(narrow.y.elements.map { Float($0) }, output.y.elements, 0x1p-8, "bf16 output")
        }
    }

    /// The loader alone: the same comparison with the layer worked out here, plainly and in Double, from the rows it
    /// reads.
    @Test(arguments: fixtures + loadedVectors)
    func weightsAgreeWithTransformers(_ folder: String) throws {
        let meta = try Meta(folder)
        let x = try SafetensorsFile(at: folder + "/input.safetensors").activations("x")
        let expected = try SafetensorsFile(at: folder + "/expected.safetensors")
        let exact = expected["y_f32"] != nil ? "_f32" : ""
        let checkpoint = try MoECheckpoint(at: folder)
        let plain = PlainLayer(
            configuration: try checkpoint.configuration(layer: meta.layer),
            source: try checkpoint.weightSource(layer: meta.layer))
        let rows = try (0..<x.rows).map { try plain.forward(x[row: $0].map(Double.init)) }
        try compare(rows.flatMap { $0.y.map { Float($0) } }, expected, "y" + exact, meta)
        try close(
            rows.flatMap { $0.logits.map { Float($0) } }, expected.activations("router_logits" + exact).elements, 5e-6,
            "logits")
    }

    @Test func layersShareThreads() throws {
        let folder = try #require(Self.fixtures.first { $0.hasSuffix("/mixtral") })
        let checkpoint = try MoECheckpoint(at: folder)
        let pool = try checkpoint.layer(2).pool
        #expect(try checkpoint.layer(2).pool === pool)
        let other = try ThreadPool(threads: 1)
        #expect(try checkpoint.layer(2, pool: other).pool === other)
        #expect(try MoECheckpoint(at: folder, pool: other).layer(2).pool === other)
        #expect(try checkpoint.layer(2, weightType: .bfloat16).weightByteCount < checkpoint.layer(2).weightByteCount)
    }

    @Test func weightsThatAreNotFiniteAreNamed() throws {
        let folder = try #require(Self.fixtures.first { $0.hasSuffix("/mixtral") })
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

    func compare(_ values: [Float], _ expected: SafetensorsFile, _ name: String, _ meta: Meta) throws {
        let tolerance = try #require(meta.tolerances[name], "meta.json states no tolerance for \(name)")
        try close(values, expected.activations(name).elements, tolerance, name)
    }

    /// max|value − reference| ≤ tolerance · max|reference|.
    func close(_ values: [Float], _ reference: [Float], _ tolerance: Float, _ what: String) throws {
        try #require(values.count == reference.count, "\(what)")
        let scale = reference.reduce(0) { max($0, abs($1)) }
        let worst = zip(values, reference).reduce(0) { max($0, abs($1.0 - $1.1)) }
        #expect(!values.contains { !$0.isFinite }, "\(what)")
        #expect(worst <= tolerance * scale, "\(what): off by \(worst / scale) of the largest, \(tolerance) allowed")
    }

    /// meta.json: which layer to run and how far it may be off.
    struct Meta {
        let layer: Int
        /// Of the largest reference value, by tensor.
        let tolerances: [String: Float]

        init(_ folder: String) throws {
            guard case .object(let keys) = try JSONValue(Scratch.bytes(folder + "/meta.json"), file: folder),
                case .integer(let layer)? = keys["layer"], case .object(let texts)? = keys["tolerance"]
            else {
                throw MoEError.checkpoint(file: folder, tensor: nil, problem: "meta.json states no layer or tolerance")
            }
            self.layer = layer
            var tolerances: [String: Float] = [:]
            for case (let tensor, .string(let text)) in texts {
                for clause in text.split(separator: ";") {
                    // `max|y-ref| <= 5e-6 * …`, or `y, y_eager: 3e-2 * …` naming the tensors.
                    let (names, rest) =
                        if let bound = clause.range(of: "<=") {
                            ([tensor], clause[bound.upperBound...])
                        } else if let colon = clause.firstIndex(of: ":") {
                            (
                                clause[..<colon].split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) },
                                clause[colon...].dropFirst()
                            )
                        } else {
                            ([], clause)
                        }
                    let number = rest.drop { $0 == " " }.prefix { !" *".contains($0) }
                    let tolerance: Float = try #require(Float(String(number)), "\(folder): \(text)")
                    for name in names { tolerances[name] = tolerance }
                }
            }
            self.tolerances = tolerances
        }
    }
}
