import CPlatform
import Synchronization
import Testing

@testable import MoEKernel

/// Rates of the pool, printed and not judged, as ``RateMeasurements`` are. Run by hand:
///
///     MOE_RATES=wake swift test --filter ThreadRates        (what it costs to start a stage)
///     MOE_RATES=threads swift test --filter ThreadRates     (forwards with two threads and with more than processors)
@Suite(.serialized) struct ThreadRates {
    static let subject = getenv("MOE_RATES").map { String(cString: $0) }

    private struct Nothing: ParallelWork {
        func run(task: Int, worker: Int) {}
    }

    /// Its first task lasts until its second has begun, on another thread.
    private struct Meeting: ParallelWork {
        let begun: UnsafePointer<Atomic<UInt64>>
        func run(task: Int, worker: Int) {
            if task == 1 { begun.pointee.store(cp_nanoseconds(), ordering: .releasing) }
            while task == 0 && begun.pointee.load(ordering: .acquiring) == 0 { cp_pause() }
        }
    }

    /// A stage of empty tasks, one a thread, and the time until a second thread begins: one stage right after another, and after
    /// pauses that let threads fall asleep.
    @Test(.enabled(if: subject == "wake")) func wakeLatency() throws {
        for threads in 1...8 {
            let pool = try ThreadPool(threads: threads)
            for pause: UInt64 in [0, 20_000, 2_000_000] {
                var empty: [UInt64] = []
                var wake: [UInt64] = []
                for _ in 0..<(pause == 0 ? 4000 : 400) {
                    Self.wait(pause)
                    let start = cp_nanoseconds()
                    pool.run(Nothing(), tasks: threads)
                    empty.append(cp_nanoseconds() - start)
                    guard threads > 1 else { continue }
                    Self.wait(pause)
                    let begun = Atomic<UInt64>(0)
                    let called = cp_nanoseconds()
                    withUnsafePointer(to: begun) { pool.run(Meeting(begun: $0), tasks: 2) }
                    wake.append(begun.load(ordering: .relaxed) - called)
                }
                print(
                    "\(threads) threads, \(pause / 1000) µs between stages: empty stage \(Self.quantiles(empty)); "
                        + "second thread begins after \(Self.quantiles(wake))")
            }
        }
    }

    private static func wait(_ nanoseconds: UInt64) {
        if nanoseconds >= 1_000_000 {
            var time = timespec(tv_sec: 0, tv_nsec: Int(nanoseconds))
            nanosleep(&time, nil)
        } else {
            let start = cp_nanoseconds()
            while cp_nanoseconds() - start < nanoseconds { cp_pause() }
        }
    }

    private static func quantiles(_ samples: [UInt64]) -> String {
        guard !samples.isEmpty else { return "-" }
        let sorted = samples.sorted()
        func at(_ part: Int) -> Double { Double(sorted[min(sorted.count * part / 100, sorted.count - 1)]) / 1000 }
        return "\(at(50)) µs (p95 \(at(95)))"
    }

    /// Whole forwards, the pools in turn.
    @Test(.enabled(if: subject == "threads")) func oversubscribed() throws {
        let shapes: [(tokens: Int, hidden: Int, expertHidden: Int, experts: Int, topK: Int, type: ElementType)] = [
            (512, 512, 2048, 8, 2, .float32), (32, 512, 2048, 8, 2, .float32), (1, 2048, 768, 128, 8, .bfloat16),
        ]
        let processors = Int(cp_available_processors())
        let pools = try [processors, 4 * processors].map { try ThreadPool(threads: $0) }
        for shape in shapes {
            var configuration = try MoEConfiguration(
                experts: shape.experts, topK: shape.topK, hidden: shape.hidden, expertHidden: shape.expertHidden)
            configuration.weightType = shape.type
            let layers = try pools.map {
                try MoELayer(configuration, weights: .random(seed: 1), pool: $0)
            }
            let inputs = try (0..<16).map { try Tensor<Float>.random([shape.tokens, shape.hidden], seed: UInt64($0)) }
            var samples: [[UInt64]] = pools.map { _ in [] }
            var first = MoEWorkspace()
            var second = MoEWorkspace()
            var y = try layers[0].forward(inputs[0]).y
            let end = cp_nanoseconds() + 3_000_000_000
            var round = 0
            while cp_nanoseconds() < end {
                let x = inputs[round % inputs.count]
                for index in layers.indices {
                    for repeated in 0..<4 {
                        let start = cp_nanoseconds()
                        if index == 0 {
                            try layers[index].forward(x.span, into: &y.mutableSpan, workspace: &first)
                        } else {
                            try layers[index].forward(x.span, into: &y.mutableSpan, workspace: &second)
                        }
                        if repeated > 0 { samples[index].append(cp_nanoseconds() - start) }
                    }
                }
                round += 1
            }
            for (pool, samples) in zip(pools, samples) {
                print("\(shape): \(pool.threads) threads, \(samples.count) forwards, \(Self.quantiles(samples))")
            }
        }
    }
}
