import CUDAKernelHost
import Foundation
import Testing

/// The grouped matrix products' source, run on the CPU, against sums in Double.
@Suite struct GroupedGEMMTests {
    enum Use: String {
        case gateUp = "gate_up"
        case up, down
    }

    struct Problem: CustomTestStringConvertible {
        var use = Use.gateUp
        var shape = "few"
        var type = Element.bf16
        var output = Element.bf16
        /// Rows of each expert.
        var counts: [Int]
        /// Rows of the input that are gathered from; 0: every row is used as it comes.
        var tokens = 0
        var height: Int
        var depth: Int
        var kind = MC_ACTIVATION_SILU
        var scaled = false
        var biased = false

        var rows: Int { counts.reduce(0, +) }
        var width: Int { use == .gateUp ? height / 2 : height }
        var kernel: String {
            "grouped_\(use.rawValue)_\(type)\(use == .down ? "_\(output)" : "")_\(shape)"
        }
        var testDescription: String {
            "\(kernel), \(rows) rows, \(counts.count) experts, height \(height), depth \(depth), kind \(kind)"
        }
    }

    /// What stays the same over the runs of a problem.
    struct Case {
        let problem: Problem
        let input: DeviceArray<UInt8>
        let weights: DeviceArray<UInt8>
        let bias: DeviceArray<Float>
        let scale: DeviceArray<Float>
        let tokens: DeviceArray<Int32>
        let offsets: DeviceArray<Int32>
        let activation: mc_activation_parameters

        init(_ problem: Problem) {
            self.problem = problem
            var generator = Generator(state: UInt64(problem.height * 1000 + problem.depth * 10 + problem.counts.count))
            func random(_ count: Int, _ size: Float = 1) -> [Float] {
                (0..<count).map { _ in Float.random(in: -size...size, using: &generator) }
            }
            let experts = problem.counts.count
            let inputRows = problem.tokens > 0 ? problem.tokens : problem.rows
            input = DeviceArray(problem.type.bytes(random(inputRows * problem.depth)))
            let size = 2 / Float(problem.depth).squareRoot()
            weights = DeviceArray(problem.type.bytes(random(experts * problem.height * problem.depth, size)))
            bias = DeviceArray(random(experts * problem.height))
            scale = DeviceArray(random(problem.rows))
            tokens = DeviceArray(
                (0..<problem.rows).map {
                    problem.tokens > 0 ? Int32.random(in: 0..<Int32(problem.tokens), using: &generator) : Int32($0)
                })
            offsets = DeviceArray(
                problem.counts.reduce(into: [Int32(0)]) { $0.append($0[$0.count - 1] + Int32($1)) })
            activation = mc_activation_parameters(
                kind: Int32(problem.kind), gated: problem.use == .gateUp ? 1 : 0, limit: 0.8, alpha: 1.702, up_offset: 1
            )
        }

        /// Runs the kernel into poisoned memory.
        func run(seed: UInt64, blocks: UInt32 = 3, mistake: String = "") throws -> [UInt8] {
            let element = problem.use == .down ? problem.output : problem.type
            let result = DeviceArray([UInt8](repeating: 0xFF, count: problem.rows * problem.width * element.size))
            var parameters = mc_projection_parameters()
            parameters.input = UnsafeRawPointer(input.start)
            parameters.row_token = problem.tokens > 0 ? UnsafePointer(tokens.start) : nil
            parameters.offsets = UnsafePointer(offsets.start)
            parameters.weights = UnsafeRawPointer(weights.start)
            parameters.bias = problem.biased ? UnsafePointer(bias.start) : nil
            parameters.row_scale = problem.scaled ? UnsafePointer(scale.start) : nil
            parameters.output = UnsafeMutableRawPointer(result.start)
            parameters.experts = Int32(problem.counts.count)
            parameters.height = Int32(problem.height)
            parameters.depth = Int32(problem.depth)
            parameters.activation = activation
            let inputRows = problem.tokens > 0 ? problem.tokens : problem.rows
            try launch {
                ck_grouped_gemm(problem.kernel + mistake, &parameters, inputRows, blocks, seed, $0, $1)
            }
            return result.elements
        }

        /// The function of a gate and an up value, in Double.
        func inner(_ gate: Double, _ up: Double) -> Double {
            guard problem.use != .down else { return up }
            func sigmoid(_ z: Double) -> Double { 1 / (1 + exp(-z)) }
            let limit = Double(activation.limit)
            let isClamped = problem.kind == MC_ACTIVATION_CLAMPED
            let a = problem.use == .up ? up : isClamped ? min(gate, limit) : gate
            let f =
                switch problem.kind {
                case MC_ACTIVATION_SILU: a * sigmoid(a)
                case MC_ACTIVATION_GELU: a * 0.5 * erfc(-a / 2.0.squareRoot())
                case MC_ACTIVATION_GELU_TANH:
                    0.5 * a * (1 + tanh((2 / Double.pi).squareRoot() * (a + 0.044715 * a * a * a)))
                case MC_ACTIVATION_QUICK_GELU: a * sigmoid(1.702 * a)
                case MC_ACTIVATION_RELU: max(a, 0)
                case MC_ACTIVATION_RELU_SQUARED: max(a, 0) * max(a, 0)
                default: a * sigmoid(Double(activation.alpha) * a)
                }
            guard problem.use == .gateUp else { return f }
            return isClamped ? f * (min(max(up, -limit), limit) + Double(activation.up_offset)) : f * up
        }

        /// The largest error of `result`, in units of what sums in fp32 and one rounding may cost.
        func error(_ result: [UInt8]) -> Double {
            let depth = problem.depth
            let height = problem.height
            let inputValues = problem.type.values(input.elements).map(Double.init)
            let weightValues = problem.type.values(weights.elements).map(Double.init)
            let element = problem.use == .down ? problem.output : problem.type
            let resultValues = element.values(result)
            let (tokens, bias, scale) = (tokens.elements, bias.elements, scale.elements)

            /// A sum and how far off fp32 may be.
            func product(_ row: Int, _ expert: Int, _ column: Int) -> (sum: Double, allowed: Double) {
                let from = Int(tokens[row]) * depth
                let weight = (expert * height + column) * depth
                var sum = 0.0
                var magnitude = 0.0
                for k in 0..<depth {
                    let term = inputValues[from + k] * weightValues[weight + k]
                    sum += term
                    magnitude += abs(term)
                }
                if problem.scaled {
                    sum *= Double(scale[row])
                    magnitude *= abs(Double(scale[row]))
                }
                if problem.biased {
                    sum += Double(bias[expert * height + column])
                    magnitude += abs(Double(bias[expert * height + column]))
                }
                return (sum, magnitude * Double(depth + 2) * 0x1p-26 + 1e-7)
            }

            var worst = 0.0
            var row = 0
            for (expert, count) in problem.counts.enumerated() {
                for _ in 0..<count {
                    for column in 0..<problem.width {
                        let isGated = problem.use == .gateUp
                        let first = isGated ? column / 8 * 16 + column % 8 : column
                        let gate = isGated ? product(row, expert, first) : (sum: 0, allowed: 0)
                        let up = product(row, expert, isGated ? first + MC_GATE_GROUP : first)
                        let expected = inner(gate.sum, up.sum)
                        var allowed = 0.0
                        for (g, u) in [(-1.0, -1.0), (-1, 1), (1, -1), (1, 1)] {
                            let moved = inner(gate.sum + g * gate.allowed, up.sum + u * up.allowed)
                            allowed = max(allowed, abs(moved - expected))
                        }
                        allowed += abs(expected) * element.unitRoundoff + 2e-7
                        let error = abs(Double(resultValues[row * problem.width + column]) - expected) / allowed
                        worst = error.isNaN ? .infinity : max(worst, error)
                    }
                    row += 1
                }
            }
            return worst
        }
    }

    /// For each tile shape, problems that cross its edges: a tile more and less in rows and in columns, an expert
    /// without rows, a depth that ends in the middle of a step.
    static let edges: [Problem] =
        edges("few", 32, 128) + edges("narrow", 64, 128) + edges("square", 128, 128) + edges("wide", 128, 256)

    static func edges(_ shape: String, _ rows: Int, _ columns: Int) -> [Problem] {
        let gateUp = Problem(
            use: .gateUp, shape: shape, counts: [3, 0, rows + 5, 1], tokens: 20, height: columns + 32, depth: 136)
        let up = Problem(
            use: .up, shape: shape, type: .fp16, counts: [rows - 1, 2], tokens: 9, height: columns - 8, depth: 72,
            kind: MC_ACTIVATION_RELU, biased: true)
        let down = Problem(use: .down, shape: shape, counts: [rows, 0, 1], height: columns + 8, depth: 64)
        let exact = Problem(
            use: .down, shape: shape, output: .fp32, counts: [7, rows], height: columns + 8, depth: 200, scaled: true,
            biased: true)
        return [gateUp, up, down, exact]
    }

    @Test(arguments: edges)
    func agreesWithSumsInDouble(_ problem: Problem) throws {
        let test = Case(problem)
        #expect(test.error(try test.run(seed: 1)) <= 1.01)
    }

    /// Other types of the kernels that `edges` leaves out, and distributions of rows.
    @Test(arguments: [
        Problem(
            use: .gateUp, type: .fp16, counts: [4, 4], tokens: 5, height: 48, depth: 40, scaled: true, biased: true),
        Problem(use: .up, counts: [4, 4], tokens: 5, height: 40, depth: 40, scaled: true),
        Problem(use: .down, type: .fp16, output: .fp16, counts: [4, 4], height: 40, depth: 40),
        Problem(use: .down, type: .fp16, output: .fp32, counts: [4, 4], height: 40, depth: 40),
        Problem(counts: [0, 0, 0], height: 16, depth: 8),
        Problem(counts: [1], height: 16, depth: 8),
        Problem(counts: [0, 0, 70, 0], tokens: 3, height: 16, depth: 8),
        Problem(counts: (0..<512).map { $0 % 37 == 36 ? $0 % 5 : 0 }, height: 16, depth: 16),
        Problem(counts: [Int](repeating: 1, count: 70), height: 16, depth: 16),
        // More row tiles than are together in time, over two column tiles.
        Problem(counts: [1100], height: 144, depth: 8),
    ])
    func everyTypeAndDistribution(_ problem: Problem) throws {
        let test = Case(problem)
        #expect(test.error(try test.run(seed: 2)) <= 1.01)
    }

    @Test(arguments: 0..<MC_ACTIVATION_COUNT)
    func everyActivation(_ kind: Int) throws {
        let gated = Case(
            Problem(use: .gateUp, counts: [5, 9], tokens: 6, height: 48, depth: 40, kind: kind, biased: true))
        #expect(gated.error(try gated.run(seed: 3)) <= 1.01)
        guard kind != MC_ACTIVATION_CLAMPED else { return }
        let plain = Case(Problem(use: .up, counts: [5, 9], tokens: 6, height: 48, depth: 40, kind: kind, biased: true))
        #expect(plain.error(try plain.run(seed: 3)) <= 1.01)
    }

    @Test func doesNotDependOnTheScheduleOrTheGrid() throws {
        let test = Case(Problem(counts: [40, 3], tokens: 13, height: 144, depth: 264))
        let first = try test.run(seed: 0)
        for seed in 1...4 as ClosedRange<UInt64> {
            #expect(try test.run(seed: seed, blocks: UInt32(seed)) == first)
        }
        for shape in ["narrow", "wide"] {
            var other = test.problem
            other.shape = shape
            #expect(try Case(other).run(seed: 5) == first, "\(shape)")
        }
    }

    /// Mistakes that give wrong numbers, or none.
    @Test(arguments: [
        "missing_wait", "short_wait", "missing_barrier", "wrong_swizzle", "drops_weights",
        "stride_off_by_one",
        "wrong_lane",
    ])
    func wrongNumbersAreNoticed(_ mistake: String) throws {
        for problem in [
            Problem(use: .gateUp, counts: [40, 3], tokens: 13, height: 112, depth: 264),
            Problem(use: .down, output: .fp32, counts: [40, 3], height: 112, depth: 264),
        ] {
            let test = Case(problem)
            for seed in 0..<2 as Range<UInt64> {
                #expect(test.error(try test.run(seed: seed, blocks: 2, mistake: "+" + mistake)) > 10, "seed \(seed)")
            }
        }
    }

    /// Mistakes that leave a buffer.
    @Test(arguments: ["no_zero_fill", "expert_off_by_one"])
    func accessesOutOfBoundsAreReported(_ mistake: String) throws {
        let test = Case(Problem(use: .gateUp, counts: [40, 3], tokens: 13, height: 112, depth: 264))
        let failure = #expect(throws: KernelFailure.self) { try test.run(seed: 0, blocks: 2, mistake: "+" + mistake) }
        #expect(failure?.description.contains("grouped_gemm.cuh") == true)
    }

    /// The choice of shapes on an H100 (132 multiprocessors with 228 KiB) and an A100 (108 with 164 KiB).
    @Test func theShapeSuitsTheRowsOfAnExpert() {
        func choice(rows: Int64, experts: Int32, height: Int32, isH100: Bool = true) -> mc_grouped_gemm_launch {
            mc_grouped_gemm_choose(rows, experts, height, isH100 ? 132 : 108, (isH100 ? 228 : 164) << 10)
        }
        let large = choice(rows: 262_144, experts: 128, height: 1536)
        #expect(large.shape == MC_GROUPED_GEMM_WIDE && large.blocks == 132 && large.threads == 256)
        #expect(choice(rows: 262_144, experts: 128, height: 1536, isH100: false).shape == MC_GROUPED_GEMM_WIDE)
        let scattered = choice(rows: 2048, experts: 256, height: 1024)
        #expect(scattered.shape == MC_GROUPED_GEMM_FEW && scattered.blocks == 3 * 132)
        #expect(choice(rows: 2048, experts: 256, height: 1024, isH100: false).blocks == 2 * 108)
        // Few tiles: small ones, so that all multiprocessors have some.
        #expect(choice(rows: 2048, experts: 4, height: 256).shape == MC_GROUPED_GEMM_FEW)
        #expect(choice(rows: 0, experts: 8, height: 64).blocks == 1)
    }

    /// The 100 KiB of a multiprocessor (sm_86, sm_89, sm_120) hold one block of four warps; a block has at most 99 KiB.
    @Test func aShapeIsChosenWhereNoneKeepsAMultiprocessorBusy() {
        for (rows, experts, height, shape) in [
            (262_144, 128, 1536, MC_GROUPED_GEMM_SQUARE), (2048, 256, 1024, MC_GROUPED_GEMM_FEW),
            (262_144, 512, 1536, MC_GROUPED_GEMM_NARROW),
        ] as [(Int64, Int32, Int32, Int)] {
            let launch = mc_grouped_gemm_choose(rows, experts, height, 84, 100 << 10)
            #expect(launch.shape == Int32(shape) && launch.blocks == 84)
            #expect(launch.threads == 128 && launch.shared_bytes <= 99 << 10)
        }
        #expect(mc_grouped_gemm_choose(2048, 8, 1024, 84, 48 << 10).blocks == 0)
        #expect(MC_DECODE_8_SHARED <= 99 << 10 && MC_DECODE_16_SHARED > 99 << 10)
    }

    @Test func everyShapeFitsAndGridsAreNoLargerThanTheirTiles() {
        for shape in 0..<Int32(MC_GROUPED_GEMM_SHAPE_COUNT) {
            let launch = mc_grouped_gemm_launch_of(shape, 1 << 25, Int32(MC_MAXIMUM_EXPERTS), 14336, 108, 164 << 10)
            #expect(launch.blocks >= 108)
            #expect(launch.shared_bytes <= 163 << 10)
            #expect(mc_grouped_gemm_launch_of(shape, 1, 8, 64, 132, 228 << 10).blocks == 1)
            #expect(mc_grouped_gemm_launch_of(shape, 1, 8, 64, 132, 48 << 10).blocks == 0)
        }
    }
}
