import Synchronization
import Testing

@testable import MoEKernel

@Suite struct ThreadPoolTests {
    private struct Count: ParallelWork {
        let hits: UnsafeMutablePointer<Int>
        let workers: Int
        func run(task: Int, worker: Int) {
            precondition((0..<workers).contains(worker))
            hits[task] += 1
        }
    }

    @Test(arguments: [1, 2, 3, 8, 33]) func everyTaskRunsOnce(threads: Int) throws {
        let pool = try ThreadPool(threads: threads)
        for count in [0, 1, 2, 7, 100, 1000] {
            var hits = [Int](repeating: 0, count: count)
            hits.withUnsafeMutableBufferPointer { hits in
                guard let base = hits.baseAddress else { return }
                for _ in 0..<20 { pool.run(Count(hits: base, workers: threads), tasks: count) }
            }
            #expect(hits.allSatisfy { $0 == 20 })
        }
    }

    @Test(arguments: [0, -1, 1000]) func impossibleSizes(threads: Int) {
        #expect(throws: MoEError.configuration(field: "threads", value: "\(threads)", expectation: "1 to 512")) {
            try ThreadPool(threads: threads)
        }
    }

    /// Stages of several tasks at once take turns; each result is the one a lone call gives.
    @Test func oneLayerFromSeveralTasks() async throws {
        let configuration = try MoEConfiguration(experts: 6, topK: 2, hidden: 48, expertHidden: 40)
        let pool = try ThreadPool(threads: 3)
        let layers = try (0..<2).map { try MoELayer(configuration, weights: .random(seed: UInt64($0)), pool: pool) }
        let inputs = try (0..<8).map { try Tensor<Float>.random([1 + 5 * $0, 48], seed: UInt64($0)) }
        let expected = try inputs.map { x in try layers.map { try $0.forward(x).y } }
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for index in inputs.indices {
                for (which, layer) in layers.enumerated() {
                    group.addTask {
                        for _ in 0..<25 where try layer.forward(inputs[index]).y != expected[index][which] {
                            return false
                        }
                        return true
                    }
                }
            }
            for try await same in group { #expect(same) }
        }
    }
}
