import Foundation
import Testing

@testable import MoEKernel

/// The same matrices in every way that models are stored in read alike; codes read as they decode by their description.
@Suite
struct StorageTests {
    // MARK: Matrices and files

    /// [rows, columns], row by row.
    struct Matrix {
        var rows: Int
        var columns: Int
        var elements: [Float]

        init(_ rows: Int, _ columns: Int, _ element: (Int, Int) -> Float) {
            (self.rows, self.columns) = (rows, columns)
            elements = (0..<rows * columns).map { element($0 / columns, $0 % columns) }
        }

        subscript(row: Int, column: Int) -> Float { elements[row * columns + column] }
        var transposed: Matrix { Matrix(columns, rows) { self[$1, $0] } }
        var bytes: [UInt8] { elements.flatMap { $0.bitPattern.bytes } }

        /// Rows of both by turns.
        func alternating(with other: Matrix) -> Matrix {
            Matrix(2 * rows, columns) { row, column in
                row % 2 == 0 ? self[row / 2, column] : other[row / 2, column]
            }
        }
        func above(_ other: Matrix) -> Matrix {
            Matrix(rows + other.rows, columns) { row, column in
                row < rows ? self[row, column] : other[row - rows, column]
            }
        }
    }

    /// Gate, up and down of three experts whose elements are all different, F 5, H 7.
    struct Experts {
        let (count, width, hidden): (Int, Int, Int)
        var matrices: [[Projection: Matrix]]

        init(count: Int = 3, width: Int = 5, hidden: Int = 7) {
            (self.count, self.width, self.hidden) = (count, width, hidden)
            var next: Float = 0
            func fill(_ rows: Int, _ columns: Int) -> Matrix {
                Matrix(rows, columns) { _, _ in
                    next += 0.25
                    return next
                }
            }
            matrices = (0..<count).map { _ in
                [.gate: fill(width, hidden), .up: fill(width, hidden), .down: fill(hidden, width)]
            }
        }

        /// A tensor of all experts.
        func stacked(_ matrix: ([Projection: Matrix]) -> Matrix) -> [UInt8] { matrices.flatMap { matrix($0).bytes } }
    }

    struct Tensor {
        let (type, shape, bytes): (SafetensorsType, [Int], [UInt8])

        init(_ type: SafetensorsType, _ shape: [Int], _ bytes: [UInt8]) {
            (self.type, self.shape, self.bytes) = (type, shape, bytes)
        }

        init(_ shape: [Int], _ bytes: [UInt8]) { self.init(.f32, shape, bytes) }
    }

    static func open(_ config: String, _ tensors: [String: Tensor], in scratch: Scratch) throws -> MoECheckpoint {
        try scratch.write("config.json", config)
        var writer = SafetensorsWriter()
        for (name, tensor) in tensors.sorted(by: { $0.key < $1.key }) {
            try writer.add(name, tensor.type, shape: tensor.shape, bytes: tensor.bytes)
        }
        try writer.write(to: scratch["model.safetensors"])
        return try MoECheckpoint(at: scratch.path)
    }

    /// Every row of a matrix, by itself, several at a time and all at once, has to be the same.
    static func check(_ source: any WeightSource, _ name: WeightName, _ c: MoEConfiguration, _ expected: Matrix) throws
    {
        #expect(try source.floats(name, c) == expected.elements, "\(name)")
        for row in 0..<expected.rows {
            for count in [1, 3] where row + count <= expected.rows {
                let rows = row..<row + count
                let part = Array(expected.elements[row * expected.columns..<(row + count) * expected.columns])
                #expect(try source.floats(name, rows: rows, c) == part, "\(name) \(rows)")
            }
        }
    }

    // MARK: Plain layouts

    struct Layout: Sendable, CustomTestStringConvertible {
        let name: String
        let config: String
        let router: String
        /// The experts' tensors without the layer's prefix.
        let tensors: @Sendable (Experts) -> [String: Tensor]
        var testDescription: String { name }
    }

    static func sizes(_ type: String, _ more: String = "") -> String {
        #"""
        {"model_type":"\#(type)","num_hidden_layers":1,"hidden_size":7,"intermediate_size":5,
        "moe_intermediate_size":5,"num_experts":3,"num_local_experts":3,"num_experts_per_tok":2\#(more)}
        """#
    }

    static func separate(_ folder: String, _ names: [String], _ experts: Experts) -> [String: Tensor] {
        var tensors: [String: Tensor] = [:]
        for (expert, matrices) in experts.matrices.enumerated() {
            for (projection, name) in zip([Projection.gate, .up, .down], names) {
                let matrix = matrices[projection]!
                tensors["\(folder)\(expert).\(name).weight"] = Tensor([matrix.rows, matrix.columns], matrix.bytes)
            }
        }
        return tensors
    }

    static func fused(
        _ gateUp: String, _ down: String, _ experts: Experts, interleaved: Bool = false, inputsFirst: Bool = false
    ) -> [String: Tensor] {
        let (e, f, h) = (experts.count, experts.width, experts.hidden)
        let both = experts.stacked {
            let both = interleaved ? $0[.gate]!.alternating(with: $0[.up]!) : $0[.gate]!.above($0[.up]!)
            return inputsFirst ? both.transposed : both
        }
        return [
            gateUp: Tensor(inputsFirst ? [e, h, 2 * f] : [e, 2 * f, h], both),
            down: Tensor(
                inputsFirst ? [e, f, h] : [e, h, f],
                experts.stacked { inputsFirst ? $0[.down]!.transposed : $0[.down]! }),
        ]
    }

    static let projections = ["gate_proj", "up_proj", "down_proj"]
    static let layouts: [Layout] = [
        Layout(name: "one by one", config: sizes("qwen3_moe"), router: "mlp.gate.weight") {
            separate("mlp.experts.", projections, $0)
        },
        Layout(name: "numbered", config: sizes("mixtral"), router: "block_sparse_moe.gate.weight") {
            separate("block_sparse_moe.experts.", ["w1", "w3", "w2"], $0)
        },
        Layout(name: "merged, outputs first", config: sizes("qwen3_moe"), router: "mlp.gate.weight") {
            fused("mlp.experts.gate_up_proj", "mlp.experts.down_proj", $0)
        },
        Layout(name: "merged, inputs first", config: sizes("qwen3_vl_moe_text"), router: "mlp.gate.weight") {
            fused("mlp.experts.gate_up_proj", "mlp.experts.down_proj", $0, inputsFirst: true)
        },
        Layout(name: "merged, the other way", config: sizes("qwen3_vl_moe_text"), router: "mlp.gate.weight") {
            fused("mlp.experts.gate_up_proj", "mlp.experts.down_proj", $0)
        },
        Layout(
            name: "Llama 4", config: sizes("llama4_text"), router: "feed_forward.router.weight"
        ) { fused("feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj", $0, inputsFirst: true) },
        Layout(name: "Granite", config: sizes("granitemoe"), router: "block_sparse_moe.router.layer.weight") {
            fused("block_sparse_moe.input_linear.weight", "block_sparse_moe.output_linear.weight", $0)
        },
        Layout(
            name: "Aria",
            config: #"""
                {"model_type":"aria_text","num_hidden_layers":1,"hidden_size":7,"intermediate_size":5,
                "moe_num_experts":3,"moe_topk":2,"moe_num_shared_experts":0}
                """#, router: "mlp.router.weight"
        ) { fused("mlp.experts.fc1.weight", "mlp.experts.fc2.weight", $0, inputsFirst: true) },
        Layout(
            name: "DBRX",
            config: #"""
                {"model_type":"dbrx","n_layers":1,"d_model":7,
                "ffn_config":{"ffn_hidden_size":5,"moe_num_experts":3,"moe_top_k":2}}
                """#, router: "ffn.router.layer.weight"
        ) { experts in
            let shape = [experts.count * experts.width, experts.hidden]
            return [
                "ffn.experts.mlp.w1": Tensor(shape, experts.stacked { $0[.gate]! }),
                "ffn.experts.mlp.v1": Tensor(shape, experts.stacked { $0[.up]! }),
                "ffn.experts.mlp.w2": Tensor(shape, experts.stacked { $0[.down]!.transposed }),
            ]
        },
    ]

    @Test(
        arguments: layouts,
        [Experts(), Experts(count: 3, width: 5, hidden: 10), Experts(count: 3, width: 7, hidden: 7)])
    func layoutsReadAlike(_ layout: Layout, _ experts: Experts) throws {
        let (f, h) = (experts.width, experts.hidden)
        // 2F = H, and F = H, where one of the two shapes does not tell the orientation.
        let config = layout.config
            .replacingOccurrences(of: "size\":7", with: "size\":\(h)").replacingOccurrences(
                of: "d_model\":7", with: "d_model\":\(h)"
            )
            .replacingOccurrences(of: "intermediate_size\":5", with: "intermediate_size\":\(f)")
            .replacingOccurrences(of: "ffn_hidden_size\":5", with: "ffn_hidden_size\":\(f)")
        let router = Matrix(3, h) { Float($0 * 100 + $1) }
        var tensors = layout.tensors(experts)
        tensors[layout.router] = Tensor([3, h], router.bytes)
        for projection in Self.projections {
            let shape = projection == "down_proj" ? [h, f] : [f, h]
            tensors["feed_forward.shared_expert.\(projection).weight"] = Tensor(
                shape, [UInt8](repeating: 0, count: f * h * 4))
        }
        let prefix = layout.name == "DBRX" ? "transformer.blocks.0." : "model.layers.0."
        let scratch = try Scratch()
        let checkpoint = try Self.open(
            config, Dictionary(uniqueKeysWithValues: tensors.map { (prefix + $0.key, $0.value) }), in: scratch)
        let c = try checkpoint.configuration(layer: 0)
        let source = try checkpoint.weightSource(layer: 0)
        try Self.check(source, .router, c, router)
        for (expert, matrices) in experts.matrices.enumerated() {
            for (projection, matrix) in matrices { try Self.check(source, .expert(expert, projection), c, matrix) }
        }
    }

    /// gpt-oss: alternating columns, of inputs first, with alternating biases; and long rows, which are read in pieces.
    @Test(arguments: [(5, 7), (1100, 3), (3, 1100)])
    func alternatingGateAndUp(_ width: Int, _ hidden: Int) throws {
        let experts = Experts(count: 2, width: width, hidden: hidden)
        var tensors = Self.fused(
            "mlp.experts.gate_up_proj", "mlp.experts.down_proj", experts, interleaved: true, inputsFirst: true)
        let router = Matrix(2, hidden) { Float($0 + $1) }
        let gateUpBias = Matrix(2, 2 * width) { Float($0 * 10_000 + $1) }
        let downBias = Matrix(2, hidden) { Float($0 * 10_000 - $1) }
        tensors["mlp.experts.gate_up_proj_bias"] = Tensor([2, 2 * width], gateUpBias.bytes)
        tensors["mlp.experts.down_proj_bias"] = Tensor([2, hidden], downBias.bytes)
        tensors["mlp.router.weight"] = Tensor([2, hidden], router.bytes)
        tensors["mlp.router.bias"] = Tensor([2], Matrix(1, 2) { Float($0 + $1) }.bytes)
        let config = #"""
            {"model_type":"gpt_oss","num_hidden_layers":1,"hidden_size":\#(hidden),"intermediate_size":\#(width),
            "num_local_experts":2,"num_experts_per_tok":1}
            """#
        let scratch = try Scratch()
        let checkpoint = try Self.open(
            config, Dictionary(uniqueKeysWithValues: tensors.map { ("model.layers.0." + $0.key, $0.value) }),
            in: scratch)
        let c = try checkpoint.configuration(layer: 0)
        let source = try checkpoint.weightSource(layer: 0)
        for (expert, matrices) in experts.matrices.enumerated() {
            for (projection, matrix) in matrices {
                #expect(try source.floats(.expert(expert, projection), c) == matrix.elements)
            }
            for (projection, offset) in [(Projection.gate, 0), (.up, 1)] {
                #expect(
                    try source.floats(.expertBias(expert, projection), c)
                        == (0..<width).map { gateUpBias[expert, 2 * $0 + offset] })
            }
            #expect(try source.floats(.expertBias(expert, .down), c) == (0..<hidden).map { downBias[expert, $0] })
        }
        #expect(source.describe(.expert(1, .up)).contains("gate_up_proj (experts[1].up) in "))
    }

    // MARK: Codes

    /// Bytes in no order.
    static func noise(_ count: Int, _ seed: Int) -> [UInt8] {
        var state = UInt64(seed) &* 0x9e37_79b9_7f4a_7c15 | 1
        return (0..<count).map { _ in
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return UInt8(truncatingIfNeeded: state >> 24)
        }
    }

    static func float8(_ byte: UInt8) -> Float {
        let (exponent, fraction) = (Int(byte >> 3 & 15), Float(byte & 7))
        let size = exponent == 0 ? fraction * exp2(-9) : (8 + fraction) * exp2(Float(exponent - 10))
        return byte & 128 == 0 ? size : -size
    }

    static func float4(_ code: UInt8) -> Float {
        let size = [0, 0.5, 1, 1.5, 2, 3, 4, 6][Int(code & 7)] as Float
        return code & 8 == 0 ? size : -size
    }

    /// A way of storing one matrix [rows, columns]: its tensors by what is added to `….weight`, and the numbers it means.
    struct Coding: Sendable, CustomTestStringConvertible {
        let name: String
        var quantisation = "{}"
        var expectedGroup: @Sendable (Int) -> Int
        let encode: @Sendable (_ rows: Int, _ columns: Int, _ seed: Int) -> (tensors: [String: Tensor], matrix: Matrix)
        var testDescription: String { name }
    }

    static func blocks(
        _ suffix: String, _ type: SafetensorsType, block: (Int, Int) = (128, 128)
    ) -> @Sendable (Int, Int, Int) -> ([String: Tensor], Matrix) {
        { rows, columns, seed in
            let codes = noise(rows * columns, seed).map { $0 & 0x7f == 0x7f ? 0 : $0 }
            let (down, across) = ((rows + block.0 - 1) / block.0, (columns + block.1 - 1) / block.1)
            let powers = (0..<down * across).map { UInt8(120 + ($0 * 3 + seed) % 10) }
            func scale(_ index: Int) -> Float { exp2(Float(Int(powers[index]) - 127)) }
            let bytes: [UInt8] =
                switch type {
                case .f32: (0..<down * across).flatMap { scale($0).bitPattern.bytes }
                case .bf16: (0..<down * across).flatMap { Array(scale($0).bitPattern.bytes[2...]) }
                default: powers
                }
            return (
                ["weight": Tensor(.f8E4M3, [rows, columns], codes), suffix: Tensor(type, [down, across], bytes)],
                Matrix(rows, columns) {
                    float8(codes[$0 * columns + $1]) * scale($0 / block.0 * across + $1 / block.1)
                }
            )
        }
    }

    static func channels(_ shape: @escaping @Sendable (Int) -> [Int])
        -> @Sendable (Int, Int, Int) -> ([String: Tensor], Matrix)
    {
        { rows, columns, seed in
            let codes = noise(rows * columns, seed).map { $0 & 0x7f == 0x7f ? 0 : $0 }
            let extents = shape(rows)
            let count = extents.reduce(1, *)
            let scales = (0..<count).map { Float($0 + 1) * 0.37 }
            return (
                [
                    "weight": Tensor(.f8E4M3, [rows, columns], codes),
                    "weight_scale": Tensor(.f32, extents, scales.flatMap { $0.bitPattern.bytes }),
                ], Matrix(rows, columns) { float8(codes[$0 * columns + $1]) * scales[count == 1 ? 0 : $0] }
            )
        }
    }

    /// Two FP4 codes in a byte, a scale for each group.
    static func fours(
        _ type: SafetensorsType, group: Int, _ codes: String, _ scale: String, scaleType: SafetensorsType,
        global: (name: String, value: Float, divides: Bool)? = nil
    ) -> @Sendable (Int, Int, Int) -> ([String: Tensor], Matrix) {
        { rows, columns, seed in
            let rowBytes = (columns + 1) / 2
            let bytes = noise(rows * rowBytes, seed)
            let groups = (columns + group - 1) / group
            let scales = noise(rows * groups, seed + 1).map { scaleType == .f8E4M3 ? $0 & 0x77 : 118 + $0 % 18 }
            var tensors = [
                codes: Tensor(type, [rows, rowBytes], bytes), scale: Tensor(scaleType, [rows, groups], scales),
            ]
            if let global { tensors[global.name] = Tensor(.f32, [1], global.value.bitPattern.bytes) }
            return (
                tensors,
                Matrix(rows, columns) { row, column in
                    let byte = bytes[row * rowBytes + column / 2]
                    let stored = scales[row * groups + column / group]
                    var scale = scaleType == .f8E4M3 ? float8(stored) : exp2(Float(Int(stored) - 127))
                    if let global { scale = global.divides ? scale / global.value : scale * global.value }
                    return float4(column % 2 == 0 ? byte & 15 : byte >> 4) * scale
                }
            )
        }
    }

    /// Whole numbers: what shares a scale, zero points or none, packed into words or a byte each.
    struct Integers: Sendable {
        var bits = 4
        /// A group; without it all inputs of an output, or all weights.
        var group: Int?
        var isWhole = false
        var block: (rows: Int, columns: Int)?
        var zeroPoints = false
        var packed = true
        var scaleType = SafetensorsType.bf16
        var zeroType: SafetensorsType?

        /// What the configuration says of them.
        var config: String {
            let strategy =
                block.map { #""block","block_structure":[\#($0.rows),\#($0.columns)]"# }
                ?? group.map { #""group","group_size":\#($0)"# } ?? (isWhole ? #""tensor""# : #""channel""#)
            return #"""
                {"quant_method":"compressed-tensors","format":"\#(packed ? "pack-quantized" : "int-quantized")",
                "config_groups":{"group_0":{"targets":["Linear"],"weights":{"num_bits":\#(bits),"type":"int",
                "symmetric":\#(!zeroPoints),"strategy":\#(strategy)}}}}
                """#
        }

        /// Codes to words of 32 bits, the first in the lowest bits, counted from the least code.
        func pack(_ rows: [[Int]]) -> [UInt8] {
            let perWord = 32 / bits
            return rows.flatMap { row in
                stride(from: 0, to: row.count, by: perWord).flatMap { start -> [UInt8] in
                    var word: UInt32 = 0
                    for (place, code) in row[start..<min(start + perWord, row.count)].enumerated() {
                        word |= UInt32(code + 1 << (bits - 1)) << UInt32(place * bits)
                    }
                    return word.bytes
                }
            }
        }

        func encode(_ rows: Int, _ columns: Int, _ seed: Int) -> ([String: Tensor], Matrix) {
            let half = 1 << (bits - 1)
            func numbers(_ rows: Int, _ columns: Int, _ seed: Int) -> [[Int]] {
                let bytes = noise(rows * columns, seed).map { Int($0) % (2 * half) - half }
                return (0..<rows).map { Array(bytes[$0 * columns..<($0 + 1) * columns]) }
            }
            let height = block?.rows ?? (isWhole ? rows : 1)
            let width = block?.columns ?? group ?? columns
            let (down, across) = ((rows + height - 1) / height, (columns + width - 1) / width)
            let codes = numbers(rows, columns, seed)
            let zeros = numbers(down, across, seed + 1)
            let scales = (0..<down * across).map { Float($0 % 13 + 1) * 0.25 }
            let scaleBytes = scales.flatMap {
                scaleType == .f32 ? $0.bitPattern.bytes : Array($0.bitPattern.bytes[2...])
            }
            let scaleShape = isWhole ? [1] : [down, across]
            var tensors = ["weight_scale": Tensor(scaleType, scaleShape, scaleBytes)]
            if packed {
                let words = (columns * bits + 31) / 32
                tensors["weight_packed"] = Tensor(.i32, [rows, words], pack(codes))
                tensors["weight_shape"] = Tensor(.i64, [2], [rows, columns].flatMap { UInt64($0).bytes })
            } else {
                tensors["weight"] = Tensor(
                    .i8, [rows, columns], codes.flatMap { $0.map { UInt8(truncatingIfNeeded: $0) } })
            }
            if zeroPoints {
                // Packed along the outputs, so the columns of what is stored are packed rows.
                if packed, !isWhole, block == nil {
                    let words = (down * bits + 31) / 32
                    let columnwise = (0..<across).map { column in pack([zeros.map { $0[column] }]) }
                    var bytes = [UInt8]()
                    for word in 0..<words {
                        for column in 0..<across { bytes += columnwise[column][word * 4..<word * 4 + 4] }
                    }
                    tensors["weight_zero_point"] = Tensor(.i32, [words, across], bytes)
                } else {
                    tensors["weight_zero_point"] = Tensor(
                        .i8, scaleShape, zeros.flatMap { $0.map { UInt8(truncatingIfNeeded: $0) } })
                }
            }
            return (
                tensors,
                Matrix(rows, columns) { row, column in
                    let index = row / height * across + column / width
                    let zero = zeroPoints ? zeros[row / height][column / width] : 0
                    return Float(codes[row][column] - zero) * scales[index]
                }
            )
        }

        /// The same stored form with and without what the configuration says of it.
        func coding(_ name: String) -> Coding {
            let integers = self
            return Coding(
                name: name, quantisation: config, expectedGroup: { integers.block?.columns ?? integers.group ?? $0 }
            ) { integers.encode($0, $1, $2) }
        }
    }

    static let codings: [Coding] = [
        Coding(name: "FP8 blocks", expectedGroup: { _ in 128 }, encode: blocks("weight_scale_inv", .f32)),
        Coding(name: "FP8 blocks, BF16 scales", expectedGroup: { _ in 128 }, encode: blocks("weight_scale_inv", .bf16)),
        Coding(name: "FP8 blocks, E8M0 scales", expectedGroup: { _ in 128 }, encode: blocks("scale", .f8E8M0)),
        Coding(
            name: "FP8 blocks of another size", quantisation: #"{"quant_method":"fp8","weight_block_size":[16,32]}"#,
            expectedGroup: { _ in 32 }, encode: blocks("weight_scale_inv", .f32, block: (16, 32))),
        Coding(name: "FP8 by output", expectedGroup: { $0 }, encode: channels { [$0, 1] }),
        Coding(name: "FP8 by tensor", expectedGroup: { $0 }, encode: channels { _ in [] }),
        Coding(
            name: "FP4 of DeepSeek-V4", expectedGroup: { _ in 32 },
            encode: fours(.i8, group: 32, "weight", "scale", scaleType: .f8E8M0)),
        Coding(
            name: "NVFP4 of compressed-tensors", expectedGroup: { _ in 16 },
            encode: fours(
                .u8, group: 16, "weight_packed", "weight_scale", scaleType: .f8E4M3,
                global: ("weight_global_scale", 40, true))),
        Coding(
            name: "NVFP4 of ModelOpt", expectedGroup: { _ in 16 },
            encode: fours(
                .u8, group: 16, "weight", "weight_scale", scaleType: .f8E4M3, global: ("weight_scale_2", 0.02, false))),
        Coding(name: "int4", expectedGroup: { _ in 32 }) { Integers(group: 32).encode($0, $1, $2) },
        Coding(
            name: "int4 in other groups",
            quantisation: #"{"config_groups":{"group_0":{"weights":{"num_bits":4,"group_size":16}}}}"#,
            expectedGroup: { _ in 16 }
        ) { Integers(group: 16).encode($0, $1, $2) },
        Coding(name: "int4 by output", expectedGroup: { $0 }) { Integers().encode($0, $1, $2) },
        Integers(group: 32, zeroPoints: true).coding("int4 with zero points"),
        Integers(zeroPoints: true).coding("int4 by output with zero points"),
        Integers(isWhole: true, zeroPoints: true).coding("int4 by tensor with zero points"),
        Integers(group: 32, packed: false).coding("int4, a byte each"),
        Integers(group: 32, zeroPoints: true, packed: false).coding("int4, a byte each, with zero points"),
        Integers(bits: 8).coding("int8 packed, by output"),
        Integers(bits: 8, group: 32, scaleType: .f32).coding("int8 packed, in groups"),
        Integers(bits: 8, group: 32, zeroPoints: true).coding("int8 packed, with zero points"),
        Integers(bits: 8, packed: false).coding("int8 by output"),
        Integers(bits: 8, isWhole: true, packed: false).coding("int8 by tensor"),
        Integers(bits: 8, zeroPoints: true, packed: false).coding("int8 by output, with zero points"),
        Integers(bits: 8, group: 32, zeroPoints: true, packed: false).coding("int8 in groups, with zero points"),
        Integers(bits: 8, block: (16, 32), zeroPoints: true, packed: false).coding("int8 in blocks, with zero points"),
        Coding(name: "int8 that nothing describes", expectedGroup: { _ in 32 }) {
            Integers(bits: 8, group: 32, packed: false).encode($0, $1, $2)
        },
    ]

    static func codedConfig(_ coding: Coding, width: Int, hidden: Int) -> String {
        #"""
        {"model_type":"deepseek_v3","num_hidden_layers":1,"first_k_dense_replace":0,"hidden_size":\#(hidden),
        "moe_intermediate_size":\#(width),"n_routed_experts":2,"num_experts_per_tok":1,"n_group":1,"topk_group":1,
        "quantization_config":\#(coding.quantisation)}
        """#
    }

    /// A layer with every expert and the shared one coded.
    static func codedLayer(
        _ coding: Coding, width: Int, hidden: Int
    ) -> (tensors: [String: Tensor], matrices: [WeightName: Matrix]) {
        var tensors = [
            "model.layers.0.mlp.gate.weight": Tensor([2, hidden], Matrix(2, hidden) { Float($0 + $1) }.bytes),
            "model.layers.0.mlp.gate.e_score_correction_bias": Tensor([2], Matrix(1, 2) { Float($0 + $1) }.bytes),
        ]
        var matrices: [WeightName: Matrix] = [:]
        var seed = 1
        for folder in ["experts.0", "experts.1", "shared_experts"] {
            for (projection, name) in zip([Projection.gate, .up, .down], projections) {
                seed += 2
                let (rows, columns) = projection == .down ? (hidden, width) : (width, hidden)
                let (parts, matrix) = coding.encode(rows, columns, seed)
                for (part, tensor) in parts { tensors["model.layers.0.mlp.\(folder).\(name).\(part)"] = tensor }
                matrices[
                    folder == "shared_experts"
                        ? .shared(projection) : .expert(folder == "experts.0" ? 0 : 1, projection)] = matrix
            }
        }
        return (tensors, matrices)
    }

    @Test(arguments: codings)
    func codesReadAsTheyDecode(_ coding: Coding) throws {
        // Neither is a multiple of a block, but both are even, which four-bit codes need.
        let (width, hidden) = (160, 192)
        let (tensors, matrices) = Self.codedLayer(coding, width: width, hidden: hidden)
        let scratch = try Scratch()
        let checkpoint = try Self.open(Self.codedConfig(coding, width: width, hidden: hidden), tensors, in: scratch)
        let c = try checkpoint.configuration(layer: 0)
        let source = try checkpoint.weightSource(layer: 0)
        for (name, matrix) in matrices {
            guard case .quantised(_, let group, _) = source.format(of: name) else {
                Issue.record("\(name) is \(source.format(of: name))")
                continue
            }
            #expect(group == coding.expectedGroup(matrix.columns), "\(name)")
            #expect(try source.floats(name, c) == matrix.elements, "\(name)")
            // Rows by themselves find their scales.
            for row in [0, 1, 127, 128, 129, matrix.rows - 1] where row < matrix.rows {
                let part = matrix.elements[row * matrix.columns..<(row + 1) * matrix.columns]
                #expect(try source.floats(name, rows: row..<row + 1, c) == Array(part), "\(name) \(row)")
            }
        }
        #expect(throws: MoEError.self) {
            var scales = [Float](repeating: 0, count: 1 << 16)
            try scales.withUnsafeMutableBufferPointer {
                try source.readScales(.expert(0, .gate), rows: 0..<width + 1, into: $0)
            }
        }
        #expect(throws: MoEError.self) {
            var scales: [Float] = []
            try scales.withUnsafeMutableBufferPointer {
                try source.readScales(.expert(0, .gate), rows: 0..<1, into: $0)
            }
        }
    }

    /// Any tensor of a coded layer that is missing, or of another type or shape, is named.
    @Test(arguments: codings)
    func codedTensorsThatAreWrong(_ coding: Coding) throws {
        let (width, hidden) = (160, 192)
        let config = Self.codedConfig(coding, width: width, hidden: hidden)
        let (tensors, _) = Self.codedLayer(coding, width: width, hidden: hidden)
        for name in tensors.keys.sorted() where name.contains("experts.0.gate_proj") {
            // Without it, the weight is missing or has no scales; weight_shape is a repetition.
            if !name.hasSuffix("weight_shape") {
                let scratch = try Scratch()
                let error = #expect(throws: MoEError.self) {
                    _ = try Self.open(config, tensors.filter { $0.key != name }, in: scratch).weightSource(layer: 0)
                }
                #expect("\(error!)".contains("experts.0.gate_proj."), "\(error!)")
            }
            let tensor = tensors[name]!
            let wrong = [
                Tensor(.f64, tensor.shape, [UInt8](repeating: 1, count: tensor.shape.reduce(8, *))),
                Tensor(tensor.type, [1] + tensor.shape + [3], tensor.bytes + tensor.bytes + tensor.bytes),
            ]
            for changed in wrong {
                let scratch = try Scratch()
                var copy = tensors
                copy[name] = changed
                expectCheckpointError(file: scratch["model.safetensors"], tensor: name, []) {
                    _ = try Self.open(config, copy, in: scratch).weightSource(layer: 0)
                }
            }
        }
    }

    @Test func codesThatAreNotSupported() throws {
        let coding = Self.codings.first { $0.name == "int4" }!
        let (tensors, _) = Self.codedLayer(coding, width: 160, hidden: 192)
        let stem = "model.layers.0.mlp.experts.1.up_proj."
        func refuse(_ tensor: String, _ value: Tensor?, quantisation: String = "{}", fragments: [String]) throws {
            var copy = tensors
            copy[stem + tensor] = value ?? copy[stem + tensor]
            var coding = coding
            coding.quantisation = quantisation
            let scratch = try Scratch()
            let config = Self.codedConfig(coding, width: 160, hidden: 192)
            expectCheckpointError(
                file: scratch["model.safetensors"],
                tensor: value == nil ? "model.layers.0.mlp.experts.0.gate_proj.\(tensor)" : stem + tensor, fragments
            ) { _ = try Self.open(config, copy, in: scratch).weightSource(layer: 0) }
        }
        try refuse("weight_g_idx", Tensor(.i32, [1], [0, 0, 0, 0]), fragments: ["reordered"])
        try refuse(
            "weight_shape", Tensor(.i64, [2], [160, 191].flatMap { UInt64($0).bytes }), fragments: ["says [160, 191]"])
        try refuse(
            "weight_packed", nil, quantisation: #"{"config_groups":{"g":{"weights":{"num_bits":8}}}}"#,
            fragments: ["holds codes of 4 bits", "codes of 8 bits"])
        try refuse(
            "weight_packed", nil, quantisation: #"{"config_groups":{"g":{"weights":{"type":"float","num_bits":8}}}}"#,
            fragments: ["holds whole numbers", "floats of 8 bits"])
        func described(_ weights: String) -> String {
            #"{"config_groups":{"g":{"weights":{"num_bits":4,\#(weights)}}}}"#
        }
        try refuse(
            "weight_scale", nil, quantisation: described(#""group_size":48"#),
            fragments: ["has shape [160, 6]", "a scale for each 48", "[160, 4]"])
        try refuse(
            "weight_scale", nil, quantisation: described(#""group_size":80"#),
            fragments: ["groups of 80 inputs", "a divisor of the 192"])
        try refuse(
            "weight_scale", nil, quantisation: described(#""strategy":"channel""#),
            fragments: ["a scale for each output", "[160, 1]"])
        try refuse(
            "weight_scale", nil, quantisation: described(#""strategy":"block","block_structure":[16,16]"#),
            fragments: ["blocks of 16 × 16", "[10, 12]"])
        try refuse(
            "weight_scale", Tensor(.bf16, [160, 7], [UInt8](repeating: 1, count: 2240)), fragments: ["[160, 7]"])
        try refuse(
            "weight_scale", Tensor(.f8E8M0, [160, 6], [UInt8](repeating: 1, count: 960)),
            fragments: ["F8_E8M0", "F32, BF16 or F16"])
        try refuse(
            "weight_packed", Tensor(.i32, [160, 25], [UInt8](repeating: 1, count: 16_000)),
            fragments: ["[160, 25]", "[160, 24]", "[160, 48]"])
        let zeros = [UInt8](repeating: 0, count: 480)
        try refuse(
            "weight_zero_point", Tensor(.i32, [20, 6], zeros), quantisation: described(#""group_size":32"#),
            fragments: ["symmetric"])
        try refuse("weight_zero_point", Tensor(.i32, [6, 20], zeros), fragments: ["[6, 20]", "[20, 6]"])
        try refuse("weight_zero_point", Tensor(.i8, [20, 24], zeros), fragments: ["I8", "expected I32"])

        // Zero points that are called for.
        var scratch = try Scratch()
        var asymmetric = coding
        asymmetric.quantisation = described(#""group_size":32,"symmetric":false"#)
        expectCheckpointError(
            file: scratch["model.safetensors"], tensor: "model.layers.0.mlp.experts.0.gate_proj.weight_zero_point",
            ["is missing"]
        ) {
            _ = try Self.open(Self.codedConfig(asymmetric, width: 160, hidden: 192), tensors, in: scratch)
                .weightSource(layer: 0)
        }
        // A layer that is said to be left alone.
        scratch = try Scratch()
        var ignoring = coding
        ignoring.quantisation =
            #"{"quant_method":"compressed-tensors","ignore":["lm_head","model.layers.0.mlp.experts.1.down_proj"]}"#
        expectCheckpointError(
            file: scratch["model.safetensors"], tensor: "model.layers.0.mlp.experts.1.down_proj.weight_packed",
            ["ignore"]
        ) {
            _ = try Self.open(Self.codedConfig(ignoring, width: 160, hidden: 192), tensors, in: scratch)
                .weightSource(layer: 0)
        }

        var gptq = tensors.filter { !$0.key.contains("experts.0.gate_proj") }
        gptq["model.layers.0.mlp.experts.0.gate_proj.qweight"] = Tensor(.i32, [1], [0, 0, 0, 0])
        scratch = try Scratch()
        expectCheckpointError(
            file: scratch["model.safetensors"], tensor: "model.layers.0.mlp.experts.0.gate_proj.qweight", ["GPTQ"]
        ) {
            _ = try Self.open(Self.codedConfig(coding, width: 160, hidden: 192), gptq, in: scratch).weightSource(
                layer: 0)
        }
    }

    /// What config.json says of the quantisation is checked before any tensor is.
    @Test(arguments: [
        (#"{"quant_method":"compressed-tensors","format":"zip-quantized"}"#, ["format", "zip-quantized"]),
        (#"{"quant_method":"compressed-tensors","format":"marlin-24"}"#, ["format", "marlin-24"]),
        (
            #"{"config_groups":{"a":{"format":"mxfp8-quantized","weights":{"num_bits":8,"type":"float"}}}}"#,
            ["config_groups.a.format", "mxfp8"]
        ),
        (#"{"config_groups":{"a":{"weights":{"num_bits":3}}}}"#, ["config_groups.a.weights.num_bits", "is 3"]),
        (#"{"config_groups":{"a":{"weights":{"num_bits":"4"}}}}"#, ["config_groups.a.weights.num_bits", "\"4\""]),
        (#"{"config_groups":{"a":{"weights":{"type":"complex"}}}}"#, ["config_groups.a.weights.type", "complex"]),
        (#"{"config_groups":{"a":{"weights":{"symmetric":1}}}}"#, ["config_groups.a.weights.symmetric"]),
        (#"{"config_groups":{"a":{"weights":{"type":"float","symmetric":false}}}}"#, ["symmetric", "floats"]),
        (#"{"config_groups":{"a":{"weights":{"group_size":0}}}}"#, ["config_groups.a.weights.group_size", "is 0"]),
        (#"{"config_groups":{"a":{"weights":{"group_size":-2}}}}"#, ["group_size", "is -2"]),
        (#"{"config_groups":{"a":{"weights":{"strategy":"group"}}}}"#, ["group_size", "null"]),
        (#"{"config_groups":{"a":{"weights":{"strategy":"block","block_structure":[0,4]}}}}"#, ["block_structure"]),
        (#"{"config_groups":{"a":{"weights":{"strategy":"row"}}}}"#, ["config_groups.a.weights.strategy", "row"]),
        (#"{"quant_method":"compressed-tensors","transform_config":{"config_groups":{}}}"#, ["transform_config"]),
    ])
    func configurationsOfCodesThatAreRefused(_ quantisation: String, _ fragments: [String]) throws {
        var coding = Self.codings.first { $0.name == "int4" }!
        coding.quantisation = quantisation
        let scratch = try Scratch()
        let (tensors, _) = Self.codedLayer(coding, width: 160, hidden: 192)
        expectCheckpointError(file: scratch["config.json"], fragments) {
            _ = try Self.open(Self.codedConfig(coding, width: 160, hidden: 192), tensors, in: scratch)
        }
    }

    /// Scales, zero points and codes that cannot be, by tensor and row, when a layer is made.
    @Test(arguments: [
        ("weight_scale", 5 * 6 + 2, Float(0).bitPattern, "[5, 2] is 0.0; expected a positive number"),
        ("weight_scale", 5 * 6 + 2, Float(-1).bitPattern, "[5, 2] is -1.0; expected a positive number"),
        ("weight_scale", 159 * 6, Float.nan.bitPattern, "[159, 0] is not finite"),
        ("weight_scale", 159 * 6 + 5, Float.infinity.bitPattern, "[159, 5] is not finite"),
        ("weight_zero_point", 7 * 6 + 1, 8, "the zero point at [7, 1] is 8; expected -8 to 7"),
        ("weight_zero_point", 100 * 6 + 1, 247, "the zero point at [100, 1] is -9; expected -8 to 7"),
        ("weight", 31 * 192 + 4, 8, "the code at [31, 4] is 8; expected -8 to 7"),
    ])
    func numbersThatCannotBe(_ part: String, _ index: Int, _ bits: UInt32, _ fragment: String) throws {
        let coding = Integers(group: 32, zeroPoints: true, packed: false, scaleType: .f32).coding("int4")
        var (tensors, _) = Self.codedLayer(coding, width: 160, hidden: 192)
        let name = "model.layers.0.mlp.experts.1.up_proj." + part
        let tensor = tensors[name]!
        var bytes = tensor.bytes
        let size = part == "weight_scale" ? 4 : 1
        bytes.replaceSubrange(index * size..<(index + 1) * size, with: bits.bytes.prefix(size))
        tensors[name] = Tensor(tensor.type, tensor.shape, bytes)
        let scratch = try Scratch()
        let checkpoint = try Self.open(Self.codedConfig(coding, width: 160, hidden: 192), tensors, in: scratch)
        let error = #expect(throws: MoEError.self) { _ = try checkpoint.layer(0, pool: ThreadPool(threads: 2)) }
        #expect("\(error!)".contains(fragment) && "\(error!)".contains("experts.1.up_proj.weight"), "\(error!)")
    }

    /// gpt-oss's MXFP4: alternating rows of outputs.
    @Test func microscaledRowsAlternate() throws {
        let (e, f, h) = (2, 32, 64)
        let encode = Self.fours(.u8, group: 32, "codes", "scales", scaleType: .u8)
        let (gateUp, gateUpMatrix) = encode(e * 2 * f, h, 3)
        let (down, downMatrix) = encode(e * h, f, 5)
        let zeros = { (count: Int) in [UInt8](repeating: 0, count: count * 4) }
        let folder = "model.layers.0.mlp."
        let tensors: [String: Tensor] = [
            folder + "router.weight": Tensor([e, h], zeros(e * h)), folder + "router.bias": Tensor([e], zeros(e)),
            folder + "experts.gate_up_proj_blocks": Tensor(.u8, [e, 2 * f, h / 32, 16], gateUp["codes"]!.bytes),
            folder + "experts.gate_up_proj_scales": Tensor(.u8, [e, 2 * f, h / 32], gateUp["scales"]!.bytes),
            folder + "experts.down_proj_blocks": Tensor(.u8, [e, h, f / 32, 16], down["codes"]!.bytes),
            folder + "experts.down_proj_scales": Tensor(.u8, [e, h, f / 32], down["scales"]!.bytes),
            folder + "experts.gate_up_proj_bias": Tensor([e, 2 * f], zeros(e * 2 * f)),
            folder + "experts.down_proj_bias": Tensor([e, h], zeros(e * h)),
        ]
        let config = #"""
            {"model_type":"gpt_oss","num_hidden_layers":1,"hidden_size":\#(h),"intermediate_size":\#(f),
            "num_local_experts":\#(e),"num_experts_per_tok":1}
            """#
        let scratch = try Scratch()
        let checkpoint = try Self.open(config, tensors, in: scratch)
        let c = try checkpoint.configuration(layer: 0)
        let source = try checkpoint.weightSource(layer: 0)
        for expert in 0..<e {
            for (offset, projection) in [Projection.gate, .up].enumerated() {
                try Self.check(
                    source, .expert(expert, projection), c,
                    Matrix(f, h) { gateUpMatrix[expert * 2 * f + 2 * $0 + offset, $1] })
            }
            try Self.check(source, .expert(expert, .down), c, Matrix(h, f) { downMatrix[expert * h + $0, $1] })
        }
        for name in tensors.keys where name.contains("_proj_") {
            let scratch = try Scratch()
            let error = #expect(throws: MoEError.self) {
                _ = try Self.open(config, tensors.filter { $0.key != name }, in: scratch).weightSource(layer: 0)
            }
            #expect("\(error!)".contains("is missing"), "\(error!)")
        }
    }

    /// Merged FP8 experts, with blocks that end with the gate or run on into up.
    @Test(arguments: [(160, true), (160, false), (128, true)])
    func mergedFloat8(_ width: Int, _ ownBlocks: Bool) throws {
        let (e, h) = (2, 130)
        let (blocksPart, blocksWhole) = ((width + 127) / 128, (2 * width + 127) / 128)
        let blockRows = ownBlocks ? 2 * blocksPart : blocksWhole
        let codes = Self.noise(e * 2 * width * h, 3).map { $0 & 0x7f == 0x7f ? 0 : $0 }
        let downCodes = Self.noise(e * h * width, 4).map { $0 & 0x7f == 0x7f ? 0 : $0 }
        let across = (h + 127) / 128
        let scales = (0..<e * blockRows * across).map { Float($0 + 1) * 0.5 }
        let folder = "model.layers.0.mlp."
        let tensors: [String: Tensor] = [
            folder + "gate.weight": Tensor([e, h], [UInt8](repeating: 0, count: e * h * 4)),
            folder + "experts.gate_up_proj": Tensor(.f8E4M3, [e, 2 * width, h], codes),
            folder + "experts.gate_up_proj_scale_inv": Tensor(
                .f32, [e, blockRows, across], scales.flatMap { $0.bitPattern.bytes }),
            folder + "experts.down_proj": Tensor(.f8E4M3, [e, h, width], downCodes),
            // One scale an expert.
            folder + "experts.down_proj_scale": Tensor(.f32, [e], [Float(3), 5].flatMap { $0.bitPattern.bytes }),
        ]
        let config = #"""
            {"model_type":"qwen3_moe","num_hidden_layers":1,"hidden_size":\#(h),"moe_intermediate_size":\#(width),
            "num_experts":\#(e),"num_experts_per_tok":1}
            """#
        let scratch = try Scratch()
        let checkpoint = try Self.open(config, tensors, in: scratch)
        let c = try checkpoint.configuration(layer: 0)
        let source = try checkpoint.weightSource(layer: 0)
        for expert in 0..<e {
            for (part, projection) in [Projection.gate, .up].enumerated() {
                let expected = Matrix(width, h) { row, column in
                    let output = part * width + row
                    let blockRow = ownBlocks ? part * blocksPart + row / 128 : output / 128
                    return Self.float8(codes[(expert * 2 * width + output) * h + column])
                        * scales[(expert * blockRows + blockRow) * across + column / 128]
                }
                #expect(try source.floats(.expert(expert, projection), c) == expected.elements)
                #expect(
                    try source.floats(.expert(expert, projection), rows: 100..<width, c)
                        == Array(expected.elements[(100 * h)...]))
            }
            let down = Matrix(h, width) {
                Self.float8(downCodes[(expert * h + $0) * width + $1]) * [3, 5][expert]
            }
            #expect(try source.floats(.expert(expert, .down), c) == down.elements)
        }
    }

    // MARK: Vectors and tables

    @Test func tablesAreChecked() throws {
        func layer(_ table: Tensor) throws -> any WeightSource {
            let h = 4
            func zeros(_ shape: Int...) -> Tensor {
                Tensor(shape, [UInt8](repeating: 0, count: shape.reduce(4, *)))
            }
            var tensors = ["layers.0.ffn.gate.weight": zeros(3, h), "layers.0.ffn.gate.tid2eid": table]
            for folder in ["experts.0", "experts.1", "experts.2", "shared_experts"] {
                for name in ["w1", "w3"] { tensors["layers.0.ffn.\(folder).\(name).weight"] = zeros(2, h) }
                tensors["layers.0.ffn.\(folder).w2.weight"] = zeros(h, 2)
            }
            let config = #"""
                {"model_type":"deepseek_v4","num_hidden_layers":1,"hidden_size":4,"moe_intermediate_size":2,
                "n_routed_experts":3,"num_experts_per_tok":2,"vocab_size":3}
                """#
            let scratch = try Scratch()
            return try Self.open(config, tensors, in: scratch).weightSource(layer: 0)
        }
        func indices(_ source: any WeightSource, room: Int = 6) throws -> [Int32] {
            var found = [Int32](repeating: -9, count: room)
            try found.withUnsafeMutableBufferPointer { try source.readIndices(.expertTable, into: $0) }
            return found
        }
        let numbers: [Int64] = [0, 1, 2, 0, 1, 2]
        let bytes = { (numbers: [Int64]) in numbers.flatMap { UInt64(bitPattern: $0).bytes } }
        #expect(try indices(layer(Tensor(.i64, [3, 2], bytes(numbers)))) == numbers.map(Int32.init))
        #expect(
            try indices(layer(Tensor(.i32, [3, 2], numbers.flatMap { UInt32($0).bytes }))) == numbers.map(Int32.init))
        #expect(throws: MoEError.self) { try indices(layer(Tensor(.i64, [3, 2], bytes(numbers))), room: 5) }
        for wrong in [3, -1, Int64.max] {
            let error = #expect(throws: MoEError.self) {
                try indices(layer(Tensor(.i64, [3, 2], bytes([0, 1, 2, wrong, 1, 2]))))
            }
            #expect("\(error!)".contains("token 1 is sent to expert \(wrong); expected 0 to 2"), "\(error!)")
        }
        for (tensor, fragment) in [
            (Tensor(.i64, [2, 3], bytes(numbers)), "has shape [2, 3]"),
            (Tensor(.f32, [3, 2], bytes([0, 1, 2])), "stored as F32"),
        ] {
            let error = #expect(throws: MoEError.self) { try layer(tensor) }
            #expect("\(error!)".contains(fragment) && "\(error!)".contains("tid2eid"), "\(error!)")
        }
    }
}

extension FixedWidthInteger {
    /// Lowest first, as files have them.
    var bytes: [UInt8] { (0..<Self.bitWidth / 8).map { UInt8(truncatingIfNeeded: self >> ($0 * 8)) } }
}
