import MoEKernel
import Testing

@testable import MoEBench

@Suite(.timeLimit(.minutes(2))) struct OverloadTests {
    private static func limits() throws -> MoEEngineLimits {
        try MoEEngineLimits(
            maximumRunning: 16, maximumWaiting: 64, maximumBatchTokens: 128, maximumSequenceTokens: 4096)
    }

    /// The rate that the simulated engine can just serve: a search as `--find-rate` does it, on shorter runs.
    private static func sustainableRate(_ simulation: Simulation) async throws -> Double {
        var search = RateSearch(from: 4)
        while let rate = search.next {
            var run = simulation
            run.load.rate = rate
            run.load.extent = .seconds(30)
            let outcome = try await run.run()
            search.note(isKept: ServingSummary(outcome.record(run.load, run.limits)).isObjectiveKept == true)
        }
        return try #require(search.held)
    }

    /// Ten minutes at twice what the engine can serve, with senders who give up: no request is lost, every one has one end, and the
    /// engine holds no more than it may.
    @Test func tenMinutesOfTwiceTheSustainableRate() async throws {
        var load = ServingLoad(
            rate: 1, extent: .seconds(600), prompt: .logNormal(median: 40, sigma: 0.8), output: .uniform(2...12))
        load.arrivals = .bursty
        load.cancelled = 0.05
        let limits = try Self.limits()
        var simulation = Simulation(load: load, limits: limits, perStep: 0.1, perToken: 0.001)
        let sustainable = try await Self.sustainableRate(simulation)
        simulation.load.rate = 2 * sustainable
        let outcome = try await simulation.run()

        #expect(outcome.now >= 600)
        let expected = 1200 * sustainable
        #expect(abs(Double(outcome.schedule.count) - expected) < 0.2 * expected)
        try ServingAccounts.check(
            outcome.requests, scheduled: outcome.schedule.count, before: outcome.before, after: outcome.after)
        let summary = ServingSummary(outcome.record(simulation.load, limits))
        #expect(summary.finished + summary.rejected + summary.cancelled + summary.failed == outcome.schedule.count)
        #expect(summary.failed == 0)
        // In simulated time sender and engine see the same.
        #expect(summary.finished == outcome.after.finished && summary.cancelled == outcome.after.cancelled)
        // It is an overload: much is turned away, and what is served keeps the engine busy all the time.
        #expect(Double(summary.rejected) > 0.2 * Double(summary.scheduled))
        #expect(summary.isObjectiveKept == false)
        #expect(outcome.recorder.extremes.mostWaiting == limits.maximumWaiting)

        // What the engine and the model hold is bounded, and nothing is left.
        #expect(outcome.recorder.extremes.mostRunning <= limits.maximumRunning)
        #expect(outcome.recorder.extremes.mostTokens <= limits.maximumBatchTokens)
        #expect(outcome.held.most <= limits.maximumRunning)
        #expect(outcome.held.requests.isEmpty)
        #expect(outcome.recorder.steps.count <= StepRecorder.capacity)
        #expect(outcome.recorder.extremes.steps > 2000)
        // Whoever was let in was served within the time that a full queue takes, in the tenth minute as in the first.
        let done = outcome.requests.filter { $0.outcome == .finished }
        let early = done.filter { $0.arrival < 300 }.map(\.endToEnd).max()!
        let late = done.filter { $0.arrival >= 300 }.map(\.endToEnd).max()!
        #expect(late < 1.5 * early)
    }

    /// Simulated time is reproducible to the bit.
    @Test func aSimulationRepeatsItself() async throws {
        var load = ServingLoad(rate: 30, extent: .requests(500), prompt: .uniform(1...60), output: .uniform(1...9))
        load.cancelled = 0.1
        let simulation = Simulation(load: load, limits: try Self.limits())
        let first = try await simulation.run().requests
        let second = try await simulation.run().requests
        #expect(first == second)
        #expect(Set(first.map(\.outcome)).isSuperset(of: [.finished, .cancelled]))
    }

    /// Steps that fail take their requests along; these are counted, and the rest is served.
    @Test func failedStepsAreAccountedFor() async throws {
        let load = ServingLoad(rate: 25, extent: .requests(600), prompt: .fixed(20), output: .uniform(1...12))
        let limits = try Self.limits()
        let outcome = try await Simulation(load: load, limits: limits, failsEvery: 50).run()
        try ServingAccounts.check(outcome.requests, scheduled: 600, before: outcome.before, after: outcome.after)
        let summary = ServingSummary(outcome.record(load, limits))
        #expect(summary.failed == outcome.after.failed && summary.failed > 0)
        #expect(summary.finished > 300)
        #expect(outcome.answers.allSatisfy { ($0.request.outcome == .failed) == ($0.failure != nil) })
        #expect(outcome.held.requests.isEmpty)
    }

    /// Latency counts from the arrival that was scheduled. An engine that stalls makes all wait who come meanwhile, however late it is
    /// that their requests reach it: one request here takes a step of a second, and a hundred come during it.
    @Test func aStallDelaysAllWhoComeMeanwhile() async throws {
        let limits = try MoEEngineLimits(maximumRunning: 200, maximumWaiting: 200, maximumBatchTokens: 400)
        let load = ServingLoad(rate: 100, extent: .requests(101), prompt: .fixed(1), output: .fixed(1))
        let outcome = try await Simulation(load: load, limits: limits, perStep: 1, perToken: 0).run()
        let first = outcome.requests[0]
        #expect(abs(first.timeToFirstToken! - 1) < 1e-9)
        let during = outcome.requests.dropFirst().filter { $0.arrival < first.end }
        #expect(during.count > 50)
        for request in during {
            // Until the first step's end, and one step more.
            #expect(abs(request.timeToFirstToken! - (first.end - request.arrival + 1)) < 1e-9)
        }
    }

    /// The same with real layers, a real clock and threads: half a second of far too much.
    @Test func aRealEngineInOverload() async throws {
        var load = ServingLoad(rate: 20_000, extent: .seconds(0.06), prompt: .uniform(8...64), output: .uniform(4...24))
        load.cancelled = 0.05
        let limits = try MoEEngineLimits(
            maximumRunning: 4, maximumWaiting: 8, maximumBatchTokens: 32, maximumSequenceTokens: 88)
        let workload = Workload(
            name: "test", tokens: 32, hidden: 64, expertHidden: 48, experts: 4, topK: 2, weightType: .bfloat16)
        let settings = ServeSettings(
            workload: workload, layers: 2, load: load, limits: limits,
            objective: .init(firstToken: 0.01, perToken: 0.001), warmUp: 3, findsRate: false)
        let set = try CPUInstructionSet.chosen()
        let served = try ServedLayers(
            workload, layers: 2, pool: ThreadPool(threads: 2), instructionSet: set, tuning: CPUTuning.chosen(set),
            memoryBytes: 0, progress: .silent)
        #expect(served.checkedTokens >= 12)
        let session = ServingSession(
            settings: settings, layers: served.layers, build: "test", interruption: Interruption(), progress: .silent)
        // Throws where a request is lost.
        let record = try await session.serve(rate: load.rate)
        let summary = ServingSummary(record)
        #expect(summary.scheduled == load.schedule().count)
        #expect(summary.scheduled > 900)
        #expect(summary.finished > 0 && summary.rejected > 0 && summary.failed == 0)
        #expect(record.steps.allSatisfy { $0.waiting <= 8 && $0.running <= 4 && $0.tokens <= 32 })
        #expect(record.requests.allSatisfy { $0.end >= $0.arrival })
        for request in record.requests where request.outcome == .finished {
            #expect(request.generatedTokens == request.outputTokens)
            #expect(request.firstToken! > request.arrival && request.firstToken! <= request.end)
        }
        let lines = ServingText(Terminal(hasStyle: false, hasProgress: false)).run(record)
        #expect(lines.contains { $0.contains("\(summary.rejected) rejected") })
        #expect(lines.allSatisfy { $0.count <= 120 })
    }

    /// An interruption ends the run at once; who was under way is cancelled, who was to come is not in the record.
    @Test func anInterruptionIsOrderly() async throws {
        let load = ServingLoad(rate: 50, extent: .seconds(30), prompt: .fixed(8), output: .fixed(8))
        let workload = Workload(name: "test", tokens: 32, hidden: 64, expertHidden: 48, experts: 4, topK: 2)
        let settings = ServeSettings(
            workload: workload, layers: 1, load: load, limits: try Self.limits(),
            objective: .init(firstToken: 1, perToken: 1), warmUp: 0, findsRate: false)
        let interruption = Interruption()
        let layer = try MoELayer(
            workload.configuration(), weights: workload.weights, pool: ThreadPool(threads: 2))
        let session = ServingSession(
            settings: settings, layers: [layer], build: "test", interruption: interruption, progress: .silent)
        let stop = Task {
            try await Task.sleep(for: .milliseconds(200))
            interruption.request()
        }
        let record = try await session.serve(rate: 50)
        try await stop.value
        #expect(record.partial)
        #expect(record.seconds < 10)
        #expect(record.requests.count < load.schedule().count)
    }
}
