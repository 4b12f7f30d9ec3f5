import Synchronization

/// Carries a request's rows from the engine's thread to a reader on any other.
final class GenerationChannel<Value: BitwiseCopyable & Sendable>: @unchecked Sendable {
    enum End: Sendable, Hashable {
        case finished
        case cancelled
        case failed(MoEEngineError)
    }

    private typealias Answer = Result<[Value]?, MoEEngineError>

    private let mutex = PosixMutex()
    /// Guarded by `mutex`, as all that follows. Rows before `head` have been read.
    private var rows: [[Value]] = []
    private var head = 0
    private var end: End?
    private var reader: CheckedContinuation<Answer, Never>?
    /// Also read without the lock: the engine asks before every step.
    private let cancelled = Atomic<Bool>(false)

    var isCancelled: Bool { cancelled.load(ordering: .acquiring) }

    /// Of the engine: the next row. Ignored when nobody wants it any more.
    func send(_ row: [Value]) {
        let waiting = locked { () -> CheckedContinuation<Answer, Never>? in
            guard end == nil else { return nil }
            if let reader = takeReader() { return reader }
            rows.append(row)
            return nil
        }
        waiting?.resume(returning: .success(row))
    }

    /// Of the engine: there are no more rows.
    ///
    /// - Returns: How the request ended: as said, or cancelled where its reader was quicker.
    func finish(_ wanted: End) -> End {
        let (end, waiting) = locked {
            let end = self.end ?? wanted
            self.end = end
            return (end, takeReader())
        }
        waiting?.resume(returning: Self.answer(end))
        return end
    }

    /// Of the reader: it wants no more.
    func cancel() {
        let waiting = locked { () -> CheckedContinuation<Answer, Never>? in
            // What is finished and read to its end stays finished.
            guard end == nil || head < rows.count else { return nil }
            if end == nil { end = .cancelled }
            cancelled.store(true, ordering: .releasing)
            rows = []
            head = 0
            return takeReader()
        }
        waiting?.resume(returning: .failure(.cancelled))
    }

    func next(isolation: isolated (any Actor)?) async throws(MoEEngineError) -> [Value]? {
        let answer: Answer = await withTaskCancellationHandler(
            operation: {
                await withCheckedContinuation(isolation: isolation) { continuation in
                    let answer = locked { () -> Answer? in
                        if let answer = answerNow() { return answer }
                        reader = continuation
                        return nil
                    }
                    if let answer { continuation.resume(returning: answer) }
                }
            }, onCancel: { cancel() }, isolation: isolation)
        return try answer.get()
    }

    /// What can be said without waiting.
    private func answerNow() -> Answer? {
        if isCancelled { return .failure(.cancelled) }
        if head < rows.count {
            let row = rows[head]
            rows[head] = []
            head += 1
            return .success(row)
        }
        if let end { return Self.answer(end) }
        guard reader == nil else {
            return .failure(
                .invalid(
                    .input(name: "the generation's reader", value: "a second task", expectation: "one task at a time")))
        }
        return nil
    }

    private static func answer(_ end: End) -> Answer {
        switch end {
        case .finished: .success(nil)
        case .cancelled: .failure(.cancelled)
        case .failed(let error): .failure(error)
        }
    }

    private func takeReader() -> CheckedContinuation<Answer, Never>? {
        defer { reader = nil }
        return reader
    }

    private func locked<Result>(_ body: () -> Result) -> Result {
        mutex.lock()
        defer { mutex.unlock() }
        return body()
    }
}
