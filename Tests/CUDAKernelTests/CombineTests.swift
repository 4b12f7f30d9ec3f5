import CUDAKernelHost
import Testing

/// The combine kernel's source, run on the CPU, against a loop in Double.
@Suite struct CombineTests {
    struct Shape: CustomTestStringConvertible {
        var tokens: Int
        var slots: Int
        var width: Int
        var shared: Bool = false
        var scaled: Bool = false
        /// Neither weights nor rows of slots: all weigh 1, in order.
        var bare = false
        /// A bias, and factors other than 1.
        var biased = false
        /// Elements by which every tensor of `width` columns is off a multiple of 256 bytes.
        var offset = 0

        var testDescription: String {
            "T \(tokens), k \(slots), H \(width)\(shared ? ", shared" : "")\(scaled ? ", scaled" : "")"
                + (bare ? ", bare" : "") + (biased ? ", biased" : "") + (offset > 0 ? ", unaligned" : "")
        }
    }

    static let shapes = [
        Shape(tokens: 0, slots: 2, width: 64),
        Shape(tokens: 1, slots: 1, width: 8),
        Shape(tokens: 1, slots: 8, width: 2048, shared: true),
        Shape(tokens: 3, slots: 2, width: 1, shared: true, scaled: true),
        Shape(tokens: 5, slots: 3, width: 20),
        Shape(tokens: 7, slots: 4, width: 64, shared: true, scaled: true),
        Shape(tokens: 16, slots: 5, width: 72, offset: 1),
        Shape(tokens: 33, slots: 6, width: 100, shared: true),
        Shape(tokens: 64, slots: 7, width: 40, scaled: true),
        Shape(tokens: 300, slots: 8, width: 56, shared: true, scaled: true),
        Shape(tokens: 300, slots: 2, width: 9),
        Shape(tokens: 9, slots: 1, width: 64, shared: true, scaled: true, bare: true, biased: true),
        Shape(tokens: 12, slots: 3, width: 21, bare: true),
        Shape(tokens: 20, slots: 2, width: 48, shared: true, biased: true),
    ]
    static let kinds: [(rows: Element, output: Element)] = [
        (.fp32, .fp32), (.fp32, .bf16), (.fp32, .fp16), (.bf16, .fp32), (.bf16, .bf16), (.fp16, .fp32), (.fp16, .fp16),
    ]

    struct Case {
        let shape: Shape
        let rows: Element
        let output: Element
        let rowCount: Int
        let rowBytes: DeviceArray<UInt8>
        let sharedBytes: DeviceArray<UInt8>
        let weights: DeviceArray<Float>
        let rowOf: DeviceArray<Int32>
        let scales: DeviceArray<Float>
        let bias: DeviceArray<Float>
        var rowFactor: Float { shape.biased ? 0.8 : 1 }
        var outputFactor: Float { shape.biased ? 0.5 : 1 }

        init(_ shape: Shape, rows: Element, output: Element) {
            (self.shape, self.rows, self.output) = (shape, rows, output)
            var generator = Generator(state: UInt64(shape.tokens * 1000 + shape.width * 10 + shape.slots))
            func random(_ count: Int) -> [Float] {
                (0..<count).map { _ in Float.random(in: -1...1, using: &generator) }
            }
            let pairs = shape.tokens * shape.slots
            // Rows in the order of experts: any permutation of the pairs. About one pair in seven is dropped.
            rowCount = pairs
            let permutation = shape.bare ? Array(0..<Int32(pairs)) : (0..<Int32(pairs)).shuffled(using: &generator)
            let dropped = (0..<pairs).map { _ in !shape.bare && Int.random(in: 0..<7, using: &generator) == 0 }
            rowOf = DeviceArray(zip(permutation, dropped).map { $1 ? -1 : $0 })
            // Nothing may come from the weight of a dropped pair or from a row that nobody asks for.
            weights = DeviceArray(zip(random(pairs), dropped).map { $1 ? .nan : shape.bare ? 1 : $0 })
            var rowValues = random(pairs * shape.width)
            for (row, isDropped) in zip(permutation, dropped) where isDropped {
                for column in 0..<shape.width { rowValues[Int(row) * shape.width + column] = .nan }
            }
            rowBytes = DeviceArray(rows.bytes(rowValues), offset: shape.offset * rows.size)
            sharedBytes = DeviceArray(rows.bytes(random(shape.tokens * shape.width)), offset: shape.offset * rows.size)
            scales = DeviceArray(random(shape.tokens))
            bias = DeviceArray(random(shape.width))
        }

        /// Runs the kernel into poisoned memory.
        func run(seed: UInt64, blocks: UInt32 = 3, mistake: String = "", rowsGiven: Int? = nil) throws -> [UInt8] {
            let bytes = shape.tokens * shape.width * output.size
            let result = DeviceArray([UInt8](repeating: 0xFF, count: bytes), offset: shape.offset * output.size)
            var parameters = mc_combine_parameters()
            parameters.rows = UnsafeRawPointer(rowBytes.start)
            parameters.weights = shape.bare ? nil : UnsafePointer(weights.start)
            parameters.row_of = shape.bare ? nil : UnsafePointer(rowOf.start)
            parameters.bias = shape.biased ? UnsafePointer(bias.start) : nil
            parameters.row_factor = rowFactor
            parameters.output_factor = outputFactor
            parameters.shared = shape.shared ? UnsafeRawPointer(sharedBytes.start) : nil
            parameters.shared_scale = shape.scaled ? UnsafePointer(scales.start) : nil
            parameters.output = UnsafeMutableRawPointer(result.start)
            parameters.tokens = Int32(shape.tokens)
            parameters.slots = Int32(shape.slots)
            parameters.width = Int32(shape.width)
            let name = "combine_\(rows)_\(output)" + mistake
            try launch { ck_combine(name, &parameters, rowsGiven ?? rowCount, blocks, seed, $0, $1) }
            return result.elements
        }

        /// The largest error of `result`, in units of what the sums in fp32 and one rounding may cost.
        func error(_ result: [UInt8]) -> Double {
            let rowValues = rows.values(rowBytes.elements)
            let sharedValues = rows.values(sharedBytes.elements)
            let resultValues = output.values(result)
            let (rowOf, weights, scales) = (rowOf.elements, weights.elements, scales.elements)
            let bias = bias.elements
            var worst = 0.0
            for token in 0..<shape.tokens {
                for column in 0..<shape.width {
                    var sum = 0.0
                    var magnitude = 0.0
                    for slot in 0..<shape.slots {
                        let row = rowOf[token * shape.slots + slot]
                        guard row >= 0 else { continue }
                        let term =
                            Double(weights[token * shape.slots + slot]) * Double(rowFactor)
                            * Double(rowValues[Int(row) * shape.width + column])
                        sum += term
                        magnitude += abs(term)
                    }
                    if shape.shared {
                        let scale = shape.scaled ? Double(scales[token]) : 1
                        let term = scale * Double(sharedValues[token * shape.width + column])
                        sum += term
                        magnitude += abs(term)
                    }
                    if shape.biased {
                        sum += Double(bias[column])
                        magnitude += abs(Double(bias[column]))
                    }
                    sum *= Double(outputFactor)
                    magnitude *= Double(outputFactor)
                    // Each addition rounds, and a weight's factor, the bias and the last factor do once more.
                    let allowed =
                        magnitude * Double(shape.slots + 1 + (shape.biased ? 3 : 0)) * 0x1p-24 + abs(sum)
                        * output.unitRoundoff + 0x1p-25
                    let error = abs(Double(resultValues[token * shape.width + column]) - sum) / allowed
                    worst = error.isNaN ? .infinity : max(worst, error)
                }
            }
            return worst
        }
    }

    @Test(arguments: shapes)
    func agreesWithALoopInDouble(_ shape: Shape) throws {
        for kind in Self.kinds {
            let test = Case(shape, rows: kind.rows, output: kind.output)
            #expect(test.error(try test.run(seed: 1)) <= 1.01, "rows \(kind.rows), output \(kind.output)")
        }
    }

    @Test func doesNotDependOnTheScheduleOrTheGrid() throws {
        let test = Case(Shape(tokens: 19, slots: 5, width: 24, shared: true), rows: .fp32, output: .bf16)
        let first = try test.run(seed: 0)
        for seed in 1...8 as ClosedRange<UInt64> {
            #expect(try test.run(seed: seed, blocks: UInt32(seed)) == first)
        }
    }

    @Test func noticesWeightsThatAreDropped() throws {
        let test = Case(Self.shapes[5], rows: .fp32, output: .fp32)
        #expect(test.error(try test.run(seed: 2, mistake: "+drops_weights")) > 100)
    }

    @Test func noticesReadsPastTheEnd() throws {
        let test = Case(Shape(tokens: 4, slots: 2, width: 8), rows: .bf16, output: .fp32)
        let failure = #expect(throws: KernelFailure.self) { try test.run(seed: 3, mistake: "+reads_past_the_end") }
        #expect(failure?.description.contains("of rows") == true)
        #expect(failure?.description.contains("rows.cuh") == true)
    }

    @Test func noticesARowThatDoesNotExist() throws {
        // Each row is used once, and here nothing is dropped, so the last one is missed.
        let test = Case(Shape(tokens: 2, slots: 1, width: 16), rows: .fp32, output: .fp32)
        guard test.rowOf.elements.contains(1) else { return #expect(Bool(false), "the case drops its last row") }
        let failure = #expect(throws: KernelFailure.self) { try test.run(seed: 4, rowsGiven: 1) }
        #expect(failure?.description.contains("of rows") == true)
    }
}
