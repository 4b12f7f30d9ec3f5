import CUDAKernelHost
import Testing

/// The grouped matrix products' source, run on the CPU, against sums in Double.
@Suite struct GroupedGEMMTests {
    typealias Shape = ProjectionCase.Shape

    struct Problem: CustomTestStringConvertible {
        var tile = "few"
        var type = Element.bf16
        /// Of down.
        var output = Element.bf16
        var shape: Shape

        var test: ProjectionCase { ProjectionCase(shape, type, output: output) }
        var testDescription: String { "\(tile), \(type), \(output): \(shape)" }
    }

    /// For each tile shape, problems that cross its edges: a tile more and less in rows and in columns, an expert
    /// without rows, a depth that ends in the middle of a step.
    static let edges: [Problem] =
        edges("few", 32, 128) + edges("narrow", 64, 128) + edges("square", 128, 128) + edges("wide", 128, 256)

    static func edges(_ tile: String, _ rows: Int, _ columns: Int) -> [Problem] {
        let gateUp = Shape(counts: [3, 0, rows + 5, 1], tokens: 20, height: columns + 32, depth: 136)
        let up = Shape(
            counts: [rows - 1, 2], tokens: 9, height: columns - 8, depth: 72, activation: MC_ACTIVATION_RELU,
            gated: false, biases: true)
        let down = Shape(side: .down, counts: [rows, 0, 1], height: columns + 8, depth: 64)
        let exact = Shape(
            side: .down, counts: [7, rows], height: columns + 8, depth: 200, biases: true, scales: true)
        return [
            Problem(tile: tile, shape: gateUp), Problem(tile: tile, type: .fp16, shape: up),
            Problem(tile: tile, shape: down), Problem(tile: tile, output: .fp32, shape: exact),
        ]
    }

    @Test(arguments: edges)
    func agreesWithSumsInDouble(_ problem: Problem) throws {
        let test = problem.test
        #expect(test.error(try test.run(tile: problem.tile, seed: 1)) <= 1)
    }

    /// Other types of the kernels that `edges` leaves out, and distributions of rows.
    static let others: [Problem] = {
        let gateUp = Shape(counts: [4, 4], tokens: 5, height: 48, depth: 40, biases: true, scales: true)
        let up = Shape(counts: [4, 4], tokens: 5, height: 40, depth: 40, gated: false, scales: true)
        let down = Shape(side: .down, counts: [4, 4], height: 40, depth: 40)
        return [
            Problem(type: .fp16, shape: gateUp), Problem(shape: up),
            Problem(type: .fp16, output: .fp16, shape: down), Problem(type: .fp16, output: .fp32, shape: down),
            Problem(shape: Shape(counts: [0, 0, 0], height: 16, depth: 8)),
            Problem(shape: Shape(counts: [1], height: 16, depth: 8)),
            Problem(shape: Shape(counts: [0, 0, 70, 0], tokens: 3, height: 16, depth: 8)),
            Problem(shape: Shape(counts: (0..<512).map { $0 % 37 == 36 ? $0 % 5 : 0 }, height: 16, depth: 16)),
            Problem(shape: Shape(counts: [Int](repeating: 1, count: 70), height: 16, depth: 16)),
            // More row tiles than are together in time, over two column tiles.
            Problem(shape: Shape(counts: [1100], height: 144, depth: 8)),
        ]
    }()

    @Test(arguments: others)
    func everyTypeAndDistribution(_ problem: Problem) throws {
        let test = problem.test
        #expect(test.error(try test.run(tile: problem.tile, seed: 2)) <= 1)
    }

    @Test(arguments: 0..<MC_ACTIVATION_COUNT)
    func everyActivation(_ kind: Int) throws {
        var shape = Shape(counts: [5, 9], tokens: 6, height: 48, depth: 40, activation: kind, biases: true)
        for isGated in kind == MC_ACTIVATION_CLAMPED ? [true] : [true, false] {
            shape.gated = isGated
            let test = ProjectionCase(shape, .bf16)
            #expect(test.error(try test.run(tile: "few", seed: 3)) <= 1, "gated: \(isGated)")
        }
    }

    @Test func doesNotDependOnTheScheduleOrTheGrid() throws {
        let test = ProjectionCase(Shape(counts: [40, 3], tokens: 13, height: 144, depth: 264), .bf16)
        let first = try test.run(tile: "few", seed: 0)
        for seed in 1...4 as ClosedRange<UInt64> {
            #expect(try test.run(tile: "few", seed: seed, blocks: UInt32(seed)) == first)
        }
        for tile in ["narrow", "wide"] { #expect(try test.run(tile: tile, seed: 5) == first, "\(tile)") }
    }

    /// Two tiles of rows, a depth of several steps that ends in the middle of one.
    static let small = Shape(counts: [40, 3], tokens: 13, height: 112, depth: 264)

    /// Mistakes that give wrong numbers, or none.
    @Test(arguments: [
        "missing_wait", "short_wait", "missing_barrier", "wrong_swizzle", "drops_weights", "stride_off_by_one",
        "wrong_lane",
    ])
    func wrongNumbersAreNoticed(_ mistake: String) throws {
        for shape in [Self.small, Shape(side: .down, counts: [40, 3], height: 112, depth: 264)] {
            let test = ProjectionCase(shape, .bf16)
            for seed in 0..<2 as Range<UInt64> {
                let result = try test.run(tile: "few", seed: seed, blocks: 2, mistake: "+" + mistake)
                #expect(test.error(result) > 10, "seed \(seed)")
            }
        }
    }

    /// Mistakes that leave a buffer.
    @Test(arguments: ["no_zero_fill", "expert_off_by_one"])
    func accessesOutOfBoundsAreReported(_ mistake: String) throws {
        let test = ProjectionCase(Self.small, .bf16)
        let failure = #expect(throws: KernelFailure.self) {
            try test.run(tile: "few", seed: 0, blocks: 2, mistake: "+" + mistake)
        }
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
