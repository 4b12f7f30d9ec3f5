import CPlatform
import MoEKernel

/// The time that calls took, and everything needed to say what those calls were.
///
/// Only the timer in this file makes one: there is no other initialiser, nothing in it can change, and it is not `Decodable`,
/// so a number that was not measured cannot become a `Measurement`. What a results file gives back is a
/// ``RecordedMeasurement``.
package struct Measurement: Sendable, Hashable, Encodable {
    package let subject: Subject
    package let work: Work
    /// Fingerprint of the input batches.
    package let inputHash: String
    /// Fingerprint of the program.
    package let build: String
    package let count: Int
    /// One timed call each, in the order they ran; none left out.
    package let nanoseconds: [UInt64]
    /// What ended the sampling.
    package let stopped: StopReason
    /// Requests to the heap in a checked call and the bytes asked for, the mean over those after the first on each input; nil where
    /// they cannot be counted.
    package let allocationsPerCall: Double?
    package let allocatedBytesPerCall: Double?

    fileprivate init(
        subject: Subject, work: Work, inputHash: String, build: String, nanoseconds: [UInt64], stopped: StopReason,
        allocationsPerCall: Double?, allocatedBytesPerCall: Double?
    ) {
        self.subject = subject
        self.work = work
        self.inputHash = inputHash
        self.build = build
        self.count = nanoseconds.count
        self.nanoseconds = nanoseconds
        self.stopped = stopped
        self.allocationsPerCall = allocationsPerCall
        self.allocatedBytesPerCall = allocatedBytesPerCall
    }
}

/// What came of one contender: a measurement, or the reason that it has none.
package struct ContenderResult: Sendable {
    package let subject: Subject
    package let outcome: Result<Measurement, MeasurementFailure>

    package var measurement: Measurement? { try? outcome.get() }
    package var failure: MeasurementFailure? {
        if case .failure(let failure) = outcome { failure } else { nil }
    }
}

/// Contenders on one input, measured in turns.
package struct Comparison: Sendable {
    package let results: [ContenderResult]
    package let ceilings: Ceilings
    package let inputHash: String
    /// Ended before the plan was fulfilled.
    package let interrupted: Bool
}

/// Times contenders in turns, so that whatever the machine does meanwhile happens to all of them, and checks the very calls that it
/// times.
///
/// A round is the ceilings and then cycles; in a cycle every contender has at most one turn, in an order that ``TurnOrder`` changes, and
/// between turns the ceilings have theirs, some hundredths of a second apart where calls are short. A turn is one call, or as many short
/// ones as fill ``SamplingPlan/turnSeconds``. Blocks of a contender's calls, as many as a round has, would let some tenths of a second of disturbance fall on one contender alone; single calls in strict alternation would let each short
/// one find the caches full of another's data, which says something about its neighbours (a router's product that takes 15 µs in blocks
/// and in turns took 22). So short calls stay together, and where a contender's data fits into the cache, an untimed call comes before
/// them, which brings it there: what is measured is the steady state, as the ceilings beside it are. Data that no cache holds is not
/// found there in steady state either, and long calls bring theirs within a hundredth of their time; those alternate call by call.
/// (``CacheState/cold`` has other memory walked before every call
/// instead.)
///
/// Sampling ends when the plan's budget or its most samples are reached, or as soon as the median of every contender and every ceiling
/// is known well enough. Until then all go on, those that are known already too: medians taken at different times of a machine that is
/// not always equally fast would not make a ratio.
///
/// A contender cannot know which calls are checked: the first on every input, the last of all, and one in eight of the others,
/// at random. Before such a call everything that an earlier one left is ruined; after it the output is compared with the oracle
/// and the input with its fingerprint. One failure, and the contender has no measurement.
package struct InterleavedTimer: Sendable {
    package let plan: SamplingPlan
    package let build: String
    package let interruption: Interruption
    /// Walked before each timed call; nil where caches stay warm.
    package let walk: CacheWalk?
    package let progress: @Sendable (_ round: Int, _ rounds: Int) -> Void

    package init(
        plan: SamplingPlan, build: String, interruption: Interruption = Interruption(), walk: CacheWalk? = nil,
        progress: @escaping @Sendable (_ round: Int, _ rounds: Int) -> Void = { _, _ in }
    ) {
        self.plan = plan
        self.build = build
        self.interruption = interruption
        self.walk = walk
        self.progress = progress
    }

    /// Measures all contenders. A rate that no machine could reach is measured once more, with new probes, before it counts as a
    /// failure: the ceiling beside it may have been disturbed.
    ///
    /// - Parameter interlude: Called at the end of every round, for turns of somebody whose calls are not timed here. What is measured
    ///   once more begins with round 0 again.
    package func compare(
        _ contenders: [Contender], inputs: Inputs, ceilings sampler: CeilingSampler,
        interlude: (_ round: Int, _ rounds: Int) -> Void = { _, _ in }
    ) -> Comparison {
        let inputHash = inputs.hash
        var attempt = 1
        sampler.restart()
        while true {
            let tracks = contenders.map { contender in
                Track(
                    contender, inputs: inputs, inputHash: inputHash, walk: walk,
                    settlesWithin: contender.implementation.work.workingSet <= sampler.machine.cacheBytes
                        ? plan.settleSeconds : 0)
            }
            measure(tracks, sampler, interlude)
            let ceilings = sampler.ceilings
            for track in tracks { track.refuseImpossible(ceilings) }
            if attempt == 1, !interruption.isRequested, tracks.contains(where: \.isImpossible) {
                attempt += 1
                sampler.renew()
                continue
            }
            return Comparison(
                results: tracks.map { $0.result(build: build, stopped: stopReason(of: $0)) }, ceilings: ceilings,
                inputHash: inputHash, interrupted: interruption.isRequested)
        }
    }

    private func measure(
        _ tracks: [Track], _ sampler: CeilingSampler, _ interlude: (_ round: Int, _ rounds: Int) -> Void
    ) {
        for track in tracks where !interruption.isRequested { track.warmUp() }
        var cycles = 0
        var looksInARow = 0
        rounds: for round in 0..<plan.rounds where !interruption.isRequested {
            progress(round, plan.rounds)
            sampler.sample()
            let active = tracks.filter { !$0.hasFailed }
            if active.isEmpty { break }
            var sinceCeilings = 0.0
            for (track, count) in turns(of: active, inRound: round, cycles: &cycles) {
                if sampler.isDue(afterSeconds: sinceCeilings) {
                    sampler.sample()
                    sinceCeilings = 0
                }
                let before = track.secondsSpent
                defer { sinceCeilings += track.secondsSpent - before }
                track.settle()
                for _ in 0..<count {
                    if interruption.isRequested { break rounds }
                    track.sample(checked: false)
                }
            }
            interlude(round, plan.rounds)
            // Not one of these looks is within a timed call, and each costs a sort of what is there.
            for track in active { track.look(plan) }
            let isTight = active.allSatisfy(\.isTight) && sampler.isTight(within: plan.relativeHalfWidth)
            looksInARow = isTight ? looksInARow + 1 : 0
            if looksInARow >= 2, round >= SamplingPlan.fewestRounds { break }
        }
        // The last call is always a checked one, however the rounds ended.
        for track in tracks where track.hasSamples || !interruption.isRequested {
            track.settle()
            track.sample(checked: true)
        }
    }

    /// Who has how many calls in a row, one after another. What a call has cost so far says how many everybody's share of the budget
    /// pays for; those that are due by the end of the round are spread over its cycles.
    ///
    /// - Parameter cycles: How many there were, over all rounds.
    private func turns(
        of tracks: [Track], inRound round: Int, cycles: inout Int
    ) -> [(track: Track, samples: Int)] {
        let counts = plan.samples(forSeconds: tracks.map(\.secondsPerSample), weights: tracks.map(\.weight))
        let due = zip(tracks, counts).map { max(0, plan.due(of: $1, afterRound: round) - $0.count) }
        let turns = zip(tracks, due).map { track, due in
            let each = plan.samplesPerTurn(forSeconds: track.secondsPerSample)
            return (due + each - 1) / each
        }
        let most = turns.max() ?? 0
        var order: [(track: Track, samples: Int)] = []
        for cycle in 0..<most {
            for index in TurnOrder.cycle(cycles, of: tracks.count) {
                let turn = turns[index] * cycle / most
                guard turns[index] * (cycle + 1) / most > turn else { continue }
                let samples = due[index] * (turn + 1) / turns[index] - due[index] * turn / turns[index]
                order.append((tracks[index], samples))
            }
            cycles += 1
        }
        return order
    }

    private func stopReason(of track: Track) -> StopReason {
        if interruption.isRequested { return .interrupted }
        if track.looksInARow >= 2 { return .interval }
        // The last, checked call comes on top.
        return track.count > plan.maximumSamples ? .samples : .time
    }
}

/// One contender's calls so far.
private final class Track {
    private let contender: Contender
    private let inputs: Inputs
    private let inputHash: String
    private let walk: CacheWalk?
    private let settlesWithin: Double
    private var nanoseconds: [UInt64] = []
    private var failure: MeasurementFailure?
    private var audit = SystemRandomNumberGenerator()
    private var warmSeconds = 0.0
    /// Nanoseconds of timed calls, of what preceded them, and of checks beyond those that have to be.
    private var callTime: UInt64 = 0
    private var preparationTime: UInt64 = 0
    private var checkTime: UInt64 = 0
    /// Nanoseconds of the first walk.
    private var firstWalk: UInt64 = 0
    /// Looks in a row that found the interval tight.
    private(set) var looksInARow = 0
    /// Checked calls whose requests to the heap were counted, and those requests.
    private var counted = 0
    private var allocations = 0
    private var allocatedBytes = 0
    private let clock: any CallClock

    /// - Parameter settlesWithin: Calls of fewer seconds start their turns with an untimed one.
    init(_ contender: Contender, inputs: Inputs, inputHash: String, walk: CacheWalk?, settlesWithin: Double) {
        self.contender = contender
        clock = contender.implementation.clock
        self.inputs = inputs
        self.inputHash = inputHash
        self.walk = walk
        self.settlesWithin = settlesWithin
    }

    var weight: Double { contender.weight }
    var count: Int { nanoseconds.count }
    var hasSamples: Bool { !nanoseconds.isEmpty }
    var hasFailed: Bool { failure != nil }
    var isTight: Bool { looksInARow > 0 }

    /// Of timed calls and of what preceded them.
    var secondsSpent: Double { Double(callTime + preparationTime) * 1e-9 }

    /// What a sample costs, with all that has to precede it.
    var secondsPerSample: Double {
        guard hasSamples else { return warmSeconds + Double(firstWalk) * 1e-9 }
        return secondsSpent / Double(count)
    }

    private var secondsPerCall: Double {
        hasSamples ? Double(callTime) / Double(count) * 1e-9 : warmSeconds
    }

    /// Untimed calls: memory is touched, workspaces reach their size, and the plan learns what a call costs.
    func warmUp() {
        attempt { () throws(MoEError) in
            for _ in 0..<2 {
                let time = try clock.nanoseconds { () throws(MoEError) in try contender.implementation.run(0) }
                warmSeconds = Double(time) * 1e-9
                if warmSeconds > 0.1 { break }
            }
            if let walk { firstWalk = time(walk) }
            // The others, where that costs nothing: what is used for the first time is slow.
            guard warmSeconds < 0.01 else { return }
            for batch in inputs.batches.indices.dropFirst() { try contender.implementation.run(batch) }
        }
    }

    private func time(_ walk: CacheWalk) -> UInt64 {
        let start = cp_nanoseconds()
        walk.run()
        return cp_nanoseconds() - start
    }

    /// Brings back into the caches what was there before others had their turns: the call before the next one, untimed.
    func settle() {
        guard failure == nil, walk == nil, secondsPerCall < settlesWithin else { return }
        let batch = (count + inputs.batches.count - 1) % inputs.batches.count
        attempt { () throws(MoEError) in
            preparationTime += try clock.nanoseconds { () throws(MoEError) in try contender.implementation.run(batch) }
        }
    }

    func sample(checked: Bool) {
        guard failure == nil else { return }
        let implementation = contender.implementation
        let batch = nanoseconds.count % inputs.batches.count
        let isFirst = nanoseconds.count < inputs.batches.count
        let hasToBe = checked || isFirst
        let audited = hasToBe || audit.next() % 8 == 0 && checkTime <= max(callTime, Self.freeChecks)
        attempt { () throws(MoEError) in
            let start = cp_nanoseconds()
            if audited { try implementation.poison(batch) }
            if let walk { preparationTime += self.time(walk) }
            var time: UInt64 = 0
            // What a call on a device asks of the host's heap is its driver's business.
            if audited, !isFirst, implementation.subject.device == "cpu" {
                let requests = try AllocationCount.during { () throws(MoEError) in
                    time = try clock.nanoseconds { () throws(MoEError) in try implementation.run(batch) }
                }
                if let requests {
                    counted += 1
                    allocations += requests.calls
                    allocatedBytes += requests.bytes
                }
            } else {
                time = try clock.nanoseconds { () throws(MoEError) in try implementation.run(batch) }
            }
            nanoseconds.append(time)
            callTime += time
            guard audited else { return }
            let output = try implementation.output(batch)
            do throws(WrongResult) {
                try contender.check.verify(output, batch: batch)
            } catch {
                failure = .wrongResult(error)
            }
            try checkInput(batch, isLast: checked)
            if !hasToBe { checkTime += cp_nanoseconds() - start }
        }
    }

    /// Nanoseconds of checks that are done whatever the calls take.
    private static let freeChecks: UInt64 = 100_000_000

    private func checkInput(_ batch: Int, isLast: Bool) throws(MoEError) {
        // A copy elsewhere is looked at once, at the end: no call mends what an earlier one spoilt.
        let copyIsIntact = isLast ? try contender.implementation.isInputIntact(batch) : nil
        if copyIsIntact == false || inputs.hash != inputHash { failure = .inputChanged }
    }

    private func attempt(_ body: () throws(MoEError) -> Void) {
        do throws(MoEError) { try body() } catch { failure = .failed(error) }
    }

    /// Looks whether the median is known as well as the plan wishes.
    func look(_ plan: SamplingPlan) {
        let width = MedianInterval.relativeHalfWidth(nanoseconds.map { Double($0) })
        let isTight = count >= plan.samplesForInterval && width.map { $0 <= plan.relativeHalfWidth } ?? false
        looksInARow = isTight ? looksInARow + 1 : 0
    }

    /// Refuses a median that the machine did not reach in its best pass, and one that nothing says this of.
    func refuseImpossible(_ ceilings: Ceilings) {
        if failure == nil, let resource = ceilings.missing(for: contender.implementation.work) {
            failure = .noCeiling(resource)
        }
        guard failure == nil, hasSamples, let bound = ceilings.limit(of: contender.implementation.work) else { return }
        let seconds = max(Summary.median(of: nanoseconds.map { Double($0) }), 1) * 1e-9
        guard bound.share(ofSeconds: seconds) > bound.tolerance else { return }
        failure = .impossible(
            rate: Double(bound.amount) / seconds * 1e-9, ceiling: bound.ceiling * 1e-9,
            unit: bound.resource.isTraffic ? "GB/s" : "GFLOP/s")
    }

    var isImpossible: Bool {
        if case .impossible = failure { true } else { false }
    }

    func result(build: String, stopped: StopReason) -> ContenderResult {
        let subject = contender.implementation.subject
        if let failure { return ContenderResult(subject: subject, outcome: .failure(failure)) }
        guard hasSamples else { return ContenderResult(subject: subject, outcome: .failure(.interrupted)) }
        func perCall(_ total: Int) -> Double? { counted > 0 ? Double(total) / Double(counted) : nil }
        let measurement = Measurement(
            subject: subject, work: contender.implementation.work, inputHash: inputHash, build: build,
            nanoseconds: nanoseconds, stopped: stopped, allocationsPerCall: perCall(allocations),
            allocatedBytesPerCall: perCall(allocatedBytes))
        return ContenderResult(subject: subject, outcome: .success(measurement))
    }
}
