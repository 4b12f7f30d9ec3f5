import MoEKernel
import Synchronization

/// Sends a schedule's requests to an engine and notes what becomes of each, as its sender sees it.
///
/// Requests are sent when they are due, however many are under way. Latencies count from the time that was scheduled: a request that is
/// sent late, because the machine or the engine was busy, has been waiting since.
package struct LoadGenerator<Model: MoEEngineModel>: Sendable {
    package let engine: MoEEngine<Model>
    package let clock: any ServingClock
    package let interruption: Interruption
    /// Where senders run; nil for Swift's pool. A simulation has them on the engine's thread, between its steps.
    package let executor: (any TaskExecutor)?
    /// A request's prompt, [tokens, width].
    package let prompt: @Sendable (ServingLoad.Request) -> [Model.Element]

    package init(
        engine: MoEEngine<Model>, clock: any ServingClock, interruption: Interruption,
        executor: (any TaskExecutor)? = nil, prompt: @escaping @Sendable (ServingLoad.Request) -> [Model.Element]
    ) {
        self.engine = engine
        self.clock = clock
        self.interruption = interruption
        self.executor = executor
        self.prompt = prompt
    }

    /// What became of a request, and the engine's reason where it failed.
    package struct Answer: Sendable {
        package let request: ServingRecord.Request
        package let failure: MoEEngineError?
    }

    /// Runs the schedule to its end, or until it is interrupted: then those under way are given up, and those whose time has not come
    /// are not in the result.
    package func run(_ schedule: [ServingLoad.Request]) async -> [Answer] {
        let senders = await withTaskExecutorPreference(executor) { await send(schedule) }
        // An interruption may come while the last ones are served.
        let watch = Task {
            while !interruption.isRequested {
                do { try await Task.sleep(for: .milliseconds(20)) } catch { return }
            }
            for sender in senders { sender.cancel() }
        }
        var answers: [Answer] = []
        for sender in senders { answers.append(await sender.value) }
        watch.cancel()
        return answers
    }

    private func send(_ schedule: [ServingLoad.Request]) async -> [Task<Answer, Never>] {
        let underWay = UnderWay()
        var senders: [Task<Answer, Never>] = []
        for request in schedule {
            await clock.sleep(until: request.arrival, isIdle: underWay.isNone)
            if interruption.isRequested { break }
            underWay.begin()
            senders.append(
                Task(executorPreference: executor) {
                    let answer = await serve(request)
                    if underWay.end() { clock.becameIdle() }
                    return answer
                })
        }
        return senders
    }

    private func serve(_ request: ServingLoad.Request) async -> Answer {
        var generated = 0
        var first: Double?
        var end = 0.0
        var outcome = ServingRecord.Outcome.finished
        var failure: MoEEngineError?
        do throws(MoEEngineError) {
            let generation = try await engine.submit(prompt: prompt(request), outputTokens: request.outputTokens)
            if request.cancelAfter == 0 { generation.cancel() }
            var rows = generation.makeAsyncIterator()
            while try await rows.next() != nil {
                end = clock.now
                first = first ?? end
                generated += 1
                if generated == request.cancelAfter { generation.cancel() }
            }
        } catch {
            end = clock.now
            switch error {
            case .queueFull: outcome = .rejected
            case .cancelled, .shutDown: outcome = .cancelled
            case .failed, .invalid:
                outcome = .failed
                failure = error
            }
        }
        return Answer(
            request: ServingRecord.Request(
                arrival: request.arrival, promptTokens: request.promptTokens, outputTokens: request.outputTokens,
                generatedTokens: generated, outcome: outcome, firstToken: first, end: end), failure: failure)
    }
}

/// Requests that were sent and are not over.
private final class UnderWay: Sendable {
    private let count = Atomic(0)

    var isNone: Bool { count.load(ordering: .relaxed) == 0 }

    func begin() { count.add(1, ordering: .relaxed) }

    /// Whether that was the last.
    func end() -> Bool { count.subtract(1, ordering: .relaxed).newValue == 0 }
}
