import CUDAKernelHost
import Testing

/// The decode kernels and the fp32 kernels, run on the CPU, against loops in Double.
@Suite struct ProjectionTests {
    typealias Shape = ProjectionCase.Shape

    static let shapes = [
        Shape(experts: 6, tokens: 0, slots: 2, inner: 32, hidden: 32),
        Shape(experts: 3, tokens: 1, slots: 2, inner: 32, hidden: 64),
        // The last tile of weight rows and the last step of the depth are not full.
        Shape(
            experts: 5, tokens: 8, slots: 3, inner: 24, hidden: 40, activation: MC_ACTIVATION_CLAMPED, biases: true,
            scales: true),
        Shape(
            experts: 7, tokens: 9, slots: 2, inner: 56, hidden: 72, activation: MC_ACTIVATION_GELU_TANH, scales: true,
            blocks: 4),
        // More steps of the depth than stages, for every warp.
        Shape(experts: 3, tokens: 16, slots: 2, inner: 16, hidden: 1160, activation: MC_ACTIVATION_GELU, crowded: true),
        // Experts without gates; weight rows that are no multiple of 16.
        Shape(
            experts: 9, tokens: 3, slots: 2, inner: 40, hidden: 48, activation: MC_ACTIVATION_RELU, gated: false,
            biases: true),
        Shape(
            experts: 3, tokens: 7, slots: 1, inner: 24, hidden: 264, activation: MC_ACTIVATION_RELU_SQUARED,
            gated: false),
        // More rows of an expert than the largest tile has.
        Shape(
            experts: 2, tokens: 70, slots: 1, inner: 16, hidden: 96, activation: MC_ACTIVATION_QUICK_GELU, crowded: true
        ),
        // The most experts, and one fewer.
        Shape(experts: 512, tokens: 4, slots: 3, inner: 16, hidden: 16, blocks: 5),
        Shape(experts: 511, tokens: 2, slots: 4, inner: 8, hidden: 16, gated: false, biases: true),
        Shape(side: .down, experts: 4, tokens: 5, slots: 2, inner: 136, hidden: 72, biases: true),
        Shape(side: .down, experts: 3, tokens: 16, slots: 2, inner: 512, hidden: 40, crowded: true, blocks: 5),
    ]
    static let splitShapes = [
        Shape(experts: 3, tokens: 7, slots: 1, inner: 24, hidden: 1032, gated: false, scales: true, splits: 2),
        Shape(
            experts: 3, tokens: 6, slots: 2, inner: 24, hidden: 1056, activation: MC_ACTIVATION_CLAMPED, biases: true,
            splits: 3),
        Shape(side: .down, experts: 3, tokens: 5, slots: 3, inner: 1032, hidden: 40, biases: true, splits: 4),
    ]
    /// Every part of it is used: two tiles, ragged rows and depth, several steps.
    static let small = Shape(experts: 6, tokens: 5, slots: 2, inner: 40, hidden: 296, biases: true, blocks: 2)

    static func tileRows(_ element: Element) -> [Int] { element == .fp32 ? [16, 64] : [8, 16] }

    @Test(arguments: Element.allCases)
    func agreesWithLoopsInDouble(_ element: Element) throws {
        for shape in Self.shapes + (element == .fp32 ? [] : Self.splitShapes) {
            let test = ProjectionCase(shape, element)
            for tileRows in Self.tileRows(element) {
                #expect(test.error(try test.run(tileRows: tileRows, seed: 1)) <= 1, "\(test), tile of \(tileRows)")
            }
        }
    }

    @Test func sumsInFP32AreInBlocks() throws {
        for tileRows in [16, 64] {
            let test = ProjectionCase(
                Shape(side: .down, experts: 1, tokens: 1, slots: 1, inner: 6000, hidden: 8, steady: true, blocks: 1),
                .fp32)
            // Whole blocks of 256 and a last one of 112, all exact.
            let result = Element.fp32.values(try test.run(tileRows: tileRows, seed: 1))
            #expect(result == [Float](repeating: 6000 * (1 + 0x1p-13), count: 8))
        }
    }

    @Test(arguments: Element.allCases)
    func doesNotDependOnTheScheduleTheGridOrTheTile(_ element: Element) throws {
        let test = ProjectionCase(Self.small, element)
        let first = try test.run(tileRows: 16, seed: 0)
        for seed in 1...4 as ClosedRange<UInt64> {
            for tileRows in Self.tileRows(element) {
                #expect(try test.run(tileRows: tileRows, seed: seed, blocks: UInt32(3 * seed)) == first)
            }
        }
    }

    @Test(arguments: ["short_wait", "missing_barrier", "wrong_columns", "wrong_token", "no_zero_fill", "wrong_scan"])
    func noticesMistakesOfTheDecodeKernel(_ mistake: String) throws {
        let test = ProjectionCase(Self.small, .bf16)
        for seed in 0..<4 as Range<UInt64> {
            let result = try? test.run(tileRows: 8, seed: seed, mistake: "+" + mistake)
            #expect(result.map(test.error) ?? .infinity > 10, "seed \(seed)")
        }
    }

    @Test(arguments: [1, 2]) func noticesAPartThatIsLeftOut(_ shape: Int) throws {
        let test = ProjectionCase(Self.splitShapes[shape], .bf16)
        let result = try test.run(tileRows: 8, seed: 1, finishMistake: "+drops_a_part")
        #expect(test.error(result) > 10)
    }

    @Test(arguments: ["short_wait", "missing_barrier", "no_zero_fill", "drops_bias"])
    func noticesMistakesOfTheFP32Kernel(_ mistake: String) throws {
        let test = ProjectionCase(Self.small, .fp32)
        for seed in 0..<4 as Range<UInt64> {
            let result = try? test.run(tileRows: 16, seed: seed, mistake: "+" + mistake)
            #expect(result.map(test.error) ?? .infinity > 10, "seed \(seed)")
        }
    }

    @Test func splitsOnlyWhereMultiprocessorsWouldIdle() {
        // Mixtral's projections, and 256 experts of 2048 × 512 of which a token takes eight.
        #expect(mc_decode_splits(2, 28672, 4096, 132) == 1)
        #expect(mc_decode_splits(2, 4096, 14336, 132) == 1)
        #expect(mc_decode_splits(8, 1024, 2048, 132) == 1)
        #expect(mc_decode_splits(8, 2048, 512, 132) == 1)
        // 32 tiles of a large depth: five splits make 160.
        #expect(mc_decode_splits(1, 1024, 16384, 132) == 5)
        // As few tiles, but nothing to split.
        #expect(mc_decode_splits(1, 1024, 512, 132) == 1)
    }

    @Test(arguments: Element.allCases)
    func activationsAgreeWithDouble(_ element: Element) {
        let type = element.rawValue
        for kind in 0..<MC_ACTIVATION_COUNT {
            var parameters = mc_activation_parameters(
                kind: Int32(kind), gated: 0, limit: .infinity, alpha: 1.5, up_offset: 0.25)
            for step in -20_000...20_000 {
                let a = Float(step) / 1000
                let expected = activationInDouble(kind, Double(a), alpha: 1.5)
                let error = abs(Double(ck_activate(type, &parameters, .nan, a)) - expected)
                if error > activationError(expected, element) {
                    Issue.record("activation \(kind) of \(a): error \(error)")
                }
            }
            #expect(ck_activate(type, &parameters, 0, .nan).isNaN)
            parameters.gated = 1
            let up: Float = kind == MC_ACTIVATION_CLAMPED ? 3 + parameters.up_offset : 3
            let f = activationInDouble(kind, 1.25, alpha: 1.5)
            let error = abs(Double(ck_activate(type, &parameters, 1.25, 3)) - f * Double(up))
            #expect(error <= Double(up) * (activationError(f, element) + 0x1p-24 * f))
            #expect(ck_activate(type, &parameters, .nan, 1).isNaN)
            #expect(ck_activate(type, &parameters, 1, .nan).isNaN)
        }
    }

    @Test func clampedGatesAreClamped() {
        var parameters = mc_activation_parameters(
            kind: Int32(MC_ACTIVATION_CLAMPED), gated: 1, limit: 2, alpha: 1.702, up_offset: 1)
        // The gate from above only, the up value from both sides.
        #expect(ck_activate("fp32", &parameters, 5, 7) == ck_activate("fp32", &parameters, 2, 2))
        #expect(ck_activate("fp32", &parameters, 1, -7) == ck_activate("fp32", &parameters, 1, -2))
        #expect(ck_activate("fp32", &parameters, -3, 1) != ck_activate("fp32", &parameters, -2, 1))
        #expect(ck_activate("fp32", &parameters, 1, -1) == 0)
    }
}
