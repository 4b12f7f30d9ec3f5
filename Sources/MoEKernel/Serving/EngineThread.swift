import CPlatform
import Synchronization

/// A thread of its own for an actor whose jobs compute for milliseconds.
///
/// Swift's cooperative pool has one thread a processor and counts on none of them being held: an engine that computed there would take one
/// away from everything else in the process, and on a machine with few processors two engines would stop the rest, cancellations and
/// timers included. Between two steps the thread does what has come meanwhile, in the order of its coming.
final class EngineThread: SerialExecutor, @unchecked Sendable {
    private enum Work {
        case job(UnownedJob)
        case body(@Sendable () -> Void)
    }

    private let mutex = PosixMutex()
    private let idle: Parking
    /// Counts whatever the thread should look at.
    private let news = Atomic<UInt32>(0)
    /// Guarded by `mutex`.
    private var queue: [Work] = []
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
        #if canImport(Darwin)
            var handle: pthread_t?
            let failure = pthread_create(&handle, nil, { Self.main($0) }, start.toOpaque())
            let created = handle
        #else
            var handle = pthread_t()
            let failure = pthread_create(&handle, nil, { EngineThread.main($0) }, start.toOpaque())
            let created: pthread_t? = handle
        #endif
        guard failure == 0, let created else {
            start.release()
            throw .system(file: "engine", operation: "start its thread", reason: "error \(failure)")
        }
        thread = created
        pthread_detach(created)
    }

    /// The thread ends once nothing is left to do. Nothing may be handed to it after.
    func stop() {
        mutex.lock()
        isStopping = true
        mutex.unlock()
        announce()
    }

    func enqueue(_ job: consuming ExecutorJob) { put(.job(UnownedJob(job))) }

    /// Runs a closure after all that was handed over before. Unlike a task it belongs to nobody, inherits nothing, and so an engine that
    /// never rests does not keep the task-local values of its first request.
    func perform(_ body: @escaping @Sendable () -> Void) { put(.body(body)) }

    func checkIsolated() { precondition(pthread_equal(pthread_self(), thread) != 0, "not on the engine's thread") }

    private func put(_ work: Work) {
        mutex.lock()
        queue.append(work)
        mutex.unlock()
        announce()
    }

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
        var batch: [Work] = []
        while true {
            let seen = news.load(ordering: .acquiring)
            mutex.lock()
            swap(&batch, &queue)
            let isOver = isStopping && batch.isEmpty
            mutex.unlock()
            if isOver { return }
            for work in batch {
                switch work {
                case .job(let job): job.runSynchronously(on: asUnownedSerialExecutor())
                case .body(let body): body()
                }
            }
            if batch.isEmpty { idle.wait(for: news) { $0 != seen } }
            batch.removeAll(keepingCapacity: true)
        }
    }
}
