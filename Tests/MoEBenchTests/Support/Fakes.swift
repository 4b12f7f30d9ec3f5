import CPlatform
import MoEKernel
import Synchronization

@testable import MoEBench

/// A layer small enough for tests, its true outputs, and a way to time anything that claims to compute them.
struct Trial {
    let workload: Workload
    let inputs: Inputs
    let oracle: LayerOracle
    /// y of every batch as fp32: what an honest implementation leaves.
    let truth: [[Float]]

    init(tokens: Int = 6, seed: UInt64 = 1, weightType: ElementType = .float32) throws {
        var workload = Workload(
            name: "test", tokens: tokens, hidden: 48, expertHidden: 80, experts: 6, topK: 2, weightType: weightType)
        workload.seed = seed
        self.workload = workload
        let configuration = try workload.configuration()
        inputs = Inputs(workload)
        oracle = try LayerOracle(
            configuration, source: try MoEWeights.random(seed: seed).source(configuration), inputs: inputs,
            sample: tokens, seed: seed)
        truth = oracle.batches.map { tokens in tokens.flatMap { $0.y.map { Float($0) } } }
    }

    func subject(_ name: String, dtype: String = "fp32", device: String = "cpu", threads: Int = 1) -> Subject {
        Subject(
            name: name, workload: workload, device: device, dtype: dtype, threads: threads, instructionSet: "test")
    }

    /// Times one implementation as the suite would.
    func measure(_ implementation: any Implementation, probe: any MachineProbe = FastProbe()) throws -> ContenderResult
    {
        try compare([implementation], probe: probe).results[0]
    }

    func compare(
        _ implementations: [any Implementation], probe: any MachineProbe = FastProbe(),
        interruption: Interruption = Interruption(),
        plan: SamplingPlan = SamplingPlan(budget: 0.02, minimumSamples: 24, maximumSamples: 24, rounds: 4),
        walk: CacheWalk? = nil, now: @escaping CeilingSampler.Now = { cp_nanoseconds() }
    ) throws -> Comparison {
        let sampler = try CeilingSampler(workingSets: implementations.map(\.work.workingSet), now: now) { _ in probe }
        let timer = InterleavedTimer(plan: plan, build: "test", interruption: interruption, walk: walk)
        return timer.compare(
            implementations.map { Contender($0, check: LayerCheck(oracle)) }, inputs: inputs, ceilings: sampler)
    }
}

/// Shows the times that a script has for the first call, the second and so on, whatever they take.
final class ScriptedClock: CallClock {
    private let script: (Int) -> UInt64
    private var calls = 0

    init(_ script: @escaping (_ call: Int) -> UInt64) { self.script = script }

    func nanoseconds(of call: () throws(MoEError) -> Void) throws(MoEError) -> UInt64 {
        try call()
        calls += 1
        return script(calls - 1)
    }
}

/// A clock that goes on by given steps, over and over, whenever it is read; with one step, passes between two readings are all
/// equally long.
final class SteadyClock: Sendable {
    private let state = Mutex<(reading: UInt64, count: Int)>((0, 0))
    private let steps: [UInt64]

    init(steps: [UInt64] = [5_000_000]) { self.steps = steps }

    var now: CeilingSampler.Now {
        {
            self.state.withLock { state in
                state.reading += self.steps[state.count % self.steps.count]
                state.count += 1
                return state.reading
            }
        }
    }
}

/// Fills y as its closure says. The closure gets y as the last call left it, the batch, and how many calls came before.
final class Fake: Implementation {
    typealias Body = (_ y: inout [Float], _ batch: Int, _ call: Int) -> Void

    let subject: Subject
    let work: Work
    let clock: any CallClock
    private var y: [Float]
    private var calls = 0
    private let body: Body

    init(
        _ subject: Subject, work: Work = .uncounted, clock: any CallClock = HostClock(), _ body: @escaping Body
    ) {
        self.subject = subject
        self.work = work
        self.clock = clock
        self.body = body
        y = Array(repeating: .nan, count: subject.workload.tokens * subject.workload.hidden)
    }

    func run(_ batch: Int) {
        body(&y, batch, calls)
        calls += 1
    }

    func poison(_ batch: Int) {
        for index in y.indices { y[index] = .nan }
    }

    func output(_ batch: Int) -> StageOutput { .activations(y) }
}

/// A machine whose limits nothing reaches.
struct FastProbe: MachineProbe {
    func dot(_ arithmetic: ExpertArithmetic) -> Int { 1 << 40 }
    func read() -> Int { 1 << 40 }
}

/// A machine that does a thousand operations in at least a microsecond.
struct SlowProbe: MachineProbe {
    func dot(_ arithmetic: ExpertArithmetic) -> Int { spin() }
    func read() -> Int { spin() }

    private func spin() -> Int {
        let clock = ContinuousClock()
        let start = clock.now
        while clock.now - start < .microseconds(1) {}
        return 1000
    }
}
