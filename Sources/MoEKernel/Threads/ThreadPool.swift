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

/// Persistent threads for layers to share; a model of 60 layers needs one pool.
///
/// The calling thread works along, so a pool of n threads starts n - 1. Idle threads spin for a short bounded time, then sleep
/// until the next stage. Calls from several tasks take turns, stage by stage. Threads are the operating system's own; Swift's
/// cooperative executor is never blocked by a kernel.
public final class ThreadPool: Sendable {
    /// Threads that take part in a stage, the caller's included.
    public let threads: Int

    private let shared: SharedState
    private let handles: [Handle]

    /// Starts a pool.
    ///
    /// - Parameter threads: How many threads work on a stage, 1 to ``maximumThreads``; nil takes the processors this process
    ///   may run on.
    /// - Throws: ``MoEError/configuration(field:value:expectation:)`` for a size that cannot be,
    ///   ``MoEError/system(file:operation:reason:)`` when the system refuses a thread.
    public init(threads: Int? = nil) throws(MoEError) {
        let count = threads ?? min(Int(cp_available_processors()), Self.maximumThreads)
        guard (1...Self.maximumThreads).contains(count) else {
            throw .configuration(
                field: "threads", value: "\(count)", expectation: "1 to \(Self.maximumThreads)")
        }
        guard let shared = SharedState() else { throw .outOfMemory(bytes: 128, purpose: "the thread pool") }
        self.threads = count
        self.shared = shared
        var handles: [Handle] = []
        for worker in 1..<max(count, 1) {
            var thread: UnsafeMutableRawPointer?
            let start = Unmanaged.passRetained(WorkerStart(shared: shared, worker: worker))
            let failure = cp_thread_start(&thread, "moe-\(worker)", Self.workerMain, start.toOpaque())
            guard failure == 0, let thread else {
                start.release()
                shared.stop()
                for handle in handles { cp_thread_join(handle.pointer) }
                throw .system(file: "thread pool", operation: "start thread \(worker)", reason: "error \(failure)")
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
        if threads == 1 || count <= 1 {
            // Scratch is handed out by worker number, so even a lone task must have the workers to itself.
            shared.turn.lock()
            for task in 0..<count { work.run(task: task, worker: 0) }
            shared.turn.unlock()
            return
        }
        withUnsafePointer(to: work) { pointer in
            shared.turn.lock()
            shared.publish(
                Stage(body: Work.self, work: UnsafeRawPointer(pointer), count: count), workers: threads - 1)
            shared.help(worker: 0)
            shared.awaitWorkers()
            shared.turn.unlock()
        }
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
    var count: Int
}

/// What the workers share. `stage` is written by the thread that holds `turn`, before the gate's word announces it, and read by
/// workers after they have seen the word; `busy` reaching zero ends their use of it.
private final class SharedState: @unchecked Sendable {
    let turn = PosixMutex()
    private let gate: OpaquePointer
    private var stage: Stage?
    private let next = Atomic<Int>(0)
    private let busy = Atomic<Int>(0)

    /// About 50 µs of pauses: longer than the gap between two stages of a forward, short enough not to burn an idle machine.
    private static let spins = 2000
    private static let stopWord: UInt32 = .max

    init?() {
        guard let gate = cp_gate_create() else { return nil }
        self.gate = gate
    }

    deinit { cp_gate_destroy(gate) }

    func publish(_ stage: Stage, workers: Int) {
        self.stage = stage
        next.store(0, ordering: .relaxed)
        busy.store(workers, ordering: .relaxed)
        // The word counts stages and skips the value that means stop.
        let word = cp_gate_load(gate) &+ 1
        cp_gate_store(gate, word == Self.stopWord ? 0 : word)
    }

    /// Takes tasks until none is left.
    func help(worker: Int) {
        guard let stage else { return }
        while true {
            let task = next.wrappingAdd(1, ordering: .relaxed).oldValue
            if task >= stage.count { return }
            stage.body.run(stage.work, task: task, worker: worker)
        }
    }

    func awaitWorkers() {
        var spin = 0
        while busy.load(ordering: .acquiring) != 0 {
            cp_pause()
            spin += 1
            // With more threads than processors the worker that we wait for may need ours.
            if spin & 1023 == 0 { sched_yield() }
        }
        stage = nil
    }

    func work(as worker: Int) {
        var seen: UInt32 = 0
        while true {
            var word = cp_gate_load(gate)
            var spin = 0
            while word == seen && spin < Self.spins {
                cp_pause()
                spin += 1
                word = cp_gate_load(gate)
            }
            if word == seen { word = cp_gate_wait(gate, seen) }
            if word == Self.stopWord { return }
            seen = word
            help(worker: worker)
            busy.wrappingSubtract(1, ordering: .releasing)
        }
    }

    func stop() { cp_gate_store(gate, Self.stopWord) }
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
