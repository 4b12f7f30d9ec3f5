import CPlatform
import MoEKernel
import Synchronization
import Testing

@testable import MoEBench

/// How many samples are taken, what ends them, and in which order.
@Suite struct SamplingTests {
    let trial: Trial

    init() throws { trial = try Trial() }

    /// Right answers, and times of `seconds` that vary by `spread`, uniformly.
    private func fake(_ name: String, seconds: Double, spread: Double, seed: UInt64 = 1) -> Fake {
        var generator = SplitMix64(seed: seed)
        return scripted(name) { _ in UInt64(seconds * 1e9 * (1 + spread * (generator.unit() - 0.5))) }
    }

    private func scripted(
        _ name: String, log: ((String) -> Void)? = nil, _ script: @escaping (_ call: Int) -> UInt64
    ) -> Fake {
        Fake(trial.subject(name), clock: ScriptedClock(script)) { y, batch, _ in
            log?(name)
            y = trial.truth[batch]
        }
    }

    private func measure(_ fakes: [Fake], _ plan: SamplingPlan) throws -> [Measurement] {
        try trial.compare(fakes, plan: plan, now: SteadyClock().now).results.map { try $0.outcome.get() }
    }

    @Test func stopsWhenTight() throws {
        let plan = SamplingPlan(budget: 100)
        let measurements = try measure(
            [fake("one", seconds: 0.2, spread: 0.01), fake("two", seconds: 0.15, spread: 0.02, seed: 2)], plan)
        for measurement in measurements {
            #expect(measurement.stopped == .interval)
            #expect(measurement.count > plan.samplesForInterval && measurement.count < 120)
            #expect(try #require(measurement.summary?.relativeHalfWidth) < 0.01)
        }
    }

    @Test(arguments: [0.001, 0.2]) func stopsAtTheBudget(seconds: Double) throws {
        let budget = 100 * seconds
        let measurement = try measure([fake("noisy", seconds: seconds, spread: 1)], SamplingPlan(budget: budget))[0]
        #expect(measurement.stopped == .time)
        // Turns of short calls start with untimed ones, which the budget pays for too.
        #expect(measurement.count > 60 && measurement.count < 110)
    }

    /// What a call costs is learnt while measuring: one that was ten times as slow when it warmed up has its samples all the same.
    @Test func costsAreLearnt() throws {
        let measurement = try measure(
            [scripted("cold at first") { $0 == 0 ? 2_000_000_000 : $0 % 2 == 0 ? 150_000_000 : 250_000_000 }],
            SamplingPlan(budget: 20))[0]
        #expect(measurement.count > 90)
    }

    @Test func stopsAtTheMostSamples() throws {
        let plan = SamplingPlan(budget: 10, maximumSamples: 50)
        let measurement = try measure([fake("noisy", seconds: 0.000_01, spread: 1)], plan)[0]
        #expect(measurement.stopped == .samples && measurement.count == 51)
    }

    /// One that is known already goes on beside one that is not: both have to see the same machine.
    @Test func allGoOnUntilAllAreKnown() throws {
        let measurements = try measure(
            [fake("steady", seconds: 0.2, spread: 0.01), fake("noisy", seconds: 0.2, spread: 1)],
            SamplingPlan(budget: 40))
        #expect(measurements.map(\.stopped) == [.interval, .time])
        #expect(abs(measurements[0].count - measurements[1].count) <= 10)
    }

    /// Ten samples a round. The interval is tight once, after round 8, the first that could end it, and not after round 9.
    @Test func oneTightLookIsNotEnough() throws {
        let measurement = try measure(
            [
                scripted("lucky") { call in
                    switch call {
                    case 1...30: 800_000_000
                    case 31...60: 1_200_000_000
                    case 61...80: 1_000_000_000
                    default: 700_000_000 + UInt64(call % 10) * 60_000_000
                    }
                }
            ], SamplingPlan(budget: 1000))[0]
        let first80 = Array(measurement.nanoseconds.prefix(80).map { Double($0) })
        #expect(try #require(MedianInterval.relativeHalfWidth(first80)) < 0.01)
        #expect(measurement.count == 301 && measurement.stopped == .samples)
    }

    /// A layer of eight milliseconds beside a baseline of three hundred: were the baseline given as many calls as a percentile needs, there
    /// would be few for the layer.
    @Test func aSlowBaselineLeavesTheOthersTheirShare() {
        let plan = SamplingPlan(budget: 6)
        let counts = plan.samples(forSeconds: [0.000_05, 0.008, 0.008, 0.3], weights: [2, 2, 2, 1])
        #expect(counts[0] == 300 && counts[3] == plan.minimumSamples)
        #expect(counts[1] > 200 && counts[2] > 200)
        let spent = 0.015 + 0.008 * Double(counts[1] + counts[2]) + 0.3 * Double(counts[3])
        #expect(spent < 6.5)
        // What the quick ones leave is the slow one's.
        #expect(plan.samples(forSeconds: [0.000_05, 0.1]) == [300, 59])
    }

    @Test func interruptionIsRecorded() throws {
        let interruption = Interruption()
        let fake = scripted("one", log: { _ in interruption.request() }) { _ in 1000 }
        let result = try trial.compare([fake], interruption: interruption).results[0]
        #expect(result.failure == .interrupted)
        let later = Interruption()
        var calls = 0
        let other = scripted(
            "two",
            log: { _ in
                calls += 1
                if calls == 40 { later.request() }
            }
        ) { _ in 1000 }
        let plan = SamplingPlan(budget: 1, minimumSamples: 60)
        let kept = try trial.compare([other], interruption: later, plan: plan).results[0].measurement
        #expect(kept?.stopped == .interrupted)
    }

    // MARK: Order

    @Test(arguments: 1...7) func everybodyFollowsEverybodyEquallyOften(count: Int) {
        var followers: [[Int]: Int] = [:]
        for cycle in 0..<2 * count {
            let order = TurnOrder.cycle(cycle, of: count)
            #expect(order.sorted() == Array(0..<count))
            for (one, next) in zip(order, order.dropFirst()) { followers[[one, next], default: 0] += 1 }
        }
        #expect(followers.count == count * (count - 1))
        #expect(followers.values.allSatisfy { $0 == 2 })
    }

    /// Long calls alternate one by one, and each contender has had as many as any other at every moment, but a few.
    @Test func longCallsAlternate() throws {
        let log = Log()
        let names = ["a", "b", "c"]
        _ = try measure(
            names.map { name in scripted(name, log: log.add) { $0 % 2 == 0 ? 200_000_000 : 300_000_000 } },
            SamplingPlan(budget: 50))
        // One call each to warm up, and one each at the end.
        let calls = log.names.dropFirst(3).dropLast(3)
        #expect(calls.count > 150)
        var counts = Dictionary(uniqueKeysWithValues: names.map { ($0, 0) })
        var run = 0
        var last = ""
        for name in calls {
            counts[name]! += 1
            run = name == last ? run + 1 : 1
            last = name
            #expect(run <= 3)
            #expect(counts.values.max()! - counts.values.min()! <= 3)
        }
        let pairs = Set(zip(calls, calls.dropFirst()).map { $0 + $1 })
        #expect(pairs.isSuperset(of: ["ab", "ac", "ba", "bc", "ca", "cb"]))
    }

    /// Short calls stay together, an untimed one before them.
    @Test func shortCallsStayTogether() throws {
        let log = Log()
        let short = scripted("short", log: log.add) { _ in 1_000_000 }
        let long = scripted("long", log: log.add) { $0 % 2 == 0 ? 200_000_000 : 300_000_000 }
        let measurements = try measure([short, long], SamplingPlan(budget: 30, relativeHalfWidth: 0))
        var runs: [Int] = []
        for (place, name) in log.names.enumerated() where name == "short" {
            if place > 0, log.names[place - 1] == "short" { runs[runs.count - 1] += 1 } else { runs.append(1) }
        }
        // Warming up: two calls, and one on each other input. Then ten a round in one turn or, between rounds, two; and the last.
        let rest = runs.dropFirst()
        #expect(rest.allSatisfy { $0 == 11 || $0 == 22 || $0 == 2 || $0 == 13 })
        #expect(measurements[0].count == 301)
        #expect(log.names.count { $0 == "short" } == 301 + 2 + trial.inputs.batches.count - 1 + 31)
    }

    /// Where a round lasts seconds, ceilings have turns within it, but take no more than a sixth of the time.
    @Test func ceilingsAreSampledWithinRounds() throws {
        let plan = SamplingPlan(budget: 60, relativeHalfWidth: 0)
        let long = [fake("a", seconds: 0.1, spread: 0.4), fake("b", seconds: 0.1, spread: 0.4, seed: 2)]
        // A sample is a pass of ten milliseconds, and one that is not timed.
        let comparison = try trial.compare(long, plan: plan, now: SteadyClock(steps: [10_000_000]).now)
        let calls = comparison.results.compactMap(\.measurement?.count).reduce(0, +)
        let passes = comparison.ceilings.multiplyAdd.nanoseconds.count
        #expect(passes > 4 * plan.rounds && passes < calls)
        // Short rounds have one sample each.
        let short = try trial.compare(
            [fake("short", seconds: 0.001, spread: 0.4)], plan: SamplingPlan(budget: 0.6, relativeHalfWidth: 0),
            now: SteadyClock(steps: [10_000_000]).now)
        #expect(short.ceilings.multiplyAdd.nanoseconds.count == plan.rounds)
    }

    // MARK: Caches

    @Test func coldCallsComeAfterAWalk() throws {
        let probe = CountingProbe()
        let log = Log()
        let fake = Fake(trial.subject("cold")) { y, batch, _ in
            log.add("\(probe.walks)")
            y = trial.truth[batch]
        }
        let comparison = try trial.compare([fake], walk: CacheWalk(probe))
        let measurement = try #require(comparison.results[0].measurement)
        // One more walk before every timed call, and none between the calls that warm up after the first two.
        let timed = log.names.suffix(measurement.count).map { Int($0)! }
        #expect(timed == Array(timed[0]..<timed[0] + measurement.count))
    }

    /// The buffer is larger than the caches, and with cold caches there is one ceiling of reading: memory's.
    @Test func sizesOfTheWalk() {
        let machine = Machine()
        for threads in [1, 2, 64] {
            let bytes = CacheWalk.bytes(threads: threads, machine)
            #expect(bytes >= 64 << 20 && bytes >= 2 * machine.l3Bytes && bytes >= 4 * machine.l2Bytes * threads)
        }
        let warm = ProbedMachine.processor(.warm), cold = ProbedMachine.processor(.cold)
        // Never larger than the set, and at least four fifths of it.
        for (set, buffer) in [(4, 4), (5, 5), (9, 8), (23, 20), (96, 96), (101, 96), (255, 224), (4096, 256)] {
            #expect(warm.bufferBytes(forWorkingSet: set << 20) == buffer << 20)
        }
        for set in [1 << 10, 1 << 20, 5 << 20, 64 << 20, 4 << 30] {
            let buffer = cold.bufferBytes(forWorkingSet: set) ?? 0
            #expect(buffer >= 256 << 20 && buffer >= 4 * machine.l3Bytes)
        }
        #expect(cold.bufferBytes(forWorkingSet: 0) == nil && warm.bufferBytes(forWorkingSet: 1 << 20) == nil)
        // A buffer that a cache may hold is read whole.
        #expect(warm.passBytes(ofBuffer: 4 << 20) == nil)
    }

    /// Parts go round the buffer; together they are all of it.
    @Test func readingInParts() throws {
        let probe = try CeilingProbe(
            pool: try ThreadPool(threads: 2), instructionSet: try .chosen(), readBytes: 8 << 20, passBytes: 2 << 20)
        #expect((0..<9).map { _ in probe.read() } == Array(repeating: 2 << 20, count: 9))
        let whole = try CeilingProbe(
            pool: try ThreadPool(threads: 2), instructionSet: try .chosen(), readBytes: 8 << 20)
        #expect(whole.read() == 8 << 20)
    }

    // MARK: Overhead and memory

    /// An implementation that does nothing but its answer's copy, timed as any other: the shortest sample is far below 20 µs
    /// on every machine, a preempted one is not counted.
    @Test func overheadIsSmall() throws {
        final class Idle: Implementation {
            let subject: Subject
            let work = Work.uncounted
            let answer: [Float]
            init(_ subject: Subject, _ answer: [Float]) { (self.subject, self.answer) = (subject, answer) }
            func run(_ batch: Int) {}
            func poison(_ batch: Int) {}
            func output(_ batch: Int) -> StageOutput { .activations(answer) }
        }
        struct Anything: OutputCheck { func verify(_ output: StageOutput, batch: Int) throws(WrongResult) {} }
        let timer = InterleavedTimer(plan: SamplingPlan(budget: 0.1, minimumSamples: 200), build: "test")
        let sampler = try CeilingSampler(workingSets: []) { _ in FastProbe() }
        let result = timer.compare(
            [Contender(Idle(trial.subject("idle"), trial.truth[0]), check: Anything())], inputs: trial.inputs,
            ceilings: sampler
        ).results[0]
        let shortest = try #require(try result.outcome.get().nanoseconds.min())
        // The least of two hundred: no neighbour disturbs it.
        #expect(shortest < 1000)
        let overhead = try ClockOverhead.seconds()
        #expect(overhead >= 0 && overhead < 2e-6)
    }

    #if os(Linux)
        /// In a process of its own: other tests use the heap too.
        @Test func allocationsAreCounted() async {
            await #expect(processExitsWith: .success) {
                let trial = try Trial()
                let configuration = try trial.workload.configuration()
                let layer = try MoELayer(configuration, weights: .random(seed: trial.workload.seed))
                let greedy = Fake(trial.subject("greedy")) { y, batch, _ in
                    y = trial.truth[batch].map { $0 }
                }
                let results = try trial.compare([
                    WholeLayer(layer, subject: trial.subject("layer"), work: .uncounted, inputs: trial.inputs), greedy,
                ]).results
                let frugal = try results[0].outcome.get(), other = try results[1].outcome.get()
                // The C library of another system cannot be listened to.
                guard AllocationCount.isAvailable else {
                    try #require(frugal.allocationsPerCall == nil)
                    return
                }
                try #require(frugal.allocationsPerCall == 0 && frugal.allocatedBytesPerCall == 0)
                try #require(other.allocationsPerCall == 1)
                let bytes = try #require(other.allocatedBytesPerCall)
                try #require(bytes >= 4 * 6 * 48 && bytes < 4 * 6 * 48 + 200)
            }
        }

        @Test func peakMemory() async {
            await #expect(processExitsWith: .success) {
                func touch(_ mebibytes: Int) {
                    let block = UnsafeMutableRawPointer.allocate(byteCount: mebibytes << 20, alignment: 64)
                    memset(block, 1, mebibytes << 20)
                    block.deallocate()
                }
                touch(256)
                let memory = PeakMemory()
                touch(64)
                // Where the system does not forget the first peak, that one is not told as this one's.
                guard let bytes = memory.bytes else { return }
                try #require(bytes >= 64 << 20 && bytes < 256 << 20)
            }
        }
    #endif
}

private final class Log {
    private(set) var names: [String] = []
    func add(_ name: String) { names.append(name) }
}

private final class CountingProbe: MachineProbe {
    private let count = Atomic(0)
    var walks: Int { count.load(ordering: .relaxed) }
    func dot(_ arithmetic: ExpertArithmetic) -> Int { 1 }
    func read() -> Int { count.add(1, ordering: .relaxed).newValue }
}
