import CUDAKernelHost
import Foundation
import Testing

/// The host's meaning of the instructions that kernels use, and the mistakes that the runner has to notice.
@Suite struct InstructionTests {
    static let depths = [8, 16, 24, 40, 64, 104, 200]

    /// The largest error of the tile product, or infinity where a number is missing.
    static func productError(_ kernel: String, _ type: Element, depth: Int, seed: UInt64, shared: Int = 0) throws
        -> Double
    {
        var generator = Generator(state: seed &* 31 &+ UInt64(depth))
        func matrix() -> [UInt16] {
            (0..<16 * depth).map { _ in ck_from_float(type.rawValue, Float.random(in: -1...1, using: &generator)) }
        }
        let (a, b) = (DeviceArray(matrix()), DeviceArray(matrix()))
        let c = DeviceArray([Float](repeating: .nan, count: 256))
        try launch { ck_exercise_product(kernel, a.start, b.start, c.start, Int32(depth), shared, seed, $0, $1) }
        let left = a.elements.map { Double(ck_to_float(type.rawValue, $0)) }
        let right = b.elements.map { Double(ck_to_float(type.rawValue, $0)) }
        var worst = 0.0
        for (index, value) in c.elements.enumerated() {
            let (m, n) = (index / 16, index % 16)
            let sum = (0..<depth).reduce(0.0) { $0 + left[m * depth + $1] * right[n * depth + $1] }
            let error = abs(Double(value) - sum)
            worst = error.isNaN ? .infinity : max(worst, error)
        }
        return worst
    }

    @Test(arguments: [Element.bf16, .fp16])
    func copiesMatricesAndTensorCores(_ type: Element) throws {
        for depth in Self.depths {
            for seed in 0..<10 as Range<UInt64> {
                let error = try Self.productError("exercise_product_\(type)", type, depth: depth, seed: seed)
                #expect(error < 1e-4, "depth \(depth), seed \(seed)")
            }
        }
    }

    /// Mistakes that give wrong numbers. `depth`: one at which the mistake matters; in how many of 20 schedules it has
    /// to show.
    @Test(arguments: [
        ("missing_wait", 64, 20), ("missing_barrier", 104, 10), ("wrong_matrix_row", 32, 20),
    ])
    func wrongNumbersAreNoticed(_ mistake: String, depth: Int, atLeast: Int) throws {
        let caught = try (0..<20 as Range<UInt64>).count {
            try Self.productError("exercise_product_bf16+\(mistake)", .bf16, depth: depth, seed: $0) > 1e-2
        }
        #expect(caught >= atLeast)
    }

    @Test func aMissingZeroFillReadsPastTheEndOrTheRow() throws {
        // The last row of a ragged depth ends with the buffer: reading 16 bytes there is out of bounds.
        for seed in 0..<10 as Range<UInt64> {
            let error = try? Self.productError("exercise_product_bf16+no_zero_fill", .bf16, depth: 24, seed: seed)
            #expect((error ?? .infinity) > 1e-2)
        }
    }

    @Test func anOffsetPastSharedMemoryIsReported() throws {
        let failure = #expect(throws: KernelFailure.self) {
            try Self.productError("exercise_product_bf16", .bf16, depth: 64, seed: 1, shared: 1024)
        }
        #expect(failure?.description.contains("at shared offset") == true)
        #expect(failure?.description.contains("exercise.cuh") == true)
    }

    struct WarpResult {
        var input: [UInt32]
        var output: [UInt32]
    }

    static func warp(_ kernel: String, seed: UInt64, mayBeUnknown: Bool = false) throws -> WarpResult {
        var generator = Generator(state: seed)
        let input = DeviceArray(
            (0..<CK_WARP_THREADS).map { _ in UInt32.random(in: 0..<1000, using: &generator) })
        let output = DeviceArray([UInt32](repeating: .max, count: input.count * CK_WARP_RESULTS))
        try launch(mayBeUnknown: mayBeUnknown) {
            ck_exercise_warp(kernel, input.start, output.start, seed, $0, $1)
        }
        return WarpResult(input: input.elements, output: output.elements)
    }

    /// What the kernel has to give, by the meaning of each operation.
    static func expectedWarp(_ input: [UInt32]) -> [UInt32] {
        let bins = UInt32(CK_WARP_BINS)
        let threads = input.indices
        func mask(_ first: Int, _ predicate: (UInt32) -> Bool) -> UInt32 {
            (0..<32).reduce(0) { $0 | (predicate(input[first + $1]) ? 1 << UInt32($1) : 0) }
        }
        var rows = [[UInt32]]()
        rows.append(threads.map { input[$0 / 32 * 32 + ($0 % 32 * 7 + 3) % 32] })
        rows.append(threads.map { input[$0 / 32 * 32 + ($0 % 32 ^ 5)] })
        rows.append(threads.map { input[$0 % 32 + 3 < 32 ? $0 + 3 : $0] })
        rows.append(threads.map { input[$0 % 32 >= 3 ? $0 - 3 : $0] })
        rows.append(threads.map { mask($0 / 32 * 32) { $0 % 2 == 1 } })
        rows.append(threads.map { thread in mask(thread / 32 * 32) { $0 % bins == input[thread] % bins } })
        rows.append(threads.map { thread in UInt32(input.count { $0 % bins == input[thread] % bins }) })
        return Array(rows.joined())
    }

    @Test func operationsOfAWarpAtomicsAndBarriers() throws {
        for seed in 0..<20 as Range<UInt64> {
            let result = try Self.warp("exercise_warp", seed: seed)
            #expect(result.output == Self.expectedWarp(result.input))
        }
    }

    @Test func aMissingBlockBarrierChangesAHistogram() throws {
        let caught = try (0..<20 as Range<UInt64>).count {
            let result = try Self.warp("exercise_warp+missing_barrier", seed: $0)
            return result.output != Self.expectedWarp(result.input)
        }
        #expect(caught >= 15)
    }

    @Test(arguments: [
        ("misaligned", "is no multiple of 4"), ("missing_lane", "lanes of one warp in different calls"),
        ("missing_thread", "deadlock"),
    ])
    func mistakesAreReported(_ mistake: String, _ message: String) throws {
        for seed in 0..<5 as Range<UInt64> {
            let failure = #expect(throws: KernelFailure.self) { try Self.warp("exercise_warp+\(mistake)", seed: seed) }
            #expect(failure?.description.contains(message) == true)
            #expect(failure?.description.contains("exercise.cuh") == true)
        }
    }

    /// Whether every number arrives.
    static func copies(_ kernel: String, seed: UInt64) throws -> Bool {
        var generator = Generator(state: seed)
        let input = DeviceArray((0..<128).map { _ in Float.random(in: -20...20, using: &generator) })
        let output = DeviceArray([Float](repeating: .nan, count: 128))
        try launch { ck_exercise_wide(kernel, input.start, output.start, seed, $0, $1) }
        return output.elements == input.elements
    }

    @Test func wideAccesses() throws {
        for seed in 0..<20 as Range<UInt64> { #expect(try Self.copies("exercise_wide", seed: seed)) }
    }

    @Test func aMissingWarpBarrierIsNoticed() throws {
        let caught = try (0..<20 as Range<UInt64>).count {
            try !Self.copies("exercise_wide+missing_warp_barrier", seed: $0)
        }
        #expect(caught >= 5)
    }

    @Test func anUnknownKernelIsNamed() {
        let failure = #expect(throws: KernelFailure.self) {
            try Self.warp("exercise_warp+nonsense", seed: 0, mayBeUnknown: true)
        }
        #expect(failure?.description == "no kernel named exercise_warp+nonsense")
    }

    @Test func conversionsToFP32AreExact() {
        for bits in 0...UInt16.max {
            let fp16 = ck_to_float("fp16", bits)
            let expected = Float(Float16(bitPattern: bits))
            #expect(fp16.isNaN ? expected.isNaN : fp16.bitPattern == expected.bitPattern, "fp16 \(bits)")
            #expect(ck_to_float("bf16", bits).bitPattern == UInt32(bits) << 16, "bf16 \(bits)")
        }
    }

    @Test func conversionsFromFP32RoundToNearestEven() {
        // Every fp16 and bf16 number, the point halfway to the next one, and that point's neighbours.
        for bits in 0...UInt16.max {
            for element in [Element.bf16, .fp16] {
                let value = ck_to_float(element.rawValue, bits)
                guard value.isFinite else { continue }
                let next = ck_to_float(element.rawValue, bits &+ 1)
                let middle = next.isFinite ? value + (next - value) / 2 : value
                for candidate in [value, middle, middle.nextUp, middle.nextDown] {
                    let expected = element == .bf16 ? Element.bf16Bits(candidate) : Float16(candidate).bitPattern
                    let got = ck_from_float(element.rawValue, candidate)
                    if got != expected { Issue.record("\(element) of \(candidate): \(got), not \(expected)") }
                }
            }
        }
        #expect(ck_from_float("fp16", 65519.996) == 0x7BFF)
        #expect(ck_from_float("fp16", 65520) == 0x7C00)
        #expect(ck_from_float("fp16", -.infinity) == 0xFC00)
        #expect(ck_from_float("fp16", .nan) == 0x7FFF)
        #expect(ck_from_float("bf16", .greatestFiniteMagnitude) == 0x7F80)
        #expect(ck_from_float("bf16", -.nan) == 0x7FFF)
    }
}
