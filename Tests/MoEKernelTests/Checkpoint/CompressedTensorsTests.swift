import Foundation
import Testing

@testable import MoEKernel

/// Small checkpoints that the compressed-tensors library wrote read as it decodes them.
@Suite
struct CompressedTensorsTests {
    static let folder =
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .path + "/Fixtures/compressed-tensors/"

    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let code: WeightCode
        /// Nil for all inputs of an output.
        let group: Int?
        let zeroPoints: Bool
        var testDescription: String { name }
    }

    static let cases = [
        Case(name: "int4-group", code: .int4, group: 12, zeroPoints: false),
        Case(name: "int4-group-zero", code: .int4, group: 12, zeroPoints: true),
        Case(name: "int4-channel-zero", code: .int4, group: nil, zeroPoints: true),
        Case(name: "int4-wide-group-zero", code: .int4, group: 12, zeroPoints: true),
        Case(name: "int8-packed-channel", code: .int8, group: nil, zeroPoints: false),
        Case(name: "int8-packed-group-zero", code: .int8, group: 12, zeroPoints: true),
        Case(name: "int8-channel", code: .int8, group: nil, zeroPoints: false),
        Case(name: "int8-group-zero", code: .int8, group: 12, zeroPoints: true),
    ]

    @Test func everyCaseIsRead() throws {
        let found = try FileManager.default.contentsOfDirectory(atPath: Self.folder)
        #expect(Set(found) == Set(Self.cases.map(\.name)))
    }

    @Test(arguments: cases)
    func readsAsTheLibraryDecodes(_ test: Case) throws {
        let checkpoint = try MoECheckpoint(at: Self.folder + test.name)
        let c = try checkpoint.configuration(layer: 0)
        let source = try checkpoint.weightSource(layer: 0)
        let expected = try SafetensorsFile(at: Self.folder + test.name + "/expected.safetensors")
        for expert in 0..<c.experts {
            for projection in Projection.allCases {
                let name = WeightName.expert(expert, projection)
                let (rows, columns) = c.shape(of: name)
                #expect(
                    source.format(of: name)
                        == .quantised(test.code, group: test.group ?? columns, zeroPoints: test.zeroPoints))
                let values = try expected.activations("\(expert).\(projection)").elements
                #expect(try source.floats(name, c) == values, "\(name)")
                for first in [1, 7, rows - 5] {
                    let part = Array(values[first * columns..<(first + 5) * columns])
                    #expect(try source.floats(name, rows: first..<first + 5, c) == part, "\(name) from \(first)")
                }
            }
        }
        // And a layer runs on them: bitwise as on the numbers that they stand for.
        let x = try Tensor<Float>.random([5, c.hidden], seed: 3)
        let pool = try ThreadPool(threads: 2)
        let expanded = MoEWeights(ExpandedWeights(source: source, configuration: c))
        #expect(
            try checkpoint.layer(0, pool: pool).forward(x).y == MoELayer(c, weights: expanded, pool: pool).forward(x).y)
    }

    /// Words worked out by hand: -8 … -1 are the digits 0 … 7, the first lowest; a row of ten codes takes two words; zero points of
    /// nine outputs take two words, one below the other.
    @Test func wordsByHand() throws {
        let (rows, columns) = (9, 10)
        // Row r holds -8 … -1, then r - 8 and 7.
        let codes = (0..<rows).flatMap { row in UInt32(0x7654_3210).bytes + UInt32(0xf0 | row).bytes }
        // Outputs 0 … 7 have the zero points 7 … 0, output 8 has -8.
        let zeros = UInt32(0x89ab_cdef).bytes + UInt32(0).bytes
        let stem = "model.layers.0.mlp.experts.0."
        func plain(_ shape: [Int]) -> StorageTests.Tensor {
            .init(shape, [UInt8](repeating: 0, count: shape.reduce(4, *)))
        }
        let tensors: [String: StorageTests.Tensor] = [
            "model.layers.0.mlp.gate.weight": plain([1, columns]),
            stem + "gate_proj.weight_packed": .init(.i32, [rows, 2], codes),
            stem + "gate_proj.weight_scale": .init(
                .f32, [rows, 1], (0..<rows).flatMap { Float($0 + 1).bitPattern.bytes }),
            stem + "gate_proj.weight_zero_point": .init(.i32, [2, 1], zeros),
            stem + "up_proj.weight": plain([rows, columns]), stem + "down_proj.weight": plain([columns, rows]),
        ]
        let scratch = try Scratch()
        let checkpoint = try StorageTests.open(
            #"""
            {"model_type":"qwen3_moe","num_hidden_layers":1,"hidden_size":10,"moe_intermediate_size":9,"num_experts":1,
            "num_experts_per_tok":1}
            """#, tensors, in: scratch)
        let found = try checkpoint.weightSource(layer: 0)
            .floats(.expert(0, .gate), checkpoint.configuration(layer: 0))
        for row in 0..<rows {
            let zero = row < 8 ? 7 - row : -8
            let codes = [-8, -7, -6, -5, -4, -3, -2, -1, row - 8, 7]
            #expect(
                Array(found[row * columns..<(row + 1) * columns]) == codes.map { Float(($0 - zero) * (row + 1)) },
                "row \(row)")
        }
    }
}
