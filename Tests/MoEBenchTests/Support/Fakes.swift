import MoEKernel

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
        interruption: Interruption = Interruption()
    ) throws -> Comparison {
        let sampler = try CeilingSampler(workingSets: implementations.map(\.work.workingSet)) { _ in probe }
        let timer = InterleavedTimer(
            plan: SamplingPlan(budget: 0.02, minimumSamples: 24, maximumSamples: 24, rounds: 4), build: "test",
            interruption: interruption)
        return timer.compare(
            implementations.map { Contender($0, check: LayerCheck(oracle)) }, inputs: inputs, ceilings: sampler)
    }
}

/// Fills y as its closure says. The closure gets y as the last call left it, the batch, and how many calls came before.
final class Fake: Implementation {
    typealias Body = (_ y: inout [Float], _ batch: Int, _ call: Int) -> Void

    let subject: Subject
    let work: Work
    private var y: [Float]
    private var calls = 0
    private let body: Body

    init(_ subject: Subject, work: Work = .uncounted, _ body: @escaping Body) {
        self.subject = subject
        self.work = work
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
