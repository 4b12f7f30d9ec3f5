import CUDAKernelHost
import Testing

/// The router's matrix product, run on the CPU, against a sum in Double.
@Suite struct RouterLogitsTests {
    struct Shape: CustomTestStringConvertible {
        var rows: Int32
        var columns: Int32
        var tokens: Int
        var outputs: Int
        var depth: Int
        var splits = 1
        var biased = true

        var testDescription: String {
            "tile \(rows)x\(columns), T \(tokens), E \(outputs), H \(depth), \(splits) parts"
        }
    }

    /// Edges of tiles, of slices of 128 bytes and of 16 bytes in them; an odd number of outputs; several parts.
    static let shapes = [
        Shape(rows: 16, columns: 64, tokens: 1, outputs: 8, depth: 8),
        Shape(rows: 16, columns: 64, tokens: 17, outputs: 65, depth: 200, biased: false),
        Shape(rows: 16, columns: 64, tokens: 3, outputs: 71, depth: 520, splits: 3),
        Shape(rows: 64, columns: 64, tokens: 65, outputs: 63, depth: 136),
        Shape(rows: 64, columns: 64, tokens: 70, outputs: 13, depth: 320, splits: 5),
        Shape(rows: 128, columns: 128, tokens: 129, outputs: 130, depth: 72),
    ]

    struct Case {
        let shape: Shape
        let type: Element
        let x: DeviceArray<UInt8>
        let weights: DeviceArray<UInt8>
        let bias: DeviceArray<Float>

        init(_ shape: Shape, _ type: Element) {
            (self.shape, self.type) = (shape, type)
            var generator = Generator(state: UInt64(shape.tokens * 1_000_003 + shape.outputs * 1009 + shape.depth))
            func random(_ count: Int) -> [Float] {
                (0..<count).map { _ in Float.random(in: -1...1, using: &generator) }
            }
            x = DeviceArray(type.bytes(random(shape.tokens * shape.depth)))
            weights = DeviceArray(type.bytes(random(shape.outputs * shape.depth)))
            bias = DeviceArray(random(shape.outputs))
        }

        /// Runs the product, and the join of its parts, into poisoned memory.
        func run(seed: UInt64, mistake: String = "", joinMistake: String = "") throws -> [Float] {
            let count = shape.tokens * shape.outputs
            let parts = DeviceArray([Float](repeating: .nan, count: shape.splits * count))
            defer { withExtendedLifetime(parts) {} }
            var parameters = mc_logits_parameters()
            parameters.x = UnsafeRawPointer(x.start)
            parameters.weights = UnsafeRawPointer(weights.start)
            parameters.bias = shape.biased ? UnsafePointer(bias.start) : nil
            parameters.output = parts.start
            parameters.tokens = Int32(shape.tokens)
            parameters.columns = Int32(shape.outputs)
            parameters.depth = Int32(shape.depth)
            let name = "router_logits_\(type)_\(shape.rows)x\(shape.columns)" + mistake
            try launch { ck_router_logits(name, &parameters, UInt32(shape.splits), seed, $0, $1) }
            guard shape.splits > 1 else { return parts.elements }
            let logits = DeviceArray([Float](repeating: .nan, count: count))
            var join = mc_join_parameters()
            join.partial = UnsafePointer(parts.start)
            join.bias = parameters.bias
            join.logits = logits.start
            join.tokens = parameters.tokens
            join.columns = parameters.columns
            join.splits = Int32(shape.splits)
            try launch { ck_router_join("router_join" + joinMistake, &join, 3, seed, $0, $1) }
            return logits.elements
        }

        /// Errors over Σ |x·w|, in units of fp32's unit roundoff: the largest, and the root of the mean square.
        func errors(_ logits: [Float]) -> (largest: Double, typical: Double) {
            let (x, weights, bias) = (type.values(x.elements), type.values(weights.elements), bias.elements)
            var (worst, squares) = (0.0, 0.0)
            for token in 0..<shape.tokens {
                for output in 0..<shape.outputs {
                    var sum = shape.biased ? Double(bias[output]) : 0
                    var magnitude = abs(sum)
                    for i in 0..<shape.depth {
                        let term = Double(x[token * shape.depth + i]) * Double(weights[output * shape.depth + i])
                        sum += term
                        magnitude += abs(term)
                    }
                    let error = abs(Double(logits[token * shape.outputs + output]) - sum) / (magnitude * 0x1p-24)
                    worst = error.isNaN ? .infinity : max(worst, error)
                    squares += error * error
                }
            }
            return (worst, (squares / Double(max(logits.count, 1))).squareRoot())
        }

        /// No error can be larger: a term passes through the sum of one instruction (16 terms, or 8 of tf32, three
        /// times), then of a slice, of the slices, of the parts and the bias; a product of tf32 parts leaves out 2⁻²¹,
        /// which is 8 units.
        var bound: Double {
            let slices = (shape.depth * type.size + 127) / 128
            let sums = type == .fp32 ? 8 + 12 + slices : 16 + 4 * slices
            return Double(sums + shape.splits + 1) + (type == .fp32 ? 8 : 0)
        }
    }

    @Test(arguments: shapes, Element.allCases)
    func agreesWithASumInDouble(_ shape: Shape, _ type: Element) throws {
        guard type != .fp32 || shape.rows < 128 else { return }
        let test = Case(shape, type)
        let errors = test.errors(try test.run(seed: 1))
        #expect(errors.largest <= test.bound)
        // Roundings are as often up as down, so that few of the bound's units are ever seen.
        #expect(errors.typical <= 1)
    }

    @Test func theScheduleDoesNotMatter() throws {
        let test = Case(Shape(rows: 64, columns: 64, tokens: 66, outputs: 20, depth: 264, splits: 2), .bf16)
        let first = try test.run(seed: 0)
        for seed in 1...4 as ClosedRange<UInt64> { #expect(try test.run(seed: seed) == first) }
    }

    @Test(arguments: ["missing_wait", "missing_barrier", "wrong_swizzle", "next_row", "no_zero_fill"])
    func mistakesAreNoticed(_ mistake: String) throws {
        let test = Case(Shape(rows: 64, columns: 64, tokens: 60, outputs: 60, depth: 456), .bf16)
        for seed in 0..<4 as Range<UInt64> {
            // Wrong numbers, or an access out of bounds.
            let logits = try? test.run(seed: seed, mistake: "+" + mistake)
            #expect((logits.map { test.errors($0).largest } ?? .infinity) > 10 * test.bound)
        }
    }

    @Test func aPartThatIsLeftOutIsNoticed() throws {
        let test = Case(Shape(rows: 16, columns: 64, tokens: 9, outputs: 20, depth: 512, splits: 3), .bf16)
        #expect(test.errors(try test.run(seed: 1)).largest <= test.bound)
        #expect(test.errors(try test.run(seed: 1, joinMistake: "+drops_a_part")).largest > 10 * test.bound)
    }

    @Test func partsOfEightBitsAreNoticed() throws {
        let test = Case(Shape(rows: 16, columns: 64, tokens: 16, outputs: 64, depth: 256), .fp32)
        #expect(test.errors(try test.run(seed: 1, mistake: "+bf16_parts")).typical > 2)
    }

    @Test func theLaunchFillsTheDeviceAndLeavesNoPartEmpty() {
        for multiprocessors in [1, 8, 108, 132] as [Int32] {
            for tokens in [1, 16, 33, 500, 100_000] as [Int64] {
                for columns in [8, 64, 256, 512] as [Int64] {
                    for bytes in [16, 128, 4096, 14_336] as [Int64] {
                        let rows = mc_logits_tile_rows(tokens, columns, 2, multiprocessors)
                        let tiles = mc_logits_tiles(tokens, columns, rows, mc_logits_tile_columns(rows))
                        let splits = Int64(mc_logits_splits(tiles, bytes, multiprocessors))
                        let slices = (bytes + 127) / 128
                        let each = (slices + splits - 1) / splits
                        #expect(splits >= 1 && (splits - 1) * each < slices)
                        #expect(splits == 1 || (tiles * splits <= Int64(multiprocessors) && each >= 2))
                    }
                }
            }
        }
        #expect(mc_logits_tile_rows(100_000, 256, 2, 132) == 128)
        #expect(mc_logits_shared(128, 128) <= 101 << 10, "two blocks a multiprocessor")
    }

    /// The number of values that a normalisation has right.
    private func normalised(_ type: Element, mistake: String = "") throws -> (right: Int, count: Int) {
        let (tokens, width) = (11, 70)
        let (epsilon, scale) = (Float(1e-6), Float(width).squareRoot())
        var generator = Generator(state: 5)
        let values = type.values(
            type.bytes((0..<tokens * width).map { _ in Float.random(in: -3...3, using: &generator) }))
        let x = DeviceArray(type.bytes(values))
        defer { withExtendedLifetime(x) {} }
        let factors = DeviceArray((0..<width).map { _ in Float.random(in: 0.5...2, using: &generator) })
        let rows = DeviceArray([Float](repeating: .nan, count: tokens * width))
        var parameters = mc_normalise_parameters()
        parameters.x = UnsafeRawPointer(x.start)
        parameters.factors = UnsafePointer(factors.start)
        parameters.rows = rows.start
        parameters.tokens = Int32(tokens)
        parameters.width = Int32(width)
        parameters.epsilon = epsilon
        parameters.scale = scale
        try launch { ck_router_normalise("router_normalise_\(type)" + mistake, &parameters, 1, 3, $0, $1) }
        let result = rows.elements
        var right = 0
        for token in 0..<tokens {
            let row = values[token * width..<(token + 1) * width]
            // Squares of fp32 and their sum in Double: exact to fp32, whatever the order.
            let squares = row.reduce(0.0) { $0 + Double($1) * Double($1) }
            let factor = Float(1 / (squares / Double(width) + Double(epsilon)).squareRoot())
            for (i, value) in row.enumerated()
            where result[token * width + i] == value * factor * scale * factors.elements[i] { right += 1 }
        }
        return (right, tokens * width)
    }

    @Test(arguments: Element.allCases)
    func normalisesRowsAsTheCPUDoes(_ type: Element) throws {
        let (right, count) = try normalised(type)
        #expect(right == count)
    }

    @Test func aLaneThatIsLeftOutIsNoticed() throws {
        let (right, count) = try normalised(.bf16, mistake: "+drops_a_lane")
        #expect(right < count / 10)
    }
}
