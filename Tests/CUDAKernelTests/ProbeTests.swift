import CUDAKernelHost
import Testing

/// The probes of a device's limits do all the products that are counted: run on the CPU, their sums are those.
@Suite struct ProbeTests {
    private let blocks = 2
    private let iterations = 3

    private func run(_ type: Element, mistake: String = "") throws -> [Float] {
        let sink = DeviceArray([Float](repeating: .nan, count: blocks * MC_PROBE_THREADS))
        var p = mc_probe_parameters()
        p.sink = sink.start
        p.iterations = Int32(iterations)
        try launch { ck_probe("probe_multiply_\(type)" + mistake, &p, UInt32(blocks), 1, $0, $1) }
        return sink.elements
    }

    /// Sum of a thread.
    private func expected(_ type: Element, thread: Int) -> Double {
        type == .fp32 ? exact(thread: thread) : Double(MC_PROBE_CHAINS * iterations) * tile(lane: thread % 32)
    }

    private func exact(thread: Int) -> Double {
        (0..<MC_PROBE_CHAINS).reduce(0) { total, chain in
            var sum = Float(thread + chain)
            for _ in 0..<iterations { sum = Float(0.75).addingProduct(sum, -0.9990234375) }
            return total + Double(sum)
        }
    }

    /// A lane's four elements of one product of 16 × 16 and 16 × 8, added up. With g = lane / 4 and q = 2 (lane % 4), registers hold
    /// a: rows g and g + 8, columns q and q + 1, then those eight further; b: rows q and q + 1, then those eight further, of column g.
    private func tile(lane: Int) -> Double {
        func a(_ row: Int, _ k: Int) -> Double {
            let register = row / 8 + k / 8 * 2
            return k % 2 == 0 ? 1 + Double(row % 8 * 4 + k % 8 / 2) / 64 : -1 - Double(register) / 4
        }
        func b(_ k: Int, _ column: Int) -> Double {
            k % 2 == 0 ? (k < 8 ? 1.25 : -0.75) : 1.5 - Double(column * 4 + k % 8 / 2) / 32
        }
        let (g, q) = (lane / 4, lane % 4 * 2)
        return [(g, q), (g, q + 1), (g + 8, q), (g + 8, q + 1)].reduce(0) { sum, place in
            sum + (0..<16).reduce(0) { $0 + a(place.0, $1) * b($1, place.1) }
        }
    }

    /// Whether all sums are right but for the rounding of fp32.
    private func isRight(_ type: Element, _ sums: [Float]) -> Bool {
        sums.enumerated().allSatisfy { index, sum in
            let right = expected(type, thread: index % MC_PROBE_THREADS)
            // No part of a sum is larger than 400.
            return abs(Double(sum) - right) <= 400 * 0x1p-20
        }
    }

    @Test(arguments: Element.allCases) func countWhatTheyMultiply(_ type: Element) throws {
        let sums = try run(type)
        #expect(isRight(type, sums))
        #expect(Set(sums).count > 1)
        let operations = type == .fp32 ? MC_PROBE_CHAINS * MC_PROBE_THREADS * 2 : MC_PROBE_CHAINS * 8 * 2 * 16 * 8 * 16
        #expect(Int(mc_probe_operations(Int32(type.size))) == operations)
    }

    @Test(arguments: Element.allCases, ["skips_a_chain", "one_step_less"])
    func lessWorkIsNoticed(_ type: Element, _ mistake: String) throws {
        #expect(!isRight(type, try run(type, mistake: "+" + mistake)))
    }
}
