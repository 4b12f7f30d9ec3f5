import CPlatform
import Synchronization

/// A thread of its own for an actor whose jobs compute for milliseconds.
///
/// Swift's cooperative pool has one thread a processor and counts on none of them being held: an engine that computed there would take one
/// away from everything else in the process, and on a machine with few processors two engines would stop the rest, cancellations and
/// timers included. Between two steps the thread does what has come meanwhile, in the order of its coming.
final class EngineThread: SerialExecutor, @unchecked Sendable {
    private struct Work {
        let job: UnownedJob
        /// The executor that a task chose, where it is not the actor's job.
        let executor: TasksBetweenSteps?
    }

    /// Jobs are done in so many rounds at most before the next turn: each round is what came during the one before. A flood of calls must
    /// not keep the engine from its steps.
    private static let roundsBeforeTurn = 1024
    /// What a new main thread has on Linux. Other libraries and systems give other threads as little as 128 KiB.
    private static let stackBytes = 8 << 20

    private let mutex = PosixMutex()
    private let idle: Parking
    /// Counts whatever the thread should look at.
    private let news = Atomic<UInt32>(0)
    /// Threads that are about to hand something over. What they hand over may be done, and with it the actor's last reference gone, before
    /// they have announced it.
    private let callers = Atomic<Int>(0)
    /// Guarded by `mutex`.
    private var queue: [Work] = []
    private var turn: (@Sendable () -> Void)?
    private var isStopping = false
    /// Written before anything is in the queue.
    private var thread = pthread_self()

    /// - Throws: ``MoEError/system(file:operation:reason:)`` when the system refuses a thread.
    init() throws(MoEError) {
        // Patience is for the processors that compute; an idle engine sleeps at once.
        guard let idle = Parking(patience: 0) else { throw .outOfMemory(bytes: 256, purpose: "the engine's thread") }
        self.idle = idle
        // The thread keeps its executor alive, not the other way round: the last reference to the actor may end in a job of this very
        // thread, which could not wait for itself.
        let start = Unmanaged.passRetained(self)
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setstacksize(&attributes, Self.stackBytes)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        #if canImport(Darwin)
            var handle: pthread_t?
            let failure = pthread_create(&handle, &attributes, { EngineThread.main($0) }, start.toOpaque())
            let created = handle
        #else
            var handle = pthread_t()
            let failure = pthread_create(&handle, &attributes, { EngineThread.main($0) }, start.toOpaque())
            let created: pthread_t? = handle
        #endif
        pthread_attr_destroy(&attributes)
        guard failure == 0, let created else {
            start.release()
            throw .system(file: "engine", operation: "start its thread", reason: "error \(failure)")
        }
        thread = created
    }

    /// The thread ends once nothing is left to do. Nothing may be handed to it after.
    func stop() {
        mutex.lock()
        isStopping = true
        mutex.unlock()
        announce()
    }

    func enqueue(_ job: consuming ExecutorJob) { put(UnownedJob(job), for: nil) }

    fileprivate func put(_ job: UnownedJob, for executor: TasksBetweenSteps?) {
        callers.add(1, ordering: .relaxed)
        mutex.lock()
        queue.append(Work(job: job, executor: executor))
        mutex.unlock()
        announce()
        // Nothing of self after this.
        callers.subtract(1, ordering: .releasing)
    }

    /// Runs a closure once no job is left to do, or later than enough of them. There is one at a time.
    ///
    /// Unlike a task it belongs to nobody and inherits nothing: an engine that never rests does not keep the task-local values of its
    /// first request.
    func takeTurn(_ body: @escaping @Sendable () -> Void) {
        mutex.lock()
        turn = body
        mutex.unlock()
        announce()
    }

    func checkIsolated() { precondition(pthread_equal(pthread_self(), thread) != 0, "not on the engine's thread") }

    private func announce() {
        news.wrappingAdd(1, ordering: .sequentiallyConsistent)
        idle.wake(news)
    }

    private static func main(_ raw: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
        guard let raw else { return nil }
        Unmanaged<EngineThread>.fromOpaque(raw).takeRetainedValue().work()
        return nil
    }

    private func work() {
        var jobs: [Work] = []
        var rounds = 0
        while true {
            let seen = news.load(ordering: .acquiring)
            var body: (@Sendable () -> Void)?
            mutex.lock()
            swap(&jobs, &queue)
            if jobs.isEmpty || rounds >= Self.roundsBeforeTurn { swap(&body, &turn) }
            let isOver = isStopping && jobs.isEmpty && body == nil
            mutex.unlock()
            if isOver {
                while callers.load(ordering: .acquiring) != 0 { sched_yield() }
                return
            }
            for work in jobs {
                if let executor = work.executor {
                    work.job.runSynchronously(
                        isolatedTo: asUnownedSerialExecutor(), taskExecutor: executor.asUnownedTaskExecutor())
                } else {
                    work.job.runSynchronously(on: asUnownedSerialExecutor())
                }
            }
            rounds = body == nil ? rounds + 1 : 0
            body?()
            if jobs.isEmpty && body == nil {
                rounds = 0
                idle.wait(for: news) { $0 != seen }
            }
            jobs.removeAll(keepingCapacity: true)
        }
    }
}

/// The thread as an executor that tasks may choose: they run where the actor does, between its steps. A simulation of which every part is
/// there has one order of events.
final class TasksBetweenSteps: TaskExecutor {
    private let thread: EngineThread

    init(_ thread: EngineThread) { self.thread = thread }

    func enqueue(_ job: consuming ExecutorJob) { thread.put(UnownedJob(job), for: self) }
}
