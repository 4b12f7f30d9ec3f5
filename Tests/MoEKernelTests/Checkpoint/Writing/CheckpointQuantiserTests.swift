import Foundation
import Testing

@testable import MoEKernel

/// Folders that the quantiser writes hold the layers that quantising in memory makes, bit for bit, and everything else as it was.
@Suite
struct CheckpointQuantiserTests {
    // MARK: Originals

    /// A checkpoint of small true weights: H 256, F 128, three experts.
    struct Original: Sendable, CustomTestStringConvertible {
        let name: String
        let config: String
        var type = SafetensorsType.bf16
        /// Whether the family knows no name for one expert's matrix.
        var isMerged = false
        /// Biases that have to be told apart from matrices only by their names.
        let shapes: [String: [Int]]
        var testDescription: String { name }

        func write(to scratch: Scratch, _ change: (inout [String: StorageTests.Tensor]) -> Void = { _ in }) throws {
            var tensors: [String: StorageTests.Tensor] = [:]
            for (position, (name, shape)) in shapes.sorted(by: { $0.key < $1.key }).enumerated() {
                var generator = SeededGenerator(seed: UInt64(position + 1))
                let bytes = (0..<shape.reduce(1, *)).flatMap { _ -> [UInt8] in
                    // A few weights far out, so that groups differ.
                    let far: Float = UInt8.random(in: .min ... .max, using: &generator) == 0 ? 8 : 1
                    let number = Float.random(in: -0.1...0.12, using: &generator) * far
                    return switch type {
                    case .f32: number.bitPattern.bytes
                    case .f16: Half.bits(number).bytes
                    default: Array(number.bitPattern.bytes[2...])
                    }
                }
                tensors[name] = .init(type, shape, bytes)
            }
            change(&tensors)
            _ = try StorageTests.open(config, tensors, in: scratch)
        }
    }

    static func shapes(_ prefix: String, _ layers: Range<Int>, _ shapes: [String: [Int]]) -> [String: [Int]] {
        var all: [String: [Int]] = ["model.embed_tokens.weight": [11, 256], "model.norm.weight": [256]]
        for layer in layers {
            for (name, shape) in shapes { all["\(prefix)\(layer).\(name)"] = shape }
            all["\(prefix)\(layer).self_attn.q_proj.weight"] = [24, 256]
            all["\(prefix)\(layer).input_layernorm.weight"] = [256]
        }
        return all
    }

    static func experts(_ folder: String, _ names: [String] = StorageTests.projections) -> [String: [Int]] {
        var shapes: [String: [Int]] = [:]
        for expert in 0..<3 {
            shapes["\(folder)\(expert).\(names[0]).weight"] = [128, 256]
            shapes["\(folder)\(expert).\(names[1]).weight"] = [128, 256]
            shapes["\(folder)\(expert).\(names[2]).weight"] = [256, 128]
        }
        return shapes
    }

    static func config(_ type: String, _ more: String = "") -> String {
        #"""
        {"model_type":"\#(type)","hidden_size":256,"intermediate_size":128,"moe_intermediate_size":128,
        "num_experts":3,"num_local_experts":3,"num_experts_per_tok":2,"rope_scaling":{"factor":1e-06,"limit":Infinity},
        "quantization_config":null,"architectures":["Ünïcode \"quoted\""],"big":9007199254740993\#(more)}
        """#
    }

    static let originals = [
        Original(
            name: "Qwen3-MoE", config: config("qwen3_moe", #","num_hidden_layers":2"#),
            shapes: shapes(
                "model.layers.", 0..<2, ["mlp.gate.weight": [3, 256]].merging(experts("mlp.experts.")) { $1 })),
        Original(
            name: "Qwen3-MoE, merged", config: config("qwen3_moe", #","num_hidden_layers":1"#), type: .f32,
            shapes: shapes(
                "model.layers.", 0..<1,
                [
                    "mlp.gate.weight": [3, 256], "mlp.experts.gate_up_proj": [3, 256, 256],
                    "mlp.experts.down_proj": [3, 256, 128],
                ])),
        Original(
            name: "Mixtral", config: config("mixtral", #","num_hidden_layers":2"#), type: .f16,
            shapes: shapes(
                "model.layers.", 0..<2,
                ["block_sparse_moe.gate.weight": [3, 256]]
                    .merging(experts("block_sparse_moe.experts.", ["w1", "w3", "w2"])) { $1 })),
        Original(
            name: "Qwen2-MoE, a shared expert",
            config: config(
                "qwen2_moe", #","num_hidden_layers":2,"mlp_only_layers":[0],"shared_expert_intermediate_size":384"#),
            shapes: shapes(
                "model.layers.", 1..<2,
                [
                    "mlp.gate.weight": [3, 256], "mlp.shared_expert_gate.weight": [1, 256],
                    "mlp.shared_expert.gate_proj.weight": [384, 256], "mlp.shared_expert.up_proj.weight": [384, 256],
                    "mlp.shared_expert.down_proj.weight": [256, 384],
                ].merging(experts("mlp.experts.")) { $1 })),
        Original(
            name: "Llama 4, inputs first", config: config("llama4_text", #","num_hidden_layers":1"#),
            shapes: shapes(
                "language_model.model.layers.", 0..<1,
                [
                    "feed_forward.router.weight": [3, 256], "feed_forward.experts.gate_up_proj": [3, 256, 256],
                    "feed_forward.experts.down_proj": [3, 128, 256],
                    "feed_forward.shared_expert.gate_proj.weight": [128, 256],
                    "feed_forward.shared_expert.up_proj.weight": [128, 256],
                    "feed_forward.shared_expert.down_proj.weight": [256, 128],
                ])),
        Original(
            name: "gpt-oss", config: config("gpt_oss", #","num_hidden_layers":2"#), isMerged: true,
            shapes: shapes(
                "model.layers.", 0..<2,
                [
                    "mlp.router.weight": [3, 256], "mlp.router.bias": [3],
                    "mlp.experts.gate_up_proj": [3, 256, 256], "mlp.experts.gate_up_proj_bias": [3, 256],
                    "mlp.experts.down_proj": [3, 128, 256], "mlp.experts.down_proj_bias": [3, 256],
                ])),
        Original(
            name: "Granite, a merged shared expert",
            config: config(
                "granitemoeshared", #","num_hidden_layers":1,"shared_intermediate_size":128"#), isMerged: true,
            shapes: shapes(
                "model.layers.", 0..<1,
                [
                    "block_sparse_moe.router.layer.weight": [3, 256],
                    "block_sparse_moe.input_linear.weight": [3, 256, 256],
                    "block_sparse_moe.output_linear.weight": [3, 256, 128],
                    "shared_mlp.input_linear.weight": [256, 256], "shared_mlp.output_linear.weight": [256, 128],
                ])),
        Original(
            name: "DBRX",
            config: #"""
                {"model_type":"dbrx","n_layers":1,"d_model":256,
                "ffn_config":{"ffn_hidden_size":128,"moe_num_experts":3,"moe_top_k":2}}
                """#, isMerged: true,
            shapes: shapes(
                "transformer.blocks.", 0..<1,
                [
                    "ffn.router.layer.weight": [3, 256], "ffn.experts.mlp.w1": [384, 256],
                    "ffn.experts.mlp.v1": [384, 256], "ffn.experts.mlp.w2": [384, 256],
                ])),
        Original(
            name: "Nemotron-H, merged, no gate",
            config: #"""
                {"model_type":"nemotron_h","hidden_size":256,"num_hidden_layers":2,"intermediate_size":512,
                "moe_intermediate_size":128,"moe_shared_expert_intermediate_size":128,"n_routed_experts":3,
                "n_shared_experts":1,"num_experts_per_tok":2,"n_group":1,"topk_group":1,"mlp_hidden_act":"relu2",
                "hybrid_override_pattern":"ME"}
                """#,
            shapes: shapes(
                "backbone.layers.", 1..<2,
                [
                    "mixer.gate.weight": [3, 256], "mixer.gate.e_score_correction_bias": [3],
                    "mixer.experts.up_proj": [3, 128, 256], "mixer.experts.down_proj": [3, 256, 128],
                    "mixer.shared_experts.up_proj.weight": [128, 256],
                    "mixer.shared_experts.down_proj.weight": [256, 128],
                ])),
    ]

    // MARK: Round trips

    /// Whether two sources hand out the same bits.
    static func expectSame(_ a: any WeightSource, _ b: any WeightSource, _ name: WeightName, _ c: MoEConfiguration)
        throws
    {
        let (rows, columns) = c.shape(of: name)
        #expect(a.format(of: name) == b.format(of: name), "\(name)")
        guard case .quantised(_, let group, let zeroPoints) = a.format(of: name) else {
            Issue.record("\(name) is \(a.format(of: name))")
            return
        }
        let groups = (columns + group - 1) / group
        func bits(_ source: any WeightSource) throws -> (codes: [UInt8], scales: [Float], zeros: [UInt8]) {
            var codes = [UInt8](repeating: 0, count: rows * source.format(of: name).rowBytes(columns))
            var scales = [Float](repeating: 0, count: rows * groups)
            var zeros = [UInt8](repeating: 0, count: zeroPoints ? rows * groups : 0)
            try codes.withUnsafeMutableBytes { try source.read(name, rows: 0..<rows, into: $0) }
            try scales.withUnsafeMutableBufferPointer { try source.readScales(name, rows: 0..<rows, into: $0) }
            if zeroPoints {
                try zeros.withUnsafeMutableBufferPointer { try source.readZeroPoints(name, rows: 0..<rows, into: $0) }
            }
            return (codes, scales, zeros)
        }
        let (first, second) = (try bits(a), try bits(b))
        #expect(first.codes == second.codes && first.scales == second.scales && first.zeros == second.zeros, "\(name)")
    }

    static func tensors(_ folder: String) throws -> [String: (SafetensorsTensor, [UInt8])] {
        var all: [String: (SafetensorsTensor, [UInt8])] = [:]
        for name in try FileManager.default.contentsOfDirectory(atPath: folder) where name.hasSuffix(".safetensors") {
            let file = try SafetensorsFile(at: "\(folder)/\(name)")
            for tensor in file.tensors {
                var bytes = [UInt8](repeating: 0, count: tensor.bytes.count)
                try bytes.withUnsafeMutableBytes { try file.read(tensor, into: $0) }
                #expect(all.updateValue((tensor, bytes), forKey: tensor.name) == nil)
            }
        }
        return all
    }

    @Test(arguments: originals, WeightQuantisation.named.map(\.name))
    func writtenLayersAreThoseQuantisedInMemory(_ original: Original, _ name: String) throws {
        let form = try #require(WeightQuantisation.named.first { $0.name == name }).form
        let (scratch, place) = (try Scratch(), try Scratch())
        try original.write(to: scratch)
        let pool = try ThreadPool(threads: 2)
        if original.isMerged, form.code.isInteger {
            let error = #expect(throws: MoEError.self) {
                _ = try CheckpointQuantiser(scratch.path, to: form, pool: pool)
            }
            #expect("\(error!)".contains("an expert a tensor: expected fp8 or mxfp4"), "\(error!)")
            return
        }
        var quantiser = try CheckpointQuantiser(scratch.path, to: form, pool: pool)
        quantiser.shardByteCount = 100_000
        var seen: [Int] = []
        let report = try #require(try quantiser.write(to: place["out"]) { seen.append($0.layer) })
        #expect(place.contents == ["out"])

        let before = try MoECheckpoint(at: scratch.path, pool: pool)
        let after = try MoECheckpoint(at: place["out"], pool: pool)
        #expect(after.moeLayers == before.moeLayers && seen == before.moeLayers)
        var worst = 0.0
        for layer in before.moeLayers {
            let c = try before.configuration(layer: layer)
            #expect(try after.configuration(layer: layer) == c)
            let source = try before.weightSource(layer: layer)
            let weights = MoEWeights(source).quantised(to: form)
            let (made, read) = (try weights.source(c), try after.weightSource(layer: layer))
            var sums: [Projection: (Double, Double)] = [:]
            for matrix in c.expertMatrices {
                try Self.expectSame(made, read, matrix, c)
                let (exact, coded) = (try source.floats(matrix, c), try read.floats(matrix, c))
                let miss = zip(exact, coded).reduce(0.0) { $0 + pow(Double($1.0) - Double($1.1), 2) }
                let all = exact.reduce(0.0) { $0 + pow(Double($1), 2) }
                worst = max(worst, (miss / all).squareRoot())
                switch matrix {
                case .expert(_, let projection), .shared(let projection):
                    let sum = sums[projection] ?? (0, 0)
                    sums[projection] = (sum.0 + miss, sum.1 + all)
                default: Issue.record("\(matrix)")
                }
            }
            let reported = try #require(report.layers.first { $0.layer == layer })
            #expect(reported.matrices == c.expertMatrices.count)
            for (projection, sum) in sums {
                let error = (sum.0 / sum.1).squareRoot()
                #expect(abs(try #require(reported.errors[projection]).relative - error) < 1e-9)
            }
            let x = try Tensor<Float>.random([9, c.hidden], seed: 5)
            let y = try MoELayer(c, weights: weights, pool: pool).forward(x).y
            #expect(try after.layer(layer).forward(x).y == y)
            #expect(y.elements.contains { $0 != 0 })
        }
        #expect(abs(try #require(report.worst).relativeError - worst) < 1e-9)

        // Everything that no expert's matrix is in stays as it was, biases in places of their own.
        let (old, new) = (try Self.tensors(scratch.path), try Self.tensors(place["out"]))
        let kept = old.filter { !$0.key.contains("expert") && !$0.key.contains("_linear") || $0.key.hasSuffix("_bias") }
        #expect(kept.count >= 4)
        for (name, (tensor, bytes)) in kept {
            let written = try #require(new[name], "\(name)")
            #expect(written.0.type == tensor.type && written.0.shape == tensor.shape && written.1 == bytes, "\(name)")
        }
        #expect(report.bytesBefore == old.values.reduce(0) { $0 + $1.1.count })
        #expect(report.bytesAfter == new.values.reduce(0) { $0 + $1.1.count })
        #expect(report.bytesAfter < report.bytesBefore && report.files > 1)

        let index = try JSONValue(
            try Scratch.bytes(place["out/model.safetensors.index.json"]), file: "index", dialect: .strict)
        guard case .object(let members) = index, case .object(let map)? = members["weight_map"] else {
            Issue.record("index")
            return
        }
        #expect(members["metadata"] == .object(["total_size": .integer(report.bytesAfter)]))
        #expect(Set(map.keys) == Set(new.keys))
        #expect(
            try SafetensorsFile(at: place["out/" + String(format: "model-00001-of-%05d.safetensors", report.files)])
                .metadata["format"]
                == "pt")
        let summary = try CheckpointSummary(of: place["out"])
        #expect(summary.quantisation != nil && summary.missingFiles.isEmpty && summary.absentLayers.isEmpty)
        #expect(summary.groups.first?.storage.expertFormats.down == [form.format(inputs: 128)])

        // config.json says the same, and of quantising.
        func keys(_ path: String) throws -> [String: JSONValue] {
            guard case .object(let keys) = try JSONValue(try Scratch.bytes(path), file: path, dialect: .python) else {
                return [:]
            }
            return keys
        }
        var (was, says) = (try keys(scratch["config.json"]), try keys(place["out/config.json"]))
        guard case .object(let quantisation)? = says.removeValue(forKey: "quantization_config") else {
            Issue.record("config.json")
            return
        }
        was["quantization_config"] = nil
        #expect(was == says)
        let isMXFP4 = original.isMerged && form == .mxfp4
        #expect(quantisation["quant_method"] == (isMXFP4 ? "mxfp4" : "compressed-tensors"))
        guard case .array(let ignored)? = quantisation[isMXFP4 ? "modules_to_not_convert" : "ignore"] else {
            Issue.record("no list of what stays")
            return
        }
        #expect(ignored.contains("lm_head") && ignored.contains("model.embed_tokens"))
        #expect(!ignored.contains { "\($0)".contains("experts") })
    }

    /// One file, several, and any number of threads: the same tensors.
    @Test func filesAndThreadsDoNotMatter() throws {
        let (scratch, place) = (try Scratch(), try Scratch())
        try Self.originals[0].write(to: scratch)
        var written: [[String: [UInt8]]] = []
        for (threads, bytes) in [(1, 1 << 30), (2, 1), (3, 300_000)] {
            var quantiser = try CheckpointQuantiser(
                scratch.path, to: .int4Zero, pool: ThreadPool(threads: threads))
            quantiser.shardByteCount = bytes
            let folder = place["\(threads)"]
            let report = try #require(try quantiser.write(to: folder))
            let tensors = try Self.tensors(folder)
            #expect(threads == 1 ? report.files == 1 : threads == 2 ? report.files == tensors.count : report.files > 1)
            written.append(tensors.mapValues(\.1))
        }
        #expect(written[0] == written[1] && written[0] == written[2])
    }

    @Test func otherFilesComeAlong() throws {
        let (scratch, place) = (try Scratch(), try Scratch())
        try Self.originals[0].write(to: scratch)
        try scratch.write("tokenizer.json", "{}")
        try scratch.write("merges.txt", [])
        for name in ["pytorch_model.bin", "old.safetensors.index.json", ".hidden", "other.gguf"] {
            try scratch.write(name, "not to be copied")
        }
        try FileManager.default.createDirectory(atPath: scratch["folder"], withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(
            atPath: scratch["linked.txt"], withDestinationPath: scratch["tokenizer.json"])
        // An empty folder that is there already, through a link, with a slash.
        try FileManager.default.createDirectory(atPath: place["empty"], withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(atPath: place["link"], withDestinationPath: place["empty"])
        _ = try CheckpointQuantiser(scratch.path + "/", to: .int8).write(to: place["link"] + "/")
        #expect(place.contents == ["empty", "link"])
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: place["empty"]).sorted() == [
                "config.json", "linked.txt", "merges.txt", "model-00001-of-00001.safetensors",
                "model.safetensors.index.json", "tokenizer.json",
            ])
        #expect(try Scratch.bytes(place["empty/linked.txt"]) == Array("{}".utf8))
        #expect(try MoECheckpoint(at: place["link"]).moeLayers == [0, 1])
    }

    // MARK: Refusals

    /// The text of the error, after which nothing may be left.
    static func refusal(
        _ form: WeightQuantisation = .int4, _ change: (inout [String: StorageTests.Tensor]) -> Void = { _ in },
        config: (String) -> String = { $0 }, to output: String = "out", prepare: (Scratch) throws -> Void = { _ in }
    ) throws -> String {
        let (scratch, place) = (try Scratch(), try Scratch())
        try originals[0].write(to: scratch, change)
        try scratch.write("config.json", config(originals[0].config))
        try prepare(place)
        let before = place.contents
        let error = #expect(throws: MoEError.self) {
            _ = try CheckpointQuantiser(scratch.path, to: form).write(to: place[output])
        }
        #expect(place.contents == before, "something is left")
        return "\(error!)"
    }

    @Test func whatCannotBeQuantised() throws {
        let stem = "model.layers.1.mlp.experts.2.up_proj.weight"
        func expect(_ text: String, _ fragments: String..., sourceLocation: SourceLocation = #_sourceLocation) {
            for fragment in fragments { #expect(text.contains(fragment), "\(text)", sourceLocation: sourceLocation) }
        }
        expect(
            try Self.refusal(config: {
                $0.replacingOccurrences(
                    of: #""quantization_config":null"#, with: #""quantization_config":{"quant_method":"fp8"}"#)
            }), "config.json", "quantised already (fp8)")
        expect(
            try Self.refusal(.int8) { tensors in
                tensors[stem] = .init(.f8E4M3, [128, 256], [UInt8](repeating: 8, count: 32_768))
                tensors[stem + "_scale"] = .init(.f32, [128, 1], [UInt8](repeating: 64, count: 512))
            }, stem, "quantised already")
        expect(try Self.refusal(WeightQuantisation(code: .int8, group: 48)), "group is 48", "256 inputs")
        expect(try Self.refusal(WeightQuantisation(code: .float8E4M3, group: 32)), "group is 32", "a scale an output")
        expect(try Self.refusal(WeightQuantisation(code: .float4E2M1, group: 32)), "FP4 scales", "powers of two")
        // Infinity, and not a number, late in a matrix that is read in parts.
        for bits in [UInt16(0x7f80), 0x7fc0] {
            expect(
                try Self.refusal { tensors in
                    var bytes = tensors[stem]!.bytes
                    bytes.replaceSubrange((127 * 256 + 9) * 2..<(127 * 256 + 10) * 2, with: bits.bytes)
                    tensors[stem] = .init(.bf16, [128, 256], bytes)
                }, stem, "[127, 9]")
        }
        expect(
            try Self.refusal { tensors in tensors[stem + "_scale"] = .init(.f32, [1], [0, 0, 0, 0]) },
            stem + "_scale", "is there already")
        expect(try Self.refusal { tensors in tensors[stem] = nil }, stem, "is missing")
        expect(
            try Self.refusal { $0["model.layers.1.mlp.gate.weight"] = nil }, "layers.1.mlp.gate.weight", "is missing")
    }

    @Test func placesThatCannotBeWritten() throws {
        let text = try Self.refusal(to: "full") { place in
            try FileManager.default.createDirectory(atPath: place["full"], withIntermediateDirectories: true)
            try place.write("full/file", "mine")
        }
        #expect(text.contains("full") && text.contains("not an empty folder"), "\(text)")
        let file = try Self.refusal(to: "file") { try $0.write("file", "mine") }
        #expect(file.contains("not an empty folder"), "\(file)")
        let missing = try Self.refusal(to: "no/such/folder")
        #expect(missing.contains("no/such/folder") && missing.contains("No such file"), "\(missing)")
    }

    @Test(arguments: [0, 1, 3, 25])
    func cancelling(_ after: Int) throws {
        let (scratch, place) = (try Scratch(), try Scratch())
        try Self.originals[0].write(to: scratch)
        let count = Counter()
        let report = try CheckpointQuantiser(scratch.path, to: .int8, pool: ThreadPool(threads: 2))
            .write(to: place["out"], isCancelled: { count.next() > after })
        #expect(report == nil && place.contents == [])
    }

    final class Counter: @unchecked Sendable {
        private let lock = NSLock()
        private var count = 0
        func next() -> Int {
            lock.withLock {
                count += 1
                return count
            }
        }
    }
}
