import CPlatform
import Synchronization

/// A stage's work as the pool runs it: independent tasks, each done once by any worker.
///
/// A value on the caller's stack, reached by pointer, so that running a stage allocates nothing.
protocol ParallelWork {
    /// Does task `task`; `worker` is in 0..<threads and identifies scratch memory that no other running task uses.
    func run(task: Int, worker: Int)
}

extension ParallelWork {
    fileprivate static func run(_ work: UnsafeRawPointer, task: Int, worker: Int) {
        work.assumingMemoryBound(to: Self.self).pointee.run(task: task, worker: worker)
    }
}

/// Work whose tasks belong to memory nodes: those of node n are `firstTask(ofNode: n)` up to, not including, `firstTask(ofNode: n + 1)`.
///
/// A task may wait for earlier tasks of its own node, never for another node's: then whichever workers come, work goes on.
protocol NodeWork: ParallelWork {
    /// For n from 0 to the number of the pool's nodes, where it is the number of tasks.
    func firstTask(ofNode node: Int) -> Int
}

/// Persistent threads for layers to share; a model of 60 layers needs one pool.
///
/// The calling thread works along, so a pool of n threads starts n - 1. Idle threads spin for a short bounded time, then sleep
/// until the next stage. Calls from several tasks take turns, stage by stage. Threads are the operating system's own; Swift's
/// cooperative executor is never blocked by a kernel.
///
/// On a machine with several memory nodes, threads are spread over them and stay on theirs, the caller's aside; each expert's
/// weights are put into one node's memory, and that node's threads compute them first. Started threads are kept off the processor that
/// the calling thread runs on, and otherwise may run on all of their node that the process could use when the pool was made.
public final class ThreadPool: Sendable {
    /// Threads that take part in a stage, the caller's included.
    public var threads: Int { placement.threads }

    let placement: WorkerPlacement
    /// For tasks that wait for others.
    var parking: Parking { shared.running }
    private let shared: SharedState
    private let handles: [Handle]

    /// Starts a pool.
    ///
    /// - Parameter threads: How many threads work on a stage, 1 to ``maximumThreads``; nil takes the processors this process
    ///   may run on.
    /// - Throws: ``MoEError/configuration(field:value:expectation:)`` for a size that cannot be,
    ///   ``MoEError/system(file:operation:reason:)`` when the system refuses a thread.
    public convenience init(threads: Int? = nil) throws(MoEError) {
        let topology = CPUTopology.current()
        let count = threads ?? min(topology.processors.count, Self.maximumThreads)
        guard (1...Self.maximumThreads).contains(count) else {
            throw .configuration(
                field: "threads", value: "\(count)", expectation: "1 to \(Self.maximumThreads)")
        }
        try self.init(placement: WorkerPlacement(threads: count, topology: topology))
    }

    init(placement: WorkerPlacement) throws(MoEError) {
        guard let shared = SharedState(placement) else {
            throw .outOfMemory(bytes: 256, purpose: "the thread pool")
        }
        self.placement = placement
        self.shared = shared
        var handles: [Handle] = []
        for worker in 1..<placement.threads {
            // On one node there is nothing to say, and a system that refuses to be told must not keep a pool from starting.
            let processors = placement.nodes == 1 ? [] : placement.processorsOfNode[placement.nodeOfWorker[worker]]
            var thread: UnsafeMutableRawPointer?
            let start = Unmanaged.passRetained(WorkerStart(shared: shared, worker: worker))
            let failure = cp_thread_start(
                &thread, "moe-\(worker)", processors, Int32(processors.count), Self.workerMain, start.toOpaque())
            guard failure == 0, let thread else {
                start.release()
                shared.stop()
                for handle in handles { cp_thread_join(handle.pointer) }
                let place = processors.isEmpty ? "" : " on processors \(processors)"
                throw .system(
                    file: "thread pool", operation: "start thread \(worker)\(place)", reason: "error \(failure)")
            }
            handles.append(Handle(pointer: thread))
        }
        self.handles = handles
    }

    deinit {
        shared.stop()
        for handle in handles { cp_thread_join(handle.pointer) }
    }

    /// The most threads a pool may have.
    public static let maximumThreads = 512

    /// Runs tasks 0..<count and returns when all are done. Tasks are handed out in order, one at a time.
    func run<Work: ParallelWork>(_ work: borrowing Work, tasks count: Int) {
        guard threads > 1, count > 1 else { return runAlone(work, tasks: count) }
        shared.turn.lock()
        shared.setQueue(0, 0..<count)
        run(work, tasks: count, queues: 1, helps: true)
    }

    /// Runs the tasks of each node, in order, by that node's workers first; who has none left helps the other nodes.
    ///
    /// - Parameter bound: Tasks run on their node only, by its bound workers; the caller, which is bound nowhere, waits. With one node
    ///   this says nothing.
    func run<Work: NodeWork>(byNode work: borrowing Work, bound: Bool = false) {
        let nodes = placement.nodes
        let count = work.firstTask(ofNode: nodes)
        let helps = !bound || nodes == 1
        guard threads > 1, count > (helps ? 1 : 0) else { return runAlone(work, tasks: count) }
        shared.turn.lock()
        for node in 0..<nodes {
            shared.setQueue(node, work.firstTask(ofNode: node)..<work.firstTask(ofNode: node + 1))
        }
        run(work, tasks: count, queues: nodes, helps: helps)
    }

    /// Runs what stands in the queues; gives the turn back.
    private func run<Work: ParallelWork>(_ work: borrowing Work, tasks count: Int, queues: Int, helps: Bool) {
        withUnsafePointer(to: work) { pointer in
            keepOffCaller()
            let stage = Stage(body: Work.self, work: UnsafeRawPointer(pointer), queues: queues, helps: helps)
            shared.open(stage, tasks: count)
            if helps {
                shared.help(worker: 0, node: queues == 1 ? 0 : placement.node(ofProcessor: cp_current_processor()))
            } else {
                shared.awaitTasks()
            }
            shared.close()
            shared.turn.unlock()
        }
    }

    /// Keeps workers off the caller's processor. Left to itself the system often wakes one there, although others are idle (a virtual
    /// machine's idle processors look as if they were taken away), and then caller and worker are in each other's way for milliseconds;
    /// or it moves the caller to a worker's processor, which the worker, kept off the one that the caller left, may not leave: they would
    /// share it for good. Binding each worker to one processor does not help: the caller may be on it.
    private func keepOffCaller() {
        // With more threads than processors somebody is there anyway.
        guard !placement.isOversubscribed || shared.someAreAsleep else { return }
        let processor = cp_current_processor()
        guard processor != shared.callersProcessor else { return }
        shared.callersProcessor = processor
        for (index, handle) in handles.enumerated() {
            placement.processorsOfNode[placement.nodeOfWorker[index + 1]].withUnsafeBufferPointer {
                cp_thread_keep(handle.pointer, $0.baseAddress, Int32($0.count), processor)
            }
        }
    }

    private func runAlone<Work: ParallelWork>(_ work: borrowing Work, tasks count: Int) {
        // Scratch is handed out by worker number, so even a lone task must have the workers to itself.
        shared.turn.lock()
        for task in 0..<count { work.run(task: task, worker: 0) }
        shared.turn.unlock()
    }

    private static let workerMain: @convention(c) (UnsafeMutableRawPointer) -> Void = { raw in
        let start = Unmanaged<WorkerStart>.fromOpaque(raw).takeRetainedValue()
        start.shared.work(as: start.worker)
    }
}

/// A thread of the pool, as the C side knows it.
private struct Handle: @unchecked Sendable {
    let pointer: UnsafeMutableRawPointer
}

private final class WorkerStart {
    let shared: SharedState
    let worker: Int
    init(shared: SharedState, worker: Int) {
        self.shared = shared
        self.worker = worker
    }
}

/// The stage in progress.
private struct Stage {
    var body: any ParallelWork.Type
    var work: UnsafeRawPointer
    var queues: Int
    /// Whether workers go on to other nodes' queues.
    var helps: Bool
}

/// Tasks that are handed out in order.
private struct TaskQueue: ~Copyable {
    let next = Atomic<Int>(0)
    var end = 0
    /// Another node's workers write to its neighbour, which so is in another cache line.
    private let padding = SIMD64<UInt8>()
}

/// What the workers share.
///
/// A stage is open while `word` is odd. Workers come in as long as it is open; the caller, once no task is left to hand out, closes it
/// and waits for those inside. So nobody waits for a worker that wakes late: the stage is then over, or goes on without it. `stage` and
/// the queues are written by the thread that holds `turn` while the stage is closed; who comes inside then finds it so and leaves.
private final class SharedState: @unchecked Sendable {
    let turn = PosixMutex()
    private let placement: WorkerPlacement
    /// Workers without a stage, who sleep on `word`.
    private let idle: Parking
    /// Those who wait for running tasks: the caller at a stage's end, and tasks for one another.
    let running: Parking
    private var stage: Stage?
    /// The processor that workers are kept off; used by the thread that holds `turn`.
    var callersProcessor: Int32 = -1
    private let queues: UnsafeMutablePointer<TaskQueue>
    private let word = Atomic<UInt32>(0)
    /// Workers that are in the stage, or look whether it is still open.
    private let inside = Atomic<UInt32>(0)
    /// Tasks not done, where the caller takes none.
    private let tasksLeft = Atomic<UInt32>(0)
    private let stopping = Atomic<Bool>(false)

    init?(_ placement: WorkerPlacement) {
        // Idle: longer than the gap between two stages of a forward, short enough not to burn an idle machine. Running: as long as tasks
        // take; whose task takes longer has lost its processor and may need ours. With more threads than processors it often does, and
        // who is at the ready keeps the next worker from its processor.
        let crowded = placement.isOversubscribed
        guard let idle = Parking(patience: crowded ? 0 : 50_000),
            let running = Parking(patience: crowded ? 2_000 : 500_000)
        else { return nil }
        self.placement = placement
        self.idle = idle
        self.running = running
        queues = .allocate(capacity: placement.nodes)
        for node in 0..<placement.nodes { (queues + node).initialize(to: TaskQueue()) }
    }

    deinit {
        queues.deinitialize(count: placement.nodes)
        queues.deallocate()
    }

    /// Whether workers sleep, at about this moment.
    var someAreAsleep: Bool { !idle.isEmpty }

    func setQueue(_ index: Int, _ tasks: Range<Int>) {
        queues[index].next.store(tasks.lowerBound, ordering: .relaxed)
        queues[index].end = tasks.upperBound
    }

    func open(_ stage: Stage, tasks: Int) {
        self.stage = stage
        if !stage.helps { tasksLeft.store(UInt32(tasks), ordering: .relaxed) }
        word.wrappingAdd(1, ordering: .sequentiallyConsistent)
        // More threads awake than there are processors, or tasks, would only be in each other's way.
        idle.wake(word, count: stage.helps ? min(tasks, placement.processors, placement.threads) - 1 : .max)
    }

    /// Takes tasks until none is left: of a node's queue, then of the next ones'.
    func help(worker: Int, node: Int) {
        guard let stage else { return }
        for step in 0..<(stage.helps ? stage.queues : 1) {
            let queue = queues + (stage.queues == 1 ? 0 : (node + step) % stage.queues)
            while true {
                let task = queue.pointee.next.wrappingAdd(1, ordering: .relaxed).oldValue
                if task >= queue.pointee.end { break }
                stage.body.run(stage.work, task: task, worker: worker)
                if !stage.helps, tasksLeft.wrappingSubtract(1, ordering: .sequentiallyConsistent).newValue == 0 {
                    running.wake(tasksLeft)
                }
            }
        }
    }

    func awaitTasks() { running.wait(for: tasksLeft) { $0 == 0 } }

    func close() {
        // Sequentially consistent on both sides, here and in `work`: either the worker sees that the stage is closed, or it is seen.
        word.wrappingAdd(1, ordering: .sequentiallyConsistent)
        if inside.load(ordering: .sequentiallyConsistent) != 0 { running.wait(for: inside) { $0 == 0 } }
        stage = nil
    }

    func work(as worker: Int) {
        let node = placement.nodeOfWorker[worker]
        var seen: UInt32 = 0
        while true {
            seen = idle.wait(for: word) { $0 & 1 == 1 && $0 != seen }
            if stopping.load(ordering: .acquiring) { return }
            inside.wrappingAdd(1, ordering: .sequentiallyConsistent)
            if word.load(ordering: .sequentiallyConsistent) == seen { help(worker: worker, node: node) }
            if inside.wrappingSubtract(1, ordering: .sequentiallyConsistent).newValue == 0 { running.wake(inside) }
        }
    }

    func stop() {
        stopping.store(true, ordering: .releasing)
        word.wrappingAdd(1, ordering: .sequentiallyConsistent)
        idle.wake(word)
    }
}

/// A mutual exclusion lock of the platform, at a stable address.
final class PosixMutex: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>

    init() {
        mutex = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    func lock() { pthread_mutex_lock(mutex) }
    func unlock() { pthread_mutex_unlock(mutex) }
}
