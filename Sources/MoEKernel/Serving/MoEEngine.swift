/// Serves requests by continuous batching: every step computes the next token of all that run, and pieces of new prompts beside them.
///
/// ```swift
/// let engine = try MoEEngine(MoELayerStack(layers), limits: MoEEngineLimits(maximumRunning: 16))
/// for try await row in try await engine.submit(prompt: rows, outputTokens: 32) { send(row) }
/// await engine.shutdown()
/// ```
///
/// What a step computes is the ``MoEEngineModel``'s affair. Steps run on a thread of the engine's own, one after the other, and never on
/// Swift's cooperative pool; calls to the engine are answered between two steps. The engine reads no clock and decides nothing by time.
///
/// Requests start in the order in which they were accepted. Prompts are computed in pieces that fill what decoding requests leave of a
/// batch, so a long prompt does not keep others from their next token. What an engine holds is bounded by its ``MoEEngineLimits``.
/// A step that throws fails the requests of that step; those that wait are served by the next.
public actor MoEEngine<Model: MoEEngineModel> {
    public typealias Value = Model.Element

    /// How an engine ends.
    public enum Shutdown: Sendable, Hashable {
        /// Whoever was accepted is served to the end.
        case whenFinished
        /// Whoever is not done gets ``MoEEngineError/shutDown`` after the rows it has.
        case atOnce
    }

    public nonisolated let limits: MoEEngineLimits
    /// Elements of a row.
    public nonisolated let width: Int

    private let model: Model
    private let onStep: (@Sendable (MoEEngineStep) -> Void)?
    private var schedule = EngineSchedule<Value>()
    private var batch = EngineBatch<Value>()
    private var counts = MoEEngineStatistics()
    /// Who waits for room in the queue.
    private var submitters: [Submitter] = []
    private var nextSubmitter = 0
    private var isShutDown = false
    private var shutdowns: [CheckedContinuation<Void, Never>] = []
    private var isTurnDue = false
    nonisolated let thread: EngineThread

    private struct Submitter {
        let number: Int
        let submission: Submission
        let continuation: Continuation
    }

    private typealias Continuation = CheckedContinuation<Result<MoEGeneration<Value>, MoEEngineError>, Never>

    /// A request that was found to be in order.
    private struct Submission {
        let prompt: [Value]
        let tokens: Int
        let outputTokens: Int
    }

    /// - Parameters:
    ///   - model: What steps compute; the engine's from now on.
    ///   - limits: What bounds it; nil takes the defaults.
    ///   - onStep: Called on the engine's thread before each step, for metrics. Steps wait for it.
    /// - Throws: ``MoEError/configuration(field:value:expectation:)`` for a model without width or a batch that overflows;
    ///   ``MoEError/system(file:operation:reason:)`` when the system refuses a thread;
    ///   ``MoEError/outOfMemory(bytes:purpose:)``.
    public init(
        _ model: sending Model, limits: MoEEngineLimits? = nil,
        onStep: (@Sendable (MoEEngineStep) -> Void)? = nil
    ) throws(MoEError) {
        let limits = if let limits { limits } else { try MoEEngineLimits() }
        let width = model.width
        guard width >= 1 else {
            throw .configuration(field: "width", value: "\(width)", expectation: "1 or more")
        }
        let longest = max(limits.maximumBatchTokens, limits.maximumSequenceTokens)
        guard checkedProduct([longest, width], times: MemoryLayout<Value>.stride) != nil else {
            throw .configuration(
                field: "limits", value: "\(longest) tokens of \(width)", expectation: "a product below 2^63 bytes")
        }
        self.limits = limits
        self.width = width
        self.model = model
        self.onStep = onStep
        thread = try EngineThread()
    }

    deinit { thread.stop() }

    public nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

    /// The engine's thread as an executor of tasks: they run between steps, and a step comes only when none has anything to do.
    package nonisolated var taskExecutor: any TaskExecutor { TasksBetweenSteps(thread) }

    // MARK: Requests

    /// Accepts a request, or turns it away at once: for a server that would rather tell its client than let it wait.
    ///
    /// - Parameters:
    ///   - prompt: [tokens, width], row-major.
    ///   - outputTokens: Rows to generate, 1 or more; fewer come where the model finds that one is the last.
    /// - Throws: ``MoEEngineError/queueFull(maximumWaiting:)``, which is counted; ``MoEEngineError/invalid(_:)``;
    ///   ``MoEEngineError/shutDown``.
    public func submit(prompt: [Value], outputTokens: Int) throws(MoEEngineError) -> MoEGeneration<Value> {
        let submission = try check(prompt, outputTokens)
        guard !isShutDown else { throw .shutDown }
        guard schedule.waiting.count < limits.maximumWaiting else {
            counts.rejected += 1
            throw .queueFull(maximumWaiting: limits.maximumWaiting)
        }
        return accept(submission)
    }

    /// Accepts a request as soon as there is room in the queue, in the order of the calls: back-pressure for a caller that can wait.
    ///
    /// - Parameters: As for ``submit(prompt:outputTokens:)``.
    /// - Throws: ``MoEEngineError/invalid(_:)``; ``MoEEngineError/cancelled`` when the task was cancelled before there was room;
    ///   ``MoEEngineError/shutDown``.
    public func submitWhenRoom(
        prompt: [Value], outputTokens: Int
    ) async throws(MoEEngineError) -> MoEGeneration<Value> {
        let submission = try check(prompt, outputTokens)
        guard !isShutDown else { throw .shutDown }
        guard !Task.isCancelled else { throw .cancelled }
        if schedule.waiting.count < limits.maximumWaiting { return accept(submission) }
        let number = nextSubmitter
        nextSubmitter += 1
        let answer = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: Continuation) in
                // The way here may have been a suspension, so everything is asked again.
                if isShutDown {
                    continuation.resume(returning: .failure(.shutDown))
                } else if Task.isCancelled {
                    continuation.resume(returning: .failure(.cancelled))
                } else if schedule.waiting.count < limits.maximumWaiting {
                    continuation.resume(returning: .success(accept(submission)))
                } else {
                    submitters.append(Submitter(number: number, submission: submission, continuation: continuation))
                }
            }
        } onCancel: {
            // Waits its turn on this actor, so it comes after a task that did not see its cancellation above has been noted.
            Task { await withdraw(number) }
        }
        return try answer.get()
    }

    private func withdraw(_ number: Int) {
        guard let index = submitters.firstIndex(where: { $0.number == number }) else { return }
        submitters.remove(at: index).continuation.resume(returning: .failure(.cancelled))
    }

    private func check(_ prompt: [Value], _ outputTokens: Int) throws(MoEEngineError) -> Submission {
        guard !prompt.isEmpty, prompt.count % width == 0 else {
            throw .invalid(
                .input(
                    name: "prompt", value: "\(prompt.count) values",
                    expectation: "one or more rows of \(width)"))
        }
        let tokens = prompt.count / width
        guard outputTokens >= 1 else {
            throw .invalid(.input(name: "outputTokens", value: "\(outputTokens)", expectation: "1 or more"))
        }
        guard outputTokens <= limits.maximumSequenceTokens - tokens else {
            throw .invalid(
                .input(
                    name: "request", value: "\(tokens) tokens that ask for \(outputTokens)",
                    expectation: "\(limits.maximumSequenceTokens) together at most"))
        }
        return Submission(prompt: prompt, tokens: tokens, outputTokens: outputTokens)
    }

    private func accept(_ submission: Submission) -> MoEGeneration<Value> {
        let request = EngineRequest(
            number: counts.accepted, prompt: submission.prompt, promptTokens: submission.tokens,
            outputTokens: submission.outputTokens)
        counts.accepted += 1
        schedule.append(request)
        takeTurn()
        return MoEGeneration(request: request.number, channel: request.channel)
    }

    // MARK: State

    /// A snapshot, between two steps.
    public var statistics: MoEEngineStatistics {
        var statistics = counts
        statistics.waiting = schedule.waiting.count
        statistics.running = schedule.running.count
        return statistics
    }

    /// Takes no more requests, and returns when none is left. Callers who still wait for room get ``MoEEngineError/shutDown``.
    ///
    /// A second call may be in more of a hurry than the first.
    public func shutdown(_ how: Shutdown = .whenFinished) async {
        isShutDown = true
        for submitter in submitters { submitter.continuation.resume(returning: .failure(.shutDown)) }
        submitters = []
        if how == .atOnce {
            for request in schedule.removeWaiting(where: { _ in true }) { end(request, .failed(.shutDown)) }
            for request in schedule.removeRunning(where: { _ in true }) { end(request, .failed(.shutDown)) }
            resumeShutdowns()
        }
        guard !schedule.isEmpty else { return }
        await withCheckedContinuation { continuation in
            // The way here may have been a suspension.
            if schedule.isEmpty { continuation.resume() } else { shutdowns.append(continuation) }
        }
    }

    private func resumeShutdowns() {
        guard isShutDown, schedule.isEmpty else { return }
        for shutdown in shutdowns { shutdown.resume() }
        shutdowns = []
    }

    // MARK: Steps

    /// Has the thread take the next step, after whatever was asked of the engine meanwhile.
    private func takeTurn() {
        guard !isTurnDue else { return }
        isTurnDue = true
        thread.takeTurn { [self] in assumeIsolated { $0.turn() } }
    }

    private func turn() {
        isTurnDue = false
        for request in schedule.removeWaiting(where: { $0.channel.isCancelled }) { end(request, .cancelled) }
        for request in schedule.removeRunning(where: { $0.channel.isCancelled }) { end(request, .cancelled) }
        schedule.formStep(limits)
        if !schedule.parts.isEmpty { step() }
        while schedule.waiting.count < limits.maximumWaiting, !submitters.isEmpty {
            let submitter = submitters.removeFirst()
            submitter.continuation.resume(returning: .success(accept(submitter.submission)))
        }
        resumeShutdowns()
        if !schedule.isEmpty { takeTurn() }
    }

    private func step() {
        batch.gather(schedule.requests, schedule.parts, width: width)
        let decodes = schedule.parts.count { $0.isDecode }
        onStep?(
            MoEEngineStep(
                number: counts.steps, waiting: schedule.waiting.count, running: schedule.running.count,
                prefillTokens: batch.tokens - decodes, decodeTokens: decodes))
        counts.steps += 1
        do throws(MoEError) {
            try batch.compute(model, schedule.parts)
        } catch {
            counts.failedSteps += 1
            // Every running request has part in every step.
            for request in schedule.removeRunning(where: { _ in true }) { end(request, .failed(.failed(error))) }
            return
        }
        counts.decodeTokens += decodes
        counts.prefillTokens += batch.tokens - decodes
        for (index, part) in schedule.parts.enumerated() { advance(schedule.requests[index], part, index) }
        for request in schedule.removeRunning(where: { $0.isOver }) { end(request, .finished) }
    }

    private func advance(_ request: EngineRequest<Value>, _ part: MoEEnginePart, _ index: Int) {
        request.computed += part.rows.count
        guard part.generates else { return }
        let row = batch.output(index, width: width)
        request.prompt = []
        request.last = row
        request.generated += 1
        counts.generatedTokens += 1
        request.isOver = request.generated == request.outputTokens || model.isLast(row.span)
        request.channel.send(row)
    }

    private func end(_ request: EngineRequest<Value>, _ wanted: GenerationChannel<Value>.End) {
        switch request.channel.finish(wanted) {
        case .finished: counts.finished += 1
        case .cancelled: counts.cancelled += 1
        case .failed(.shutDown): counts.stopped += 1
        case .failed: counts.failed += 1
        }
        if request.hasStarted { model.release(request.number) }
    }
}
