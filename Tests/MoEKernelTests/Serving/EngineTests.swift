import Dispatch
import Testing

@testable import MoEKernel

@Suite(.timeLimit(.minutes(2))) struct EngineTests {
    private typealias Engine = MoEEngine<TokenModel>

    private static func limits(
        running: Int = 4, waiting: Int = 64, batch: Int = 8, sequence: Int = 256
    ) throws -> MoEEngineLimits {
        try MoEEngineLimits(
            maximumRunning: running, maximumWaiting: waiting, maximumBatchTokens: batch, maximumSequenceTokens: sequence
        )
    }

    private static func prompt(_ request: Int, _ count: Int) -> [Int32] {
        (0..<count).map { Int32(request * 1000 + $0) }
    }

    // MARK: What is computed

    /// Requests of many lengths, through steps of a few tokens: each is as if it were alone, and each step within its limits.
    @Test func everyRequestIsServedAsIfAlone() async throws {
        let model = TokenModel()
        let log = model.log
        let limits = try Self.limits()
        let engine = try MoEEngine(model, limits: limits)
        let lengths = (0..<40).map { (prompt: 1 + $0 * 7 % 23, output: 1 + $0 * 5 % 11) }
        let generations = try await engine.between { engine in
            try lengths.enumerated().map { index, length in
                try engine.submit(prompt: Self.prompt(index, length.prompt), outputTokens: length.output)
            }
        }
        for (index, generation) in generations.enumerated() {
            let (tokens, error) = await generation.collected()
            #expect(error == nil)
            #expect(
                tokens == TokenModel.alone(Self.prompt(index, lengths[index].prompt), lengths[index].output),
                "request \(index)")
        }
        await engine.shutdown()
        #expect(log.problems == [])
        for parts in log.steps {
            #expect(parts.last!.rows.upperBound <= limits.maximumBatchTokens)
            #expect(parts.count <= limits.maximumRunning)
            #expect(zip(parts, parts.dropFirst()).allSatisfy { $0.rows.upperBound == $1.rows.lowerBound })
            #expect(parts.allSatisfy { !$0.isDecode || $0.rows.count == 1 })
            #expect(Set(parts.map(\.request)).count == parts.count)
        }
        #expect(Set(log.released) == Set(0..<40))
        let statistics = await engine.statistics
        #expect(statistics.finished == 40 && statistics.addsUp)
        #expect(statistics.generatedTokens == lengths.reduce(0) { $0 + $1.output })
        #expect(statistics.prefillTokens == lengths.reduce(0) { $0 + $1.prompt })
        // A request's last token is nobody's input.
        #expect(statistics.decodeTokens == lengths.reduce(0) { $0 + $1.output - 1 })
        #expect(statistics.steps == log.steps.count)
    }

    @Test func aModelMayEndARequestEarly() async throws {
        let expected = TokenModel.alone([5], 20)
        let model = TokenModel()
        model.endToken = expected[6]
        let engine = try MoEEngine(model, limits: try Self.limits())
        let (tokens, error) = await (try await engine.submit(prompt: [5], outputTokens: 20)).collected()
        #expect(error == nil)
        #expect(tokens == Array(expected.prefix(7)))
        #expect(await engine.statistics.finished == 1)
    }

    // MARK: Order

    /// Requests start in the order in which they came, whatever their lengths.
    @Test func requestsStartInOrder() async throws {
        let model = TokenModel()
        let log = model.log
        let engine = try MoEEngine(model, limits: try Self.limits(running: 3, batch: 5))
        let generations = try await engine.between { engine in
            try (0..<20).map {
                try engine.submit(prompt: Self.prompt($0, $0 % 3 == 0 ? 40 : 1), outputTokens: 1 + $0 % 4)
            }
        }
        for generation in generations { #expect(await generation.collected().error == nil) }
        await engine.shutdown()
        var started: [Int] = []
        for part in log.steps.joined() where part.position == 0 && !started.contains(part.request) {
            started.append(part.request)
        }
        #expect(started == Array(0..<20))
    }

    /// While a long prompt is computed, each request that decodes gets its token in every step; and the prompt gets on in each, too.
    @Test func aLongPromptStarvesNobody() async throws {
        let model = TokenModel()
        let log = model.log
        let engine = try MoEEngine(model, limits: try Self.limits(running: 4, batch: 5))
        let generations = try await engine.between { engine in
            try (0..<3).map { try engine.submit(prompt: Self.prompt($0, 1), outputTokens: 50) }
                + [try engine.submit(prompt: Self.prompt(3, 60), outputTokens: 2)]
        }
        for generation in generations { #expect(await generation.collected().error == nil) }
        await engine.shutdown()
        let during = log.steps.dropFirst().filter { parts in parts.contains { $0.request == 3 && !$0.isDecode } }
        #expect(during.count >= 25)
        for parts in during {
            #expect(Set(parts.filter(\.isDecode).map(\.request)) == [0, 1, 2])
            #expect(parts.contains { $0.request == 3 && $0.rows.count >= 1 })
        }
    }

    // MARK: A full queue

    @Test func aFullQueueTurnsAwayAndCounts() async throws {
        let engine = try MoEEngine(TokenModel(), limits: try Self.limits(running: 1, waiting: 3))
        let (generations, refusal) = try await engine.between { engine in
            let generations = try (0..<3).map { try engine.submit(prompt: Self.prompt($0, 2), outputTokens: 3) }
            var refusal: MoEEngineError?
            do throws(MoEEngineError) {
                _ = try engine.submit(prompt: [1], outputTokens: 1)
            } catch { refusal = error }
            return (generations, refusal)
        }
        #expect(refusal == .queueFull(maximumWaiting: 3))
        for generation in generations { #expect(await generation.collected().error == nil) }
        let statistics = await engine.statistics
        #expect(statistics.rejected == 1 && statistics.finished == 3 && statistics.accepted == 3)
    }

    /// Callers that can wait are let in one by one, in order, and the queue never holds more than it may.
    @Test func callersWaitForRoom() async throws {
        let longest = MaximumBox()
        let engine = try MoEEngine(TokenModel(), limits: try Self.limits(running: 1, waiting: 2)) {
            longest.note($0.waiting)
        }
        let numbers = try await withThrowingTaskGroup(of: (Int, [Int32]).self) { group in
            for index in 0..<12 {
                group.addTask {
                    let generation = try await engine.submitWhenRoom(
                        prompt: Self.prompt(index, 2), outputTokens: 3)
                    let (tokens, error) = await generation.collected()
                    #expect(error == nil && tokens == TokenModel.alone(Self.prompt(index, 2), 3))
                    return (generation.request, tokens)
                }
            }
            return try await group.reduce(into: []) { $0.append($1.0) }
        }
        #expect(Set(numbers) == Set(0..<12))
        await engine.shutdown()
        #expect(longest.value <= 2)
        #expect(await engine.statistics.rejected == 0)
    }

    /// One request runs without end and one waits, which is all that may; whether the third caller was cancelled before it asked or while
    /// it waited.
    @Test func aCallerThatWaitsForRoomCanGiveUp() async throws {
        let engine = try MoEEngine(TokenModel(), limits: try Self.limits(running: 1, waiting: 1, sequence: 1 << 30))
        let first = try await engine.submit(prompt: [1], outputTokens: 1 << 29)
        #expect(try await eventually { await engine.statistics.running == 1 })
        let second = try await engine.submit(prompt: [2], outputTokens: 1)
        let third = Task { try await engine.submitWhenRoom(prompt: [3], outputTokens: 1) }
        try await Task.sleep(for: .milliseconds(5))
        third.cancel()
        let refused = await third.result
        #expect(throws: MoEEngineError.cancelled) { _ = try refused.get() }
        first.cancel()
        #expect(await second.collected().error == nil)
        await engine.shutdown()
        #expect(await engine.statistics.accepted == 2)
    }

    // MARK: Giving up

    /// One that runs and one that waits are cancelled; both leave before the next step, and the others are served.
    @Test func cancelledRequestsLeaveAtTheNextStep() async throws {
        let model = TokenModel()
        let log = model.log
        let engine = try MoEEngine(model, limits: try Self.limits(running: 1, sequence: 1 << 30))
        let generations = try await engine.between { engine in
            try (0..<3).map { try engine.submit(prompt: Self.prompt($0, 2), outputTokens: $0 == 0 ? 1 << 29 : 4) }
        }
        var rows = generations[0].makeAsyncIterator()
        #expect(try await rows.next() != nil)
        generations[1].cancel()
        let stepsThen = await engine.between { _ in
            generations[0].cancel()
            return log.steps.count
        }
        await #expect(throws: MoEEngineError.cancelled) { try await rows.next() }
        #expect(await generations[1].collected().error == .cancelled)
        let (tokens, error) = await generations[2].collected()
        #expect(error == nil && tokens == TokenModel.alone(Self.prompt(2, 2), 4))
        await engine.shutdown()
        #expect(log.steps.dropFirst(stepsThen).joined().allSatisfy { $0.request == 2 })
        // The one that waited never had anything in the model.
        #expect(log.released == [0, 2] && log.problems == [])
        let statistics = await engine.statistics
        #expect(statistics.cancelled == 2 && statistics.finished == 1 && statistics.addsUp)
    }

    @Test func aCancelledTaskTakesItsRequestAlong() async throws {
        let model = TokenModel()
        let log = model.log
        let engine = try MoEEngine(model, limits: try Self.limits(sequence: 1 << 30))
        let reading = Task { await (try await engine.submit(prompt: [1], outputTokens: 1 << 29)).collected().error }
        #expect(try await eventually { await engine.statistics.generatedTokens > 3 })
        reading.cancel()
        #expect(try await reading.value == .cancelled)
        await engine.shutdown()
        #expect(await engine.statistics.cancelled == 1)
        #expect(log.released == [0])
    }

    /// Who drops the handle can read no answer; the engine does not compute it, and keeps nothing.
    @Test func aDroppedHandleCancels() async throws {
        let engine = try MoEEngine(TokenModel(), limits: try Self.limits(sequence: 1 << 30))
        var first: [Int32]?
        for try await row in try await engine.submit(prompt: [1], outputTokens: 1 << 29) {
            first = row
            break
        }
        #expect(first == TokenModel.alone([1], 1))
        await engine.shutdown()
        let statistics = await engine.statistics
        #expect(statistics.cancelled == 1 && statistics.addsUp)
    }

    @Test func whatIsReadToItsEndStaysFinished() async throws {
        let engine = try MoEEngine(TokenModel(), limits: try Self.limits())
        let generation = try await engine.submit(prompt: [1], outputTokens: 2)
        var rows = generation.makeAsyncIterator()
        while try await rows.next() != nil {}
        generation.cancel()
        #expect(try await rows.next() == nil)
        await engine.shutdown()
        #expect(await engine.statistics.finished == 1)
    }

    @Test func twoTasksCannotReadOneAnswer() async throws {
        let model = TokenModel()
        let gate = DispatchSemaphore(value: 0)
        model.gate = gate
        let engine = try MoEEngine(model, limits: try Self.limits())
        let generation = try await engine.submit(prompt: [1], outputTokens: 1)
        // One of the two comes second, and is told so; then the gate opens for the other.
        let answers = await withTaskGroup(of: MoEEngineError?.self) { group in
            for _ in 0..<2 { group.addTask { await generation.collected().error } }
            let refused = await group.next()!
            gate.signal()
            return [refused, await group.next()!]
        }
        guard case .invalid(.input) = answers[0] else {
            Issue.record("\(answers)")
            return
        }
        #expect(answers[1] == nil)
    }

    // MARK: Failure

    /// A step that throws ends its requests with the error, after the rows they had; whoever waited is served.
    @Test func aFailedStepFailsItsRequestsOnly() async throws {
        let model = TokenModel()
        let log = model.log
        model.failing = [3]
        let engine = try MoEEngine(model, limits: try Self.limits(running: 2))
        let generations = try await engine.between { engine in
            try (0..<5).map { try engine.submit(prompt: Self.prompt($0, 2), outputTokens: 6) }
        }
        let failure = MoEError.unavailable(what: "step 3", reason: "the test said so")
        for (index, generation) in generations.enumerated() {
            let (tokens, error) = await generation.collected()
            let whole = TokenModel.alone(Self.prompt(index, 2), 6)
            #expect(error == (index < 2 ? .failed(failure) : nil), "request \(index)")
            #expect(tokens == (index < 2 ? Array(whole.prefix(3)) : whole), "request \(index)")
        }
        await engine.shutdown()
        #expect(Set(log.released) == Set(0..<5) && log.problems == [])
        let statistics = await engine.statistics
        #expect(statistics.failed == 2 && statistics.failedSteps == 1 && statistics.finished == 3)
        #expect(statistics.addsUp)
    }

    // MARK: Shutdown

    @Test func shutdownServesWhoWasAccepted() async throws {
        let engine = try MoEEngine(TokenModel(), limits: try Self.limits(running: 1))
        let generations = try await engine.between { engine in
            try (0..<6).map { try engine.submit(prompt: Self.prompt($0, 3), outputTokens: 4) }
        }
        await engine.shutdown()
        #expect(await engine.statistics.finished == 6)
        for (index, generation) in generations.enumerated() {
            #expect(await generation.collected().values == TokenModel.alone(Self.prompt(index, 3), 4))
        }
        await #expect(throws: MoEEngineError.shutDown) { try await engine.submit(prompt: [1], outputTokens: 1) }
        await #expect(throws: MoEEngineError.shutDown) { try await engine.submitWhenRoom(prompt: [1], outputTokens: 1) }
        await engine.shutdown(.atOnce)  // again, with nothing left to do
    }

    /// At once means before the next step; a caller that waits for room is not let in any more.
    @Test func shutdownAtOnceEndsEverything() async throws {
        let model = TokenModel()
        let log = model.log
        let gate = DispatchSemaphore(value: 0)
        model.gate = gate
        let engine = try MoEEngine(model, limits: try Self.limits(running: 1, waiting: 2, sequence: 1 << 20))
        let generations = try await engine.between { engine in
            try (0..<2).map { try engine.submit(prompt: Self.prompt($0, 2), outputTokens: 100_000) }
        }
        // Fills what is left of the queue, then waits.
        let callers = (0..<3).map { index in
            Task { await (try await engine.submitWhenRoom(prompt: [7], outputTokens: 100_000)).collected().error }
        }
        let finishing = Task { await engine.shutdown() }
        let hurrying = Task { await engine.shutdown(.atOnce) }
        for _ in 0..<3 { gate.signal() }
        // Steps go on until the hurried call is served; each needs the gate.
        let opening = Task {
            while !Task.isCancelled {
                gate.signal()
                try? await Task.sleep(for: .milliseconds(1))
            }
        }
        await hurrying.value
        await finishing.value
        opening.cancel()
        for generation in generations { #expect(await generation.collected().error == .shutDown) }
        for caller in callers {
            let result = await caller.result
            switch result {
            case .success(let error): #expect(error == .shutDown)
            case .failure(let error): #expect(error as? MoEEngineError == .shutDown)
            }
        }
        let statistics = await engine.statistics
        #expect(statistics.addsUp && statistics.running == 0 && statistics.waiting == 0)
        #expect(statistics.stopped == statistics.accepted)
        #expect(log.problems == [])
    }

    // MARK: Bad input

    @Test func impossibleRequestsAreRefused() async throws {
        let engine = try MoEEngine(TokenModel(), limits: try Self.limits(sequence: 10))
        for (prompt, output) in [([], 1), ([1], 0), ([1], -5), ([1], 10), ([1], Int.max), (Self.prompt(0, 10), 1)] {
            do throws(MoEEngineError) {
                _ = try await engine.submit(prompt: prompt, outputTokens: output)
                Issue.record("\(prompt.count) tokens that ask for \(output) were accepted")
            } catch {
                guard case .invalid(.input) = error else {
                    Issue.record("\(error)")
                    continue
                }
            }
        }
        let statistics = await engine.statistics
        #expect(statistics.accepted == 0 && statistics.rejected == 0)
        #expect(await (try await engine.submit(prompt: [1], outputTokens: 9)).collected().error == nil)
    }

    @Test func impossibleLimitsAreRefused() {
        for (running, waiting, batch, sequence) in [(0, 1, 1, 2), (1, 0, 1, 2), (4, 1, 3, 2), (1, 1, 1, 1)] {
            #expect(throws: MoEError.self) {
                try Self.limits(running: running, waiting: waiting, batch: batch, sequence: sequence)
            }
        }
    }

    // MARK: The thread

    /// As many engines as there are threads in the cooperative pool, and more, are in the middle of a step; tasks run all the same.
    @Test func stepsDoNotHoldTheCooperativePool() async throws {
        let gate = DispatchSemaphore(value: 0)
        let count = CPUTopology.current().processors.count + 3
        let engines = try (0..<count).map { _ in
            let model = TokenModel()
            model.gate = gate
            return try MoEEngine(model, limits: Self.limits())
        }
        var generations: [MoEGeneration<Int32>] = []
        for engine in engines { generations.append(try await engine.submit(prompt: [1], outputTokens: 1)) }
        let sum = await withTaskGroup(of: Int.self) { group in
            for number in 0..<100 { group.addTask { number } }
            return await group.reduce(0, +)
        }
        #expect(sum == 4950)
        for _ in engines { gate.signal() }
        for generation in generations { #expect(await generation.collected().error == nil) }
    }

    @Test func itsThreadEndsWithTheEngine() async throws {
        weak var thread: EngineThread?
        do {
            let engine = try MoEEngine(TokenModel(), limits: try Self.limits())
            thread = engine.thread
            #expect(await (try await engine.submit(prompt: [1], outputTokens: 3)).collected().error == nil)
            #expect(thread != nil)
        }
        #expect(try await eventually { thread == nil })
    }

    /// An engine that nobody holds serves who still listens, and goes then.
    @Test func anEngineOutlivesItsLastReferenceWhileItServes() async throws {
        weak var thread: EngineThread?
        let generation: MoEGeneration<Int32>
        do {
            let engine = try MoEEngine(TokenModel(), limits: try Self.limits())
            thread = engine.thread
            generation = try await engine.submit(prompt: [4], outputTokens: 100)
        }
        #expect(await generation.collected().values == TokenModel.alone([4], 100))
        #expect(try await eventually { thread == nil })
    }
}

/// The largest number noted, on one thread at a time.
private final class MaximumBox: @unchecked Sendable {
    private(set) var value = 0
    func note(_ number: Int) { value = max(value, number) }
}
