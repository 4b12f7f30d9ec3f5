import MoEKernel

@testable import MoEBench

/// Time that passes only while a simulated model computes. Used on the engine's thread alone: senders run there too, between its steps.
final class SimulatedClock: ServingClock, @unchecked Sendable {
    private(set) var now = 0.0
    private var sleepers: [(time: Double, continuation: CheckedContinuation<Void, Never>)] = []

    func sleep(until time: Double, isIdle: Bool) async {
        if now >= time { return }
        if isIdle {
            now = time
            return
        }
        await withCheckedContinuation { sleepers.append((time, $0)) }
    }

    func becameIdle() {
        guard let first = sleepers.map(\.time).min() else { return }
        advance(by: first - now)
    }

    func advance(by seconds: Double) {
        now += seconds
        let due = sleepers.filter { $0.time <= now }
        sleepers.removeAll { $0.time <= now }
        for sleeper in due { sleeper.continuation.resume() }
    }
}

/// A model of a model: a step takes so long and so much longer for each token, and its requests' tokens count up.
final class SimulatedModel: MoEEngineModel {
    typealias Element = Int32

    let width = 1
    private let clock: SimulatedClock
    private let perStep: Double
    private let perToken: Double
    private let failsEvery: Int?
    private let held: Held
    private var steps = 0

    /// Requests that the model keeps something for. On the engine's thread.
    final class Held: @unchecked Sendable {
        fileprivate(set) var requests: Set<Int> = []
        fileprivate(set) var most = 0
    }

    init(_ clock: SimulatedClock, held: Held = Held(), perStep: Double, perToken: Double, failsEvery: Int? = nil) {
        self.clock = clock
        self.held = held
        self.perStep = perStep
        self.perToken = perToken
        self.failsEvery = failsEvery
    }

    func step(
        _ rows: Span<Int32>, _ parts: [MoEEnginePart], into outputs: inout MutableSpan<Int32>
    ) throws(MoEError) {
        clock.advance(by: perStep + perToken * Double(rows.count))
        steps += 1
        for part in parts { held.requests.insert(part.request) }
        held.most = max(held.most, held.requests.count)
        if let failsEvery, steps % failsEvery == 0 {
            throw .unavailable(what: "step \(steps)", reason: "the test said so")
        }
        for (index, part) in parts.enumerated() where part.generates {
            outputs[index] = rows[part.rows.upperBound - 1] &+ 1
        }
    }

    func release(_ request: Int) { held.requests.remove(request) }
}

/// A load served in simulated time.
struct Simulation {
    var load: ServingLoad
    var limits: MoEEngineLimits
    var perStep = 0.01
    var perToken = 0.0005
    var failsEvery: Int?

    struct Outcome {
        let schedule: [ServingLoad.Request]
        let answers: [LoadGenerator<SimulatedModel>.Answer]
        let before: MoEEngineStatistics
        let after: MoEEngineStatistics
        let recorder: StepRecorder
        let held: SimulatedModel.Held
        let now: Double

        var requests: [ServingRecord.Request] { answers.map(\.request) }

        func record(_ load: ServingLoad, _ limits: MoEEngineLimits) -> ServingRecord {
            ServingRecord(
                workload: Workload(name: "simulated", tokens: 1, hidden: 1, expertHidden: 1, experts: 1, topK: 1),
                layers: 1, threads: 1, instructionSet: "none", device: "none", build: "test",
                arrivals: load.arrivals.rawValue, rate: load.rate, seed: load.seed,
                maximumWaiting: limits.maximumWaiting, maximumRunning: limits.maximumRunning,
                maximumBatchTokens: limits.maximumBatchTokens, objective: .init(firstToken: 3, perToken: 0.3),
                seconds: now, peakBytes: nil, requests: requests, steps: recorder.steps, partial: false)
        }
    }

    func run() async throws -> Outcome {
        let clock = SimulatedClock()
        let held = SimulatedModel.Held()
        let recorder = StepRecorder()
        let engine = try MoEEngine(
            SimulatedModel(clock, held: held, perStep: perStep, perToken: perToken, failsEvery: failsEvery),
            limits: limits
        ) { recorder.note($0) }
        recorder.start(clock)
        let schedule = load.schedule()
        let before = await engine.statistics
        let generator = LoadGenerator(
            engine: engine, clock: clock, interruption: Interruption(), executor: engine.taskExecutor
        ) { [Int32](repeating: 7, count: $0.promptTokens) }
        let answers = await generator.run(schedule)
        await engine.shutdown()
        return Outcome(
            schedule: schedule, answers: answers, before: before, after: await engine.statistics, recorder: recorder,
            held: held, now: await now(of: clock, on: engine))
    }

    private func now(of clock: SimulatedClock, on engine: isolated MoEEngine<SimulatedModel>) -> Double { clock.now }
}

extension MoEEngineStatistics {
    /// As an engine would have counted.
    static func counted(
        accepted: Int, rejected: Int, finished: Int, cancelled: Int, failed: Int, generated: Int
    ) -> MoEEngineStatistics {
        var statistics = MoEEngineStatistics()
        statistics.accepted = accepted
        statistics.rejected = rejected
        statistics.finished = finished
        statistics.cancelled = cancelled
        statistics.failed = failed
        statistics.generatedTokens = generated
        return statistics
    }
}
