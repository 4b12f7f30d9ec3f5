import CPlatform
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

    // MARK: Memory nodes

    /// Two nodes of which both are all of this machine's processors: the rules of several nodes, on any machine.
    static func twoNodes(_ nodeOfWorker: [Int]) -> WorkerPlacement {
        let all = CPUTopology.current().processors.map { Int32($0.number) }
        return WorkerPlacement(
            nodeOfWorker: nodeOfWorker, processorsOfNode: [all, all], processors: nodeOfWorker.count)
    }

    /// Notes who did each task, and in which order.
    private struct Note: NodeWork {
        let firsts: [Int]
        let worker: UnsafeMutablePointer<Int>
        let turn: UnsafeMutablePointer<Int>
        let turns: UnsafePointer<Atomic<Int>>
        /// A worker that lingers in each of its tasks until so many tasks have begun, two seconds at most.
        var slow = -1
        var others = 0
        func firstTask(ofNode node: Int) -> Int { firsts[node] }
        func run(task: Int, worker: Int) {
            turn[task] = turns.pointee.wrappingAdd(1, ordering: .relaxed).oldValue
            self.worker[task] = worker
            let start = cp_nanoseconds()
            while worker == slow, turns.pointee.load(ordering: .relaxed) < others,
                cp_nanoseconds() - start < 2_000_000_000
            {
                sched_yield()
            }
        }
    }

    /// Who did each task, and when.
    private func notes(
        _ pool: ThreadPool, _ firsts: [Int], bound: Bool = false, slow: Int = -1, others: Int = 0
    ) -> [(worker: Int, turn: Int)] {
        let count = firsts.last!
        var workers = [Int](repeating: -1, count: count)
        var turn = [Int](repeating: -1, count: count)
        let turns = Atomic<Int>(0)
        workers.withUnsafeMutableBufferPointer { workers in
            turn.withUnsafeMutableBufferPointer { turn in
                withUnsafePointer(to: turns) { turns in
                    let work = Note(
                        firsts: firsts, worker: workers.baseAddress!, turn: turn.baseAddress!, turns: turns, slow: slow,
                        others: others)
                    pool.run(byNode: work, bound: bound)
                }
            }
        }
        #expect(turns.load(ordering: .relaxed) == count)
        return zip(workers, turn).map { ($0, $1) }
    }

    /// A worker takes its own node's tasks, in order, then the other's, in order.
    @Test(arguments: [[0, 1, 0], [0, 1, 0, 1, 1], [1, 0, 0, 0, 0, 0, 0, 1]]) func ownNodeFirst(_ nodes: [Int]) throws {
        let placement = Self.twoNodes(nodes)
        let pool = try ThreadPool(placement: placement)
        for firsts in [[0, 40, 80], [0, 1, 300], [0, 50, 50], [0, 0, 7], [0, 1, 2]] {
            for _ in 0..<20 {
                let done = notes(pool, firsts)
                for worker in nodes.indices {
                    let tasks = done.indices.filter { done[$0].worker == worker }
                        .sorted { done[$0].turn < done[$1].turn }
                    // The caller's node is that of the processor which it happens to run on.
                    let nodeIsFirst = worker > 0 ? nodes[worker] == 0 : tasks.first.map { $0 < firsts[1] } ?? true
                    let own = tasks.prefix { ($0 < firsts[1]) == nodeIsFirst }
                    let helped = tasks.dropFirst(own.count)
                    #expect(helped.allSatisfy { ($0 < firsts[1]) != nodeIsFirst })
                    #expect(Array(own) == own.sorted() && Array(helped) == helped.sorted())
                }
            }
        }
    }

    /// However long one worker is held up in a task, the others finish everything else: nobody waits for it but the end.
    @Test(arguments: 1..<4) func othersHelp(slow: Int) throws {
        let pool = try ThreadPool(placement: Self.twoNodes([0, 1, 0, 1]))
        for _ in 0..<20 {
            // The slow one goes on when all tasks have begun, so it has done one at most; were it waited for, it would do more.
            let done = notes(pool, [0, 30, 60], slow: slow, others: 60)
            #expect(done.count { $0.worker == slow } <= 1)
        }
    }

    /// Work that is bound to nodes is done by their bound workers, wherever the caller runs.
    @Test func boundWork() throws {
        let nodes = [0, 1, 0, 1]
        let pool = try ThreadPool(placement: Self.twoNodes(nodes))
        for firsts in [[0, 30, 60], [0, 1, 1], [0, 0, 1], [0, 0, 0], [0, 1, 500]] {
            for _ in 0..<20 {
                for (task, done) in notes(pool, firsts, bound: true).enumerated() {
                    #expect(done.worker > 0 && nodes[done.worker] == (task < firsts[1] ? 0 : 1))
                }
            }
        }
    }

    /// Every page that an expert's matrix has begins with, ends with or contains is touched by a worker of its node, or, on a border,
    /// of its neighbour's; packing's tasks and the experts' tasks are dealt by the same shares.
    @Test(arguments: [1, 2, 5, 64]) func expertsPages(experts: Int) throws {
        let placement = Self.twoNodes([0, 1, 0])
        let configuration = try MoEConfiguration(experts: experts, topK: 1, hidden: 512, expertHidden: 700)
        var layout = RegionLayout()
        _ = layout.reserve(UInt8.self, 1000)
        var matrices = PackedMatrices(
            groups: experts, depth: configuration.hidden, columns: configuration.expertHidden, gated: true,
            format: .float32, hasBiases: false, layout: &layout)
        let region = try MemoryRegion(bytes: layout.byteCount, purpose: "pages")
        matrices.place(in: region)
        let touch = PageTouch(matrices: matrices, placement: placement)
        let pages = touch.firstTask(ofNode: 2)
        let address = Int(bitPattern: matrices.weights)
        let bytes = experts * matrices.groupBytes
        func page(_ offset: Int) -> Int { (address + offset) / PageTouch.pageBytes - address / PageTouch.pageBytes }
        #expect(pages == page(bytes - 1) + 1)
        let tasks = GroupsByNode(touch, groups: experts, tasksPerGroup: 10, placement)
        for expert in 0..<experts where experts > 1 {
            let node = expert < placement.first(of: experts, node: 1) ? 0 : 1
            for offset in stride(from: expert * matrices.groupBytes, to: (expert + 1) * matrices.groupBytes, by: 4096) {
                let toucher = page(offset) < touch.firstTask(ofNode: 1) ? 0 : 1
                let border = page(offset) == page(placement.first(of: experts, node: 1) * matrices.groupBytes)
                #expect(toucher == node || border)
            }
            #expect((expert * 10 < tasks.firstTask(ofNode: 1) ? 0 : 1) == node)
        }
        #expect(tasks.firstTask(ofNode: 2) == experts * 10)

        // All of it, and nothing else, is written to.
        memset(region.base, 1, region.byteCount)
        for task in 0..<pages { touch.run(task: task, worker: 0) }
        for offset in 0..<region.byteCount {
            let place = offset - (address - Int(bitPattern: region.base))
            let isFirstOfPage = (address + place) % 4096 == 0 && (0..<bytes).contains(place) || place == 0
            if (region.base.load(fromByteOffset: offset, as: UInt8.self) == 0) != isFirstOfPage {
                Issue.record("byte \(place) of \(bytes)")
                break
            }
        }
    }

    /// Results are the same bits whatever the threads, their nodes, and how many processors there are.
    @Test func sameBitsWhereverWorkersAre() throws {
        let configuration = try MoEConfiguration(
            experts: 9, topK: 3, hidden: 96, expertHidden: 272, shared: .dense(width: 200))
        let one = try MoELayer(configuration, weights: .random(seed: 3), pool: ThreadPool(threads: 1))
        let inputs = try [1, 2, 5, 64, 400].map { try Tensor<Float>.random([$0, 96], seed: UInt64($0)) }
        let expected = try inputs.map { try one.forward($0).y }
        let placements = [
            Self.twoNodes([0, 1, 0]), Self.twoNodes([1, 0, 1, 0, 0, 0, 0, 1]),
            WorkerPlacement(threads: 2, processors: 2), WorkerPlacement(threads: 16, processors: 2),
            WorkerPlacement(threads: 16, processors: 1),
        ]
        for placement in placements {
            let layer = try MoELayer(configuration, weights: .random(seed: 3), pool: ThreadPool(placement: placement))
            for _ in 0..<10 {
                for (x, y) in zip(inputs, expected) { #expect(try layer.forward(x).y == y) }
            }
        }
    }

    /// A worker that may not run where it should is an error that says so.
    @Test func processorsThatDoNotExist() throws {
        #if os(Linux)
            #expect {
                try ThreadPool(
                    placement: WorkerPlacement(
                        nodeOfWorker: [0, 0, 1], processorsOfNode: [[], [8000]], processors: 3))
            } throws: { error in
                guard case .system(_, let operation, _)? = error as? MoEError else { return false }
                return operation == "start thread 2 on processors [8000]"
            }
        #endif
    }

    /// Threads fall asleep between stages and within them, and none is forgotten.
    @Test func sleepingThreadsWake() throws {
        for placement in [
            WorkerPlacement(threads: 4, processors: 4), WorkerPlacement(threads: 4, processors: 2),
            Self.twoNodes([0, 1, 0]),
        ] {
            let pool = try ThreadPool(placement: placement)
            for round in 0..<60 {
                var pause = timespec(tv_sec: 0, tv_nsec: round % 3 == 0 ? 1_000_000 : 1000)
                nanosleep(&pause, nil)
                let left = Atomic<UInt32>(1)
                withUnsafePointer(to: left) { pool.run(Relay(left: $0, pool: pool), tasks: 2) }
                #expect(left.load(ordering: .relaxed) == 0)
            }
        }
    }

    /// A stage wakes another thread: its first task lasts until its second has begun elsewhere, or two seconds have passed.
    @Test func stagesWakeWorkers() throws {
        let pool = try ThreadPool(placement: WorkerPlacement(threads: 3, processors: 3))
        for round in 0..<30 {
            var pause = timespec(tv_sec: 0, tv_nsec: round % 3 == 0 ? 1_000_000 : 1000)
            nanosleep(&pause, nil)
            let met = Atomic<Int>(0)
            withUnsafePointer(to: met) { pool.run(Meeting(met: $0), tasks: 2) }
            #expect(met.load(ordering: .relaxed) == 2, "no second thread came")
        }
    }

    private struct Meeting: ParallelWork {
        let met: UnsafePointer<Atomic<Int>>
        func run(task: Int, worker: Int) {
            met.pointee.wrappingAdd(1, ordering: .relaxed)
            let start = cp_nanoseconds()
            while met.pointee.load(ordering: .relaxed) < 2, cp_nanoseconds() - start < 2_000_000_000 { sched_yield() }
        }
    }

    /// One task waits for another, which takes its time.
    private struct Relay: ParallelWork {
        let left: UnsafePointer<Atomic<UInt32>>
        let pool: ThreadPool
        func run(task: Int, worker: Int) {
            if task == 0 {
                var pause = timespec(tv_sec: 0, tv_nsec: 1_000_000)
                nanosleep(&pause, nil)
                left.pointee.wrappingSubtract(1, ordering: .sequentiallyConsistent)
                pool.parking.wake(left.pointee)
            } else {
                pool.parking.wait(for: left.pointee) { $0 == 0 }
            }
        }
    }
}
