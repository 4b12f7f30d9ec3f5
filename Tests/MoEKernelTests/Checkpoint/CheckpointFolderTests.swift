import Foundation
import Testing

@testable import MoEKernel

/// Folders made here: a tiny checkpoint, then one thing wrong with it.
@Suite
struct CheckpointFolderTests {
    /// A Qwen2-MoE of two layers, the second sparse: H 3, F 2, E 2, shared width 4. Every element has a value of its
    /// own.
    struct Model {
        var config: [String: String] = [
            "model_type": "\"qwen2_moe\"", "num_hidden_layers": "2", "mlp_only_layers": "[0]", "hidden_size": "3",
            "intermediate_size": "99", "moe_intermediate_size": "2", "shared_expert_intermediate_size": "4",
            "num_experts": "2", "num_experts_per_tok": "1", "hidden_act": "\"silu\"",
        ]
        var shapes: [String: [Int]] = [
            "model.layers.1.mlp.gate.weight": [2, 3],
            "model.layers.1.mlp.experts.0.gate_proj.weight": [2, 3],
            "model.layers.1.mlp.experts.0.up_proj.weight": [2, 3],
            "model.layers.1.mlp.experts.0.down_proj.weight": [3, 2],
            "model.layers.1.mlp.experts.1.gate_proj.weight": [2, 3],
            "model.layers.1.mlp.experts.1.up_proj.weight": [2, 3],
            "model.layers.1.mlp.experts.1.down_proj.weight": [3, 2],
            "model.layers.1.mlp.shared_expert.gate_proj.weight": [4, 3],
            "model.layers.1.mlp.shared_expert.up_proj.weight": [4, 3],
            "model.layers.1.mlp.shared_expert.down_proj.weight": [3, 4],
            "model.layers.1.mlp.shared_expert_gate.weight": [1, 3],
            "model.layers.1.input_layernorm.weight": [3],
        ]
        var types: [String: SafetensorsType] = [:]

        static let merged: Model = {
            var model = Model()
            model.shapes = model.shapes.filter { !$0.key.contains(".experts.") }
            model.shapes["model.layers.1.mlp.experts.gate_up_proj"] = [2, 4, 3]
            model.shapes["model.layers.1.mlp.experts.down_proj"] = [2, 3, 2]
            return model
        }()

        /// Byte values that tell tensors and places apart.
        static func data(_ name: String, _ count: Int) -> [UInt8] {
            let seed = name.utf8.reduce(17) { ($0 * 31 + Int($1)) & 0xff }
            return (0..<count).map { UInt8((seed + $0 * 7) & 0xff) }
        }

        var configText: String {
            "{\(config.sorted { $0.key < $1.key }.map { "\"\($0.key)\": \($0.value)" }.joined(separator: ", "))}"
        }

        func write(_ names: some Sequence<String>, to path: String) throws {
            var writer = SafetensorsWriter()
            for name in names.sorted() {
                let (type, shape) = (types[name] ?? .f32, shapes[name]!)
                try writer.add(name, type, shape: shape, bytes: Self.data(name, type.byteCount(shape: shape)!))
            }
            try writer.write(to: path)
        }

        func write(to scratch: Scratch) throws {
            try scratch.write("config.json", configText)
            try write(shapes.keys, to: scratch["model.safetensors"])
        }

        /// Three shards and an index; `change` may alter the index before it is written.
        func writeSharded(to scratch: Scratch, _ change: (inout [String: String]) -> Void = { _ in }) throws {
            try scratch.write("config.json", configText)
            var map: [String: String] = [:]
            for (position, name) in shapes.keys.sorted().enumerated() {
                map[name] = "model-\(position % 3).safetensors"
            }
            for shard in Set(map.values) { try write(map.filter { $0.value == shard }.keys, to: scratch[shard]) }
            change(&map)
            let entries = map.sorted { $0.key < $1.key }.map { "\"\($0.key)\": \"\($0.value)\"" }
            try scratch.write(
                "model.safetensors.index.json",
                #"{"metadata": {"total_size": 1}, "weight_map": {\#(entries.joined(separator: ", "))}}"#)
        }
    }

    static let weights: [(WeightName, String)] = [
        (.router, "gate.weight"), (.expert(0, .gate), "experts.0.gate_proj.weight"),
        (.expert(0, .up), "experts.0.up_proj.weight"),
        (.expert(0, .down), "experts.0.down_proj.weight"), (.expert(1, .gate), "experts.1.gate_proj.weight"),
        (.expert(1, .up), "experts.1.up_proj.weight"), (.expert(1, .down), "experts.1.down_proj.weight"),
        (.shared(.gate), "shared_expert.gate_proj.weight"), (.shared(.up), "shared_expert.up_proj.weight"),
        (.shared(.down), "shared_expert.down_proj.weight"), (.sharedGate, "shared_expert_gate.weight"),
    ]

    static func rows(_ source: any WeightSource, _ name: WeightName, _ rows: Range<Int>, bytes: Int) throws -> [UInt8] {
        var buffer = [UInt8](repeating: 0xee, count: bytes)
        try buffer.withUnsafeMutableBytes { try source.read(name, rows: rows, into: $0) }
        return buffer
    }

    // MARK: What is read

    @Test(arguments: [false, true])
    func rowsAreTheBytesOfTheFile(sharded: Bool) throws {
        let scratch = try Scratch()
        var model = Model()
        model.types["model.layers.1.mlp.gate.weight"] = .bf16
        model.types["model.layers.1.mlp.experts.1.up_proj.weight"] = .f16
        if sharded { try model.writeSharded(to: scratch) } else { try model.write(to: scratch) }
        let checkpoint = try MoECheckpoint(at: scratch.path + "/")
        #expect(checkpoint.modelType == "qwen2_moe")
        #expect(checkpoint.moeLayers == [1])
        let configuration = try checkpoint.configuration(layer: 1)
        #expect(
            try configuration
                == MoEConfiguration(
                    experts: 2, topK: 1, hidden: 3, expertHidden: 2,
                    router: RouterConfiguration(score: .softmax, normalisation: .none), expert: .gated(.silu),
                    shared: .sigmoidGated(width: 4)))
        #expect(try checkpoint.configuration(layer: 1, weightType: .bfloat16).weightType == .bfloat16)
        let source = try checkpoint.weightSource(layer: 1)
        for (name, suffix) in Self.weights {
            let tensor = "model.layers.1.mlp." + suffix
            let (rows, columns) = configuration.shape(of: name)
            let type = model.types[tensor] ?? .f32
            #expect(source.format(of: name) == .plain(type.elementType!))
            let rowBytes = columns * type.bitCount / 8
            let data = Model.data(tensor, rows * rowBytes)
            #expect(try Self.rows(source, name, 0..<rows, bytes: data.count) == data, "\(name)")
            for row in 0..<rows {
                // Nothing is written past the rows that were asked for.
                let read = try Self.rows(source, name, row..<row + 1, bytes: rowBytes + 3)
                #expect(read == Array(data[row * rowBytes..<(row + 1) * rowBytes]) + [0xee, 0xee, 0xee])
            }
            #expect(source.describe(name).hasPrefix("\(tensor) in \(scratch.path)/"))
            #expect(throws: MoEError.self) { try Self.rows(source, name, 0..<rows + 1, bytes: 4096) }
            #expect(throws: MoEError.self) { try Self.rows(source, name, 0..<1, bytes: rowBytes - 1) }
        }
        for name in [WeightName.expert(2, .up), .expert(-1, .up), .expertBias(0, .up)] {
            #expect(throws: MoEError.self) { try Self.rows(source, name, 0..<1, bytes: 64) }
            _ = source.format(of: name)
        }
    }

    @Test func threadsReadAtTheSameTime() async throws {
        let scratch = try Scratch()
        try Model().writeSharded(to: scratch)
        let source = try MoECheckpoint(at: scratch.path).weightSource(layer: 1)
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for index in 0..<64 {
                group.addTask {
                    let (name, suffix) = Self.weights[index % 7]
                    let bytes = suffix.contains("down") ? 16 : 24
                    let read = try Self.rows(source, name, 0..<2, bytes: bytes)
                    return read == Model.data("model.layers.1.mlp.\(suffix)", bytes)
                }
            }
            for try await same in group { #expect(same) }
        }
    }

    @Test func mergedExpertsAreCutApart() throws {
        let scratch = try Scratch()
        try Model.merged.write(to: scratch)
        let source = try MoECheckpoint(at: scratch.path).weightSource(layer: 1)
        let gateUp = Model.data("model.layers.1.mlp.experts.gate_up_proj", 2 * 4 * 3 * 4)
        let down = Model.data("model.layers.1.mlp.experts.down_proj", 2 * 3 * 2 * 4)
        for expert in 0..<2 {
            let start = expert * 48
            #expect(
                try Self.rows(source, .expert(expert, .gate), 0..<2, bytes: 24) == Array(gateUp[start..<start + 24]))
            #expect(
                try Self.rows(source, .expert(expert, .up), 0..<2, bytes: 24) == Array(gateUp[start + 24..<start + 48]))
            #expect(
                try Self.rows(source, .expert(expert, .down), 1..<3, bytes: 16)
                    == Array(down[expert * 24 + 8..<expert * 24 + 24]))
        }
        #expect(source.describe(.expert(1, .up)).contains("gate_up_proj (experts[1].up) in "))
        #expect(throws: MoEError.self) { try Self.rows(source, .expert(0, .gate), 1..<3, bytes: 24) }
    }

    @Test(arguments: ["layers.", "language_model.model.layers.", "model.language_model.layers.", "a.b.c.layers."])
    func anyPrefixIsFound(_ prefix: String) throws {
        let scratch = try Scratch()
        var model = Model()
        model.shapes = Dictionary(
            uniqueKeysWithValues: model.shapes.map { (prefix + $0.key.dropFirst("model.layers.".count), $0.value) })
        // Prediction layers count from 0 again, and are passed over.
        model.shapes["mtp.layers.1.mlp.gate.weight"] = [2, 3]
        model.shapes["vision.layers.11.mlp.gate.weight"] = [2, 3]
        try model.write(to: scratch)
        let source = try MoECheckpoint(at: scratch.path).weightSource(layer: 1)
        #expect(source.describe(.router).hasPrefix("\(prefix)1.mlp.gate.weight in "))
    }

    @Test func nestedConfigurationIsFound() throws {
        let scratch = try Scratch()
        let model = Model()
        try model.write(to: scratch)
        try scratch.write("config.json", #"{"model_type": "some_vl", "text_config": \#(model.configText)}"#)
        #expect(try MoECheckpoint(at: scratch.path).configuration(layer: 1).hidden == 3)
        var wrong = model
        wrong.config["hidden_size"] = nil
        try scratch.write("config.json", #"{"model_type": "some_vl", "text_config": \#(wrong.configText)}"#)
        expectCheckpointError(file: scratch["config.json"], ["\"text_config.hidden_size\" is missing"]) {
            _ = try MoECheckpoint(at: scratch.path)
        }
    }

    /// A hub cache keeps files under their hashes, and beside them a folder of links for each revision.
    @Test(arguments: [false, true])
    func hubCachesAreFollowed(sharded: Bool) throws {
        let scratch = try Scratch()
        let (blobs, snapshot) = ("models--a--b/blobs", "models--a--b/snapshots/0c1d2e")
        for folder in [blobs, snapshot] {
            try FileManager.default.createDirectory(atPath: scratch[folder], withIntermediateDirectories: true)
        }
        let files = try Scratch()
        if sharded { try Model().writeSharded(to: files) } else { try Model().write(to: files) }
        #expect(files.contents.count == (sharded ? 5 : 2))
        for (position, name) in files.contents.enumerated() {
            let blob = String(repeating: "\(position)f", count: 20)
            try scratch.write("\(blobs)/\(blob)", Scratch.bytes(files[name]))
            #expect(symlink("../../blobs/\(blob)", scratch["\(snapshot)/\(name)"]) == 0)
        }
        let source = try MoECheckpoint(at: scratch[snapshot]).weightSource(layer: 1)
        #expect(try Self.rows(source, .router, 0..<2, bytes: 24) == Model.data("model.layers.1.mlp.gate.weight", 24))
        #expect(source.describe(.router).contains(scratch[snapshot]))

        // A download that was given up leaves links to nothing.
        for (name, position) in zip(files.contents, 0...) where name != "model-2.safetensors" {
            let blob = scratch["\(blobs)/" + String(repeating: "\(position)f", count: 20)]
            let away = blob + ".incomplete"
            try FileManager.default.moveItem(atPath: blob, toPath: away)
            let error = #expect(throws: MoEError.self) {
                _ = try MoECheckpoint(at: scratch[snapshot]).weightSource(layer: 1)
            }
            #expect(
                error
                    == .system(
                        file: scratch["\(snapshot)/\(name)"], operation: "open", reason: "No such file or directory"))
            try FileManager.default.moveItem(atPath: away, toPath: blob)
        }
    }

    @Test func onlyShardsOfTheLayerAreOpened() throws {
        let scratch = try Scratch()
        try Model().writeSharded(to: scratch) {
            $0["model.layers.0.mlp.up_proj.weight"] = "never-downloaded.safetensors"
        }
        _ = try MoECheckpoint(at: scratch.path).weightSource(layer: 1)
    }

    // MARK: What is refused

    @Test func foldersWithoutACheckpoint() throws {
        let scratch = try Scratch()
        #expect(
            throws: MoEError.system(
                file: scratch["config.json"], operation: "open", reason: "No such file or directory")
        ) { try MoECheckpoint(at: scratch.path) }
        try scratch.write("config.json", Model().configText)
        try scratch.write("other.safetensors", safetensors("{}"))
        expectCheckpointError(file: scratch.path, ["model.safetensors", "model.safetensors.index.json", "neither"]) {
            _ = try MoECheckpoint(at: scratch.path)
        }
        #expect(throws: MoEError.self) { try MoECheckpoint(at: "") }
        #expect(throws: MoEError.self) { try MoECheckpoint(at: "\0") }
    }

    /// A key of config.json, what it is changed to (nil: removed), and what the message says.
    static let configs: [(key: String, value: String?, fragments: [String])] = [
        ("model_type", nil, ["\"model_type\" is missing", "mixtral, qwen2_moe, qwen3_moe, "]),
        ("model_type", "null", ["\"model_type\" is missing"]),
        ("model_type", "7", ["\"model_type\" is 7", "a string"]),
        ("model_type", "\"llama\"", ["model_type \"llama\" is not supported", "mixtral, qwen2_moe, qwen3_moe, "]),
        ("hidden_size", nil, ["\"hidden_size\" is missing", "1 to 1073741824"]),
        ("hidden_size", "null", ["\"hidden_size\" is missing"]),
        ("hidden_size", "0", ["\"hidden_size\" is 0"]), ("hidden_size", "-3", ["\"hidden_size\" is -3"]),
        ("hidden_size", "3.5", ["\"hidden_size\" is 3.5", "a whole number"]),
        ("hidden_size", "3.0", ["a whole number"]),
        ("hidden_size", "\"3\"", ["\"hidden_size\" is \"3\""]), ("hidden_size", "true", ["\"hidden_size\" is true"]),
        ("hidden_size", "[3]", ["an array of 1"]), ("hidden_size", "{}", ["an object"]),
        ("hidden_size", "1073741825", ["1 to 1073741824"]), ("hidden_size", "1e3", ["1000.0"]),
        ("hidden_size", "99999999999999999999", ["64 bits"]),
        ("moe_intermediate_size", nil, ["\"moe_intermediate_size\" is missing"]),
        ("moe_intermediate_size", "-1", ["\"moe_intermediate_size\" is -1"]),
        ("shared_expert_intermediate_size", nil, ["\"shared_expert_intermediate_size\" is missing"]),
        ("shared_expert_intermediate_size", "0", ["\"shared_expert_intermediate_size\" is 0"]),
        ("num_experts", nil, ["\"num_experts\" is missing"]), ("num_experts", "0", ["\"num_experts\" is 0"]),
        ("num_experts", "1000000000", ["1 to 65536"]),
        ("num_local_experts", "3", ["\"num_local_experts\" is 3", "expected 2"]),
        ("num_experts_per_tok", nil, ["\"num_experts_per_tok\" is missing"]),
        ("num_experts_per_tok", "3", ["\"num_experts_per_tok\" is 3", "1 to 2"]),
        ("num_experts_per_tok", "0", ["\"num_experts_per_tok\" is 0"]),
        ("num_hidden_layers", nil, ["\"num_hidden_layers\" is missing"]),
        ("num_hidden_layers", "-1", ["\"num_hidden_layers\" is -1"]),
        ("num_hidden_layers", "9223372036854775807", ["1 to 65536"]),
        ("num_hidden_layers", "1", ["no Mixture-of-Experts layer"]),
        ("decoder_sparse_step", "0", ["\"decoder_sparse_step\" is 0"]),
        ("decoder_sparse_step", "3", ["no Mixture-of-Experts layer"]),
        ("mlp_only_layers", "3", ["\"mlp_only_layers\" is 3", "an array"]),
        ("mlp_only_layers", "[-1]", ["array with -1"]),
        ("mlp_only_layers", "[\"0\"]", ["array with \"0\""]),
        ("norm_topk_prob", "1", ["\"norm_topk_prob\" is 1", "true or false"]),
        ("norm_topk_prob", "\"true\"", ["true or false"]),
        ("hidden_act", "\"tanh\"", ["\"hidden_act\" is \"tanh\"", "silu, swish, gelu"]),
        ("hidden_act", "1", ["\"hidden_act\" is 1"]),
    ]

    @Test(arguments: configs.indices)
    func refusesConfig(_ index: Int) throws {
        let (key, value, fragments) = Self.configs[index]
        let scratch = try Scratch()
        var model = Model()
        model.config[key] = value
        try model.write(to: scratch)
        expectCheckpointError(file: scratch["config.json"], fragments) { _ = try MoECheckpoint(at: scratch.path) }
    }

    @Test func refusesConfigThatIsNoObject() throws {
        let scratch = try Scratch()
        for (text, fragment) in [
            ("[]", "an array of 0"), ("3", "is 3"), ("", "ends where"), ("{\"a\":1,\"a\":1}", "twice"),
            ("{\"a\":NaN}", "model_type"), ("{\"a\":Nan}", "a number"), ("{\"a\":-Infinity}", "model_type"),
            ("{\"a\":infinity}", "found i"), ("{\"a\":[Infinity,+Infinity]}", "found +"),
            ("\u{feff}{}", "byte-order mark"), (String(repeating: " ", count: 1 << 22) + "{}", "at most 4194304"),
        ] {
            try scratch.write("config.json", text)
            expectCheckpointError(file: scratch["config.json"], [fragment]) { _ = try MoECheckpoint(at: scratch.path) }
        }
    }

    @Test func absurdSizesThatMultiplyTooFar() throws {
        let scratch = try Scratch()
        var model = Model()
        for key in ["hidden_size", "moe_intermediate_size", "shared_expert_intermediate_size"] {
            model.config[key] = "1073741824"
        }
        model.config["num_experts"] = "65536"
        try model.write(to: scratch)
        expectCheckpointError(file: scratch["config.json"], ["65536 × 1073741824 × 1073741824"]) {
            _ = try MoECheckpoint(at: scratch.path)
        }
    }

    @Test func tensorsThatAreMissing() throws {
        for (_, suffix) in Self.weights where suffix != "gate.weight" {
            let scratch = try Scratch()
            var model = Model()
            model.shapes["model.layers.1.mlp." + suffix] = nil
            try model.write(to: scratch)
            expectCheckpointError(
                file: scratch["model.safetensors"], tensor: "model.layers.1.mlp." + suffix, ["is missing"]
            ) {
                _ = try MoECheckpoint(at: scratch.path).weightSource(layer: 1)
            }
        }
        for suffix in ["gate_up_proj", "down_proj"] {
            let scratch = try Scratch()
            var model = Model.merged
            model.shapes["model.layers.1.mlp.experts." + suffix] = nil
            try model.write(to: scratch)
            expectCheckpointError(
                file: scratch["model.safetensors"], tensor: "model.layers.1.mlp.experts." + suffix, ["is missing"]
            ) {
                _ = try MoECheckpoint(at: scratch.path).weightSource(layer: 1)
            }
        }
        let scratch = try Scratch()
        var model = Model()
        model.shapes["model.layers.1.mlp.gate.weight"] = nil
        try model.writeSharded(to: scratch)
        expectCheckpointError(
            file: scratch["model.safetensors.index.json"], tensor: "…layers.1.mlp.gate.weight", ["is missing"]
        ) {
            _ = try MoECheckpoint(at: scratch.path).weightSource(layer: 1)
        }
    }

    /// Fewer experts stored than config.json says.
    @Test func expertsThatAreMissing() throws {
        let scratch = try Scratch()
        var model = Model()
        model.config["num_experts"] = "3"
        model.shapes["model.layers.1.mlp.gate.weight"] = [3, 3]
        try model.write(to: scratch)
        expectCheckpointError(
            file: scratch["model.safetensors"], tensor: "model.layers.1.mlp.experts.2.gate_proj.weight",
            ["is missing", "config.json"]
        ) { _ = try MoECheckpoint(at: scratch.path).weightSource(layer: 1) }
    }

    @Test func wrongShapesAndTypes() throws {
        for (model, tensors) in [
            (Model(), Self.weights.map { "model.layers.1.mlp." + $0.1 }),
            (Model.merged, ["model.layers.1.mlp.experts.gate_up_proj", "model.layers.1.mlp.experts.down_proj"]),
        ] {
            for tensor in tensors {
                let scratch = try Scratch()
                let right = model.shapes[tensor]!
                for shape in [
                    right.reversed(), right + [1], right.dropLast() + [right.last! + 1], [right.reduce(1, *)], [],
                ] where shape != right {
                    var wrong = model
                    wrong.shapes[tensor] = shape
                    try wrong.write(to: scratch)
                    expectCheckpointError(
                        file: scratch["model.safetensors"], tensor: tensor,
                        ["has shape \(shape)", "calls for \(right)"]
                    ) { _ = try MoECheckpoint(at: scratch.path).weightSource(layer: 1) }
                }
                var wrong = model
                wrong.types[tensor] = .f8E4M3
                try wrong.write(to: scratch)
                expectCheckpointError(
                    file: scratch["model.safetensors"], tensor: tensor,
                    ["stored as F8_E4M3", "expected F32, BF16 or F16"]
                ) { _ = try MoECheckpoint(at: scratch.path).weightSource(layer: 1) }
            }
        }
    }

    @Test func layersThatAreNotThere() throws {
        let scratch = try Scratch()
        var model = Model()
        model.config["num_hidden_layers"] = "8"
        model.config["mlp_only_layers"] = "[0, 4]"
        try model.write(to: scratch)
        let checkpoint = try MoECheckpoint(at: scratch.path)
        #expect(checkpoint.moeLayers == [1, 2, 3, 5, 6, 7])
        for layer in [-1, 0, 4, 8, .max, .min] {
            let expected = MoEError.input(
                name: "layer", value: "\(layer)",
                expectation: "a Mixture-of-Experts layer of \(scratch["config.json"]): 1–3, 5–7")
            #expect(throws: expected) { try checkpoint.configuration(layer: layer) }
            #expect(throws: expected) { try checkpoint.weightSource(layer: layer) }
            #expect(throws: expected) { try checkpoint.layer(layer) }
        }
    }

    @Test func twoModelsInOneFolder() throws {
        let scratch = try Scratch()
        var model = Model()
        model.shapes["other.layers.1.mlp.gate.weight"] = [2, 3]
        try model.write(to: scratch)
        expectCheckpointError(
            file: scratch["model.safetensors"],
            ["2 routers", "model.layers.1.mlp.gate.weight", "other.layers.1.mlp.gate.weight"]
        ) { _ = try MoECheckpoint(at: scratch.path).weightSource(layer: 1) }
    }

    // MARK: The index

    static let router = "model.layers.1.mlp.gate.weight"

    /// What the index says of the router's shard (as JSON), and what the message says.
    @Test(arguments: [
        ("/etc/passwd", "\"/etc/passwd\", is an absolute path"), ("../x.safetensors", "leaves the folder"),
        ("a/../../x.safetensors", "leaves the folder"), ("..", "leaves the folder"),
        (#"model\u0000.safetensors"#, "NUL"), ("", "is empty"),
    ])
    func refusesShardNames(_ name: String, _ fragment: String) throws {
        let scratch = try Scratch()
        try Model().writeSharded(to: scratch) { $0[Self.router] = name }
        expectCheckpointError(
            file: scratch["model.safetensors.index.json"], tensor: Self.router, ["its shard's name", fragment]
        ) {
            _ = try MoECheckpoint(at: scratch.path)
        }
    }

    @Test(arguments: [
        (#"{}"#, "weight_map is missing"), (#"{"weight_map": {}}"#, "weight_map is empty"),
        (#"{"weight_map": []}"#, "has to be an object"),
        (#"[]"#, "an object"), (#"{"weight_map": {"a": "x", "a": "y"}}"#, "\"a\" stands there twice"),
        (#"{"weight_map": {"a": "x"}, "weight_map": {"a": "x"}}"#, "\"weight_map\" stands there twice"),
        (#"{"metadata": 1, "metadata": 1, "weight_map": {"a": "x"}}"#, "\"metadata\" stands there twice"),
        (#"{"weight_map": {"a": "x"}} {}"#, "follows the end"), (#"{"weight_map": {"a": "x""#, "ends where"),
        ("", "ends where"),
    ])
    func refusesIndexes(_ text: String, _ fragment: String) throws {
        let scratch = try Scratch()
        try scratch.write("config.json", Model().configText)
        try scratch.write("model.safetensors.index.json", text)
        expectCheckpointError(file: scratch["model.safetensors.index.json"], [fragment]) {
            _ = try MoECheckpoint(at: scratch.path)
        }
    }

    @Test func refusesIndexEntriesThatAreNoNames() throws {
        let scratch = try Scratch()
        try scratch.write("config.json", Model().configText)
        for value in ["1", "null", "[\"x\"]", "{}"] {
            try scratch.write("model.safetensors.index.json", #"{"weight_map": {"a": \#(value)}}"#)
            expectCheckpointError(file: scratch["model.safetensors.index.json"], tensor: "a", ["has to be a string"]) {
                _ = try MoECheckpoint(at: scratch.path)
            }
        }
    }

    @Test func shardsThatAreNotWhatTheIndexSays() throws {
        func load(_ scratch: Scratch) throws { _ = try MoECheckpoint(at: scratch.path).weightSource(layer: 1) }

        let missing = try Scratch()
        try Model().writeSharded(to: missing) { $0[Self.router] = "model-9.safetensors" }
        #expect(
            throws: MoEError.system(
                file: missing["model-9.safetensors"], operation: "open", reason: "No such file or directory")
        ) {
            try load(missing)
        }

        let folder = try Scratch()
        try Model().writeSharded(to: folder) { $0[Self.router] = "sub" }
        try FileManager.default.createDirectory(atPath: folder["sub"], withIntermediateDirectories: false)
        expectCheckpointError(file: folder["sub"], ["is not a regular file"]) { try load(folder) }

        let pipe = try Scratch()
        try Model().writeSharded(to: pipe) { $0[Self.router] = "pipe" }
        #expect(mkfifo(pipe["pipe"], 0o600) == 0)
        expectCheckpointError(file: pipe["pipe"], ["is not a regular file"]) { try load(pipe) }

        // Links are followed, to whatever is there.
        for target in ["/dev/zero", ".", "pipe"] {
            let link = try Scratch()
            try Model().writeSharded(to: link) { $0[Self.router] = "link" }
            #expect(mkfifo(link["pipe"], 0o600) == 0)
            #expect(symlink(target, link["link"]) == 0)
            expectCheckpointError(file: link["link"], ["is not a regular file"]) { try load(link) }
        }
        let loop = try Scratch()
        try Model().writeSharded(to: loop) { $0[Self.router] = "link" }
        #expect(symlink("link", loop["link"]) == 0)
        let error = #expect(throws: MoEError.self) { try load(loop) }
        guard case .system(loop["link"], "open", _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }

        let lacking = try Scratch()
        try Model().writeSharded(to: lacking) { $0["model.layers.0.mlp.up_proj.weight"] = "model-0.safetensors" }
        expectCheckpointError(
            file: lacking["model-0.safetensors"], tensor: "model.layers.0.mlp.up_proj.weight",
            ["is missing", "index.json says"]
        ) { try load(lacking) }

        let broken = try Scratch()
        try Model().writeSharded(to: broken)
        try broken.write("model-1.safetensors", safetensors("{", data: 3))
        expectCheckpointError(file: broken["model-1.safetensors"], ["header", "ends where"]) { try load(broken) }
    }

    @Test func tensorsInAnotherShardThanTheIndexSays() throws {
        let scratch = try Scratch()
        var home = ""
        try Model().writeSharded(to: scratch) {
            home = $0[Self.router]!
            $0[Self.router] = home == "model-0.safetensors" ? "model-1.safetensors" : "model-0.safetensors"
        }
        let wrong = home == "model-0.safetensors" ? "model-1.safetensors" : "model-0.safetensors"
        expectCheckpointError(file: scratch[wrong], tensor: Self.router, ["is missing", "index.json says it is here"]) {
            _ = try MoECheckpoint(at: scratch.path).weightSource(layer: 1)
        }
    }

    @Test func tensorsInTwoShards() throws {
        let tensor = "model.layers.1.mlp.experts.0.up_proj.weight"
        let scratch = try Scratch()
        let model = Model()
        var map: [String: String] = [:]
        try model.writeSharded(to: scratch) { map = $0 }
        for second in Set(map.values) where second != map[tensor] {
            try model.writeSharded(to: scratch)
            try model.write(map.filter { $0.value == second }.keys + [tensor], to: scratch[second])
            expectCheckpointError(
                file: scratch[second], tensor: tensor, ["is here, but the index puts it in \"\(map[tensor]!)\""]
            ) { _ = try MoECheckpoint(at: scratch.path).weightSource(layer: 1) }
        }
        // One file under two names is two shards with the same tensors.
        try model.writeSharded(to: scratch) { $0[tensor] = "./" + $0[tensor]! }
        let error = #expect(throws: MoEError.self) { try MoECheckpoint(at: scratch.path).weightSource(layer: 1) }
        #expect("\(error!)".contains("but the index puts it in \""), "\(error!)")
    }

    /// An index over a thousand shards, and the headers of all of them.
    @Test func opensAThousandShards() throws {
        let scratch = try Scratch()
        var entries: [String] = []
        for shard in 0..<1000 {
            let file = "model-\(shard)-of-1000.safetensors"
            var members: [String] = []
            for tensor in 0..<30 {
                let name = "model.layers.\(shard / 10).mlp.experts.\(shard % 10 * 30 + tensor).gate_up_proj.weight"
                members.append("\"\(name)\":\(CheckpointSafetensorsTests.entry("[1]", tensor * 4, tensor * 4 + 4))")
                entries.append("\"\(name)\":\"\(file)\"")
            }
            try scratch.write(file, safetensors("{\(members.joined(separator: ","))}", data: 120))
        }
        let path = try scratch.write("index", "{\"weight_map\":{\(entries.joined(separator: ","))}}")
        let clock = ContinuousClock()
        var tensors = 0
        let elapsed = try clock.measure {
            let index = try CheckpointIndex(at: path, folder: scratch.path)
            for shard in index.shards.indices { tensors += try index.open(shard).tensors.count }
        }
        #expect(tensors == 30_000)
        #expect(elapsed < .seconds(1), "\(elapsed)")
        print("1,000 shards: \(elapsed)")
    }

    // MARK: Families

    static let families: [(config: String, expected: @Sendable () throws -> MoEConfiguration, layers: [Int])] = [
        (
            #"""
            {"model_type":"mixtral","num_hidden_layers":3,"hidden_size":8,"intermediate_size":6,
            "num_local_experts":4,"num_experts_per_tok":2,"norm_topk_prob":false}
            """#,
            { try MoEConfiguration(experts: 4, topK: 2, hidden: 8, expertHidden: 6) }, [0, 1, 2]
        ),
        (
            #"""
            {"model_type":"qwen2_moe","num_hidden_layers":4,"hidden_size":8,"intermediate_size":6,
            "moe_intermediate_size":5,"shared_expert_intermediate_size":7,"num_experts":4,
            "num_experts_per_tok":2,"norm_topk_prob":true,"hidden_act":"gelu_new"}
            """#,
            {
                try MoEConfiguration(
                    experts: 4, topK: 2, hidden: 8, expertHidden: 5, expert: .gated(.geluTanh),
                    shared: .sigmoidGated(width: 7))
            }, [0, 1, 2, 3]
        ),
        (
            #"""
            {"model_type":"qwen3_moe","num_hidden_layers":7,"hidden_size":8,"intermediate_size":6,
            "moe_intermediate_size":5,"num_local_experts":4,"num_experts_per_tok":4,
            "decoder_sparse_step":2,"mlp_only_layers":[3,100],"hidden_act":"swish"}
            """#,
            {
                try MoEConfiguration(
                    experts: 4, topK: 4, hidden: 8, expertHidden: 5, router: RouterConfiguration(normalisation: .none))
            }, [1, 5]
        ),
        (
            #"""
            {"model_type":"olmoe","num_hidden_layers":1,"hidden_size":8,"intermediate_size":6,
            "num_experts":4,"num_experts_per_tok":1,"hidden_act":"relu","norm_topk_prob":null}
            """#,
            {
                try MoEConfiguration(
                    experts: 4, topK: 1, hidden: 8, expertHidden: 6, router: RouterConfiguration(normalisation: .none),
                    expert: .gated(.relu))
            }, [0]
        ),
    ]

    @Test(arguments: families.indices)
    func familiesReadTheirKeys(_ index: Int) throws {
        let (config, expected, layers) = Self.families[index]
        let scratch = try Scratch()
        try scratch.write("config.json", config)
        try scratch.write("model.safetensors", safetensors("{}"))
        let checkpoint = try MoECheckpoint(at: scratch.path)
        #expect(checkpoint.moeLayers == layers)
        #expect(try checkpoint.configuration(layer: layers[0]) == expected())
        #expect(MoECheckpoint.supportedModelTypes.contains(checkpoint.modelType))
        let error = #expect(throws: MoEError.self) { try checkpoint.weightSource(layer: layers[0]) }
        guard case .checkpoint(scratch["model.safetensors"], let tensor?, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(tensor.hasPrefix("…layers.\(layers[0])."))
    }
}
