import CUDAKernelHost
import Testing

/// The generator of random weights, run on the CPU, against the formula written once more.
@Suite struct GenerateTests {
    struct Shape: CustomTestStringConvertible {
        var outputs: Int
        var inputs: Int
        var gated: Bool

        var depth: Int { (inputs + 7) / 8 * 8 }
        var rows: Int { (outputs + 7) / 8 * 8 * (gated ? 2 : 1) }
        var testDescription: String { "\(outputs) × \(inputs)\(gated ? ", gated" : "")" }
    }

    static let shapes = [
        Shape(outputs: 1, inputs: 1, gated: false), Shape(outputs: 13, inputs: 300, gated: false),
        Shape(outputs: 24, inputs: 64, gated: true), Shape(outputs: 21, inputs: 70, gated: true),
    ]

    struct Case {
        let shape: Shape
        let type: Element
        let keys: [UInt64] = [0x0123_4567_89AB_CDEF, 0xFFFF_FFFF_0000_0001]
        let scale = Float(0.3) * 0x1p-31

        func run(mistake: String = "", blocks: UInt32 = 3) throws -> [UInt8] {
            let target = DeviceArray([UInt8](repeating: 0xFF, count: shape.rows * shape.depth * type.size))
            var p = mc_generate_parameters()
            p.destination = UnsafeMutableRawPointer(target.start)
            p.keys = (keys[0], keys[1])
            p.rows = Int32(shape.rows)
            p.depth = Int32(shape.depth)
            p.outputs = Int32(shape.outputs)
            p.inputs = Int32(shape.inputs)
            p.gated = shape.gated ? 1 : 0
            p.scale = scale
            try launch { ck_generate("generate_\(type)" + mistake, &p, blocks, 5, $0, $1) }
            return target.elements
        }

        var expected: [UInt8] {
            type.bytes(
                (0..<shape.rows).flatMap { row in
                    // Eight rows of the gate, eight of up, and so on.
                    let (group, place) = (row / 8, row % 8)
                    let source = shape.gated ? group / 2 * 8 + place : row
                    let key = Self.mixed(keys[shape.gated ? group % 2 : 0] &+ UInt64(source))
                    return (0..<shape.depth).map { column in
                        source < shape.outputs && column < shape.inputs ? Self.number(key, column) * scale : 0
                    }
                })
        }

        private static func mixed(_ value: UInt64) -> UInt64 {
            var z = value &+ 0x9E37_79B9_7F4A_7C15
            z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
            return z ^ z >> 31
        }

        private static func number(_ key: UInt64, _ column: Int) -> Float {
            var hash = UInt32(column) &* 0x9E37_79B9 &+ UInt32(truncatingIfNeeded: key)
            hash ^= hash >> 16
            hash = hash &* 0x7FEB_352D
            hash ^= hash >> 15 ^ UInt32(truncatingIfNeeded: key >> 32)
            hash = hash &* 0x846C_A68B
            hash ^= hash >> 16
            return Float(Int32(bitPattern: hash))
        }
    }

    @Test(arguments: shapes, Element.allCases) func makesTheHostsNumbers(_ shape: Shape, _ type: Element) throws {
        let test = Case(shape: shape, type: type)
        #expect(try test.run() == test.expected)
    }

    @Test func theGridChangesNothing() throws {
        let test = Case(shape: Self.shapes[3], type: .bf16)
        #expect(try test.run(blocks: 1) == test.run(blocks: 100))
    }

    @Test(arguments: ["wrong_groups", "no_padding", "drops_the_scale", "truncates"])
    func wrongNumbersAreNoticed(_ mistake: String) throws {
        let test = Case(shape: Self.shapes[3], type: .bf16)
        #expect(try test.run(mistake: "+" + mistake) != test.expected)
    }

    @Test func accessesOutOfBoundsAreReported() {
        let test = Case(shape: Self.shapes[2], type: .bf16)
        let failure = #expect(throws: KernelFailure.self) { try test.run(mistake: "+off_by_one") }
        #expect(failure?.description.contains("of destination") == true)
    }
}
