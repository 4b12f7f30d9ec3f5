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

    fileprivate init(subject: Subject, work: Work, inputHash: String, build: String, nanoseconds: [UInt64]) {
        self.subject = subject
        self.work = work
        self.inputHash = inputHash
        self.build = build
        self.count = nanoseconds.count
        self.nanoseconds = nanoseconds
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

/// Times contenders in rounds (ceilings, A, B, …, ceilings, A, B, …), so that whatever the machine does meanwhile happens to
/// all of them, and checks the very calls that it times.
///
/// A contender cannot know which calls are checked: the first on every input, the last of all, and one in eight of the others,
/// at random. Before such a call everything that an earlier one left is ruined; after it the output is compared with the oracle
/// and the input with its fingerprint. One failure, and the contender has no measurement.
package struct InterleavedTimer: Sendable {
    package let plan: SamplingPlan
    package let build: String
    package let interruption: Interruption
    package let progress: @Sendable (_ round: Int, _ rounds: Int) -> Void

    package init(
        plan: SamplingPlan, build: String, interruption: Interruption = Interruption(),
        progress: @escaping @Sendable (_ round: Int, _ rounds: Int) -> Void = { _, _ in }
    ) {
        self.plan = plan
        self.build = build
        self.interruption = interruption
        self.progress = progress
    }

    /// Measures all contenders. A rate that no machine could reach is measured once more before it counts as a failure: the
    /// ceiling beside it may have been disturbed.
    ///
    /// - Parameter interlude: Called at the end of every round, for turns of somebody whose calls are not timed here. What is measured
    ///   once more begins with round 0 again.
    package func compare(
        _ contenders: [Contender], inputs: Inputs, ceilings sampler: CeilingSampler,
        interlude: (_ round: Int, _ rounds: Int) -> Void = { _, _ in }
    ) -> Comparison {
        let inputHash = inputs.hash
        var attempt = 1
        while true {
            sampler.restart()
            let tracks = contenders.map { Track($0, inputs: inputs, inputHash: inputHash) }
            measure(tracks, sampler, interlude)
            let ceilings = sampler.ceilings
            for track in tracks { track.refuseImpossible(ceilings) }
            if attempt == 1, !interruption.isRequested, tracks.contains(where: \.isImpossible) {
                attempt += 1
                continue
            }
            return Comparison(
                results: tracks.map { $0.result(build: build) }, ceilings: ceilings, inputHash: inputHash,
                interrupted: interruption.isRequested)
        }
    }

    private func measure(
        _ tracks: [Track], _ sampler: CeilingSampler, _ interlude: (_ round: Int, _ rounds: Int) -> Void
    ) {
        for track in tracks where !interruption.isRequested { track.warmUp() }
        let counts = plan.samples(forSeconds: tracks.map(\.warmSeconds), weights: tracks.map(\.weight))
        rounds: for round in 0..<plan.rounds {
            progress(round, plan.rounds)
            sampler.sample()
            for (track, count) in zip(tracks, counts) {
                for _ in 0..<plan.share(of: count, inRound: round) {
                    if interruption.isRequested { break rounds }
                    track.sample(checked: false)
                }
            }
            interlude(round, plan.rounds)
        }
        // The last call is always a checked one, however the rounds ended.
        for track in tracks where track.hasSamples || !interruption.isRequested { track.sample(checked: true) }
    }
}

/// One contender's calls so far.
private final class Track {
    private let contender: Contender
    private let inputs: Inputs
    private let inputHash: String
    private var nanoseconds: [UInt64] = []
    private var failure: MeasurementFailure?
    private var audit = SystemRandomNumberGenerator()
    private(set) var warmSeconds = 0.0
    /// Nanoseconds of calls, and of checks beyond those that have to be.
    private var callTime: UInt64 = 0
    private var checkTime: UInt64 = 0
    private let clock: any CallClock

    init(_ contender: Contender, inputs: Inputs, inputHash: String) {
        self.contender = contender
        clock = contender.implementation.clock
        self.inputs = inputs
        self.inputHash = inputHash
    }

    var weight: Double { contender.weight }
    var hasSamples: Bool { !nanoseconds.isEmpty }

    /// Untimed calls: memory is touched, workspaces reach their size, and the plan learns what a call costs.
    func warmUp() {
        attempt { () throws(MoEError) in
            for _ in 0..<2 {
                let time = try clock.nanoseconds { () throws(MoEError) in try contender.implementation.run(0) }
                warmSeconds = Double(time) * 1e-9
                if warmSeconds > 0.1 { break }
            }
            // The others, where that costs nothing: what is used for the first time is slow.
            guard warmSeconds < 0.01 else { return }
            for batch in inputs.batches.indices.dropFirst() { try contender.implementation.run(batch) }
        }
    }

    func sample(checked: Bool) {
        guard failure == nil else { return }
        let implementation = contender.implementation
        let batch = nanoseconds.count % inputs.batches.count
        let hasToBe = checked || nanoseconds.count < inputs.batches.count
        let audited = hasToBe || audit.next() % 8 == 0 && checkTime <= max(callTime, Self.freeChecks)
        attempt { () throws(MoEError) in
            let start = cp_nanoseconds()
            if audited { try implementation.poison(batch) }
            let time = try clock.nanoseconds { () throws(MoEError) in try implementation.run(batch) }
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

    /// Refuses a median that the machine could not reach, and one that nothing says this of.
    func refuseImpossible(_ ceilings: Ceilings) {
        if failure == nil, let resource = ceilings.missing(for: contender.implementation.work) {
            failure = .noCeiling(resource)
        }
        guard failure == nil, let median = Summary(nanoseconds.map { Double($0) })?.median,
            let bound = ceilings.bound(of: contender.implementation.work)
        else { return }
        let seconds = max(median, 1) * 1e-9
        guard bound.share(ofSeconds: seconds) > bound.tolerance else { return }
        failure = .impossible(
            rate: Double(bound.amount) / seconds * 1e-9, ceiling: bound.ceiling * 1e-9,
            unit: bound.resource.isTraffic ? "GB/s" : "GFLOP/s")
    }

    var isImpossible: Bool {
        if case .impossible = failure { true } else { false }
    }

    func result(build: String) -> ContenderResult {
        let subject = contender.implementation.subject
        if let failure { return ContenderResult(subject: subject, outcome: .failure(failure)) }
        guard hasSamples else { return ContenderResult(subject: subject, outcome: .failure(.interrupted)) }
        let measurement = Measurement(
            subject: subject, work: contender.implementation.work, inputHash: inputHash, build: build,
            nanoseconds: nanoseconds)
        return ContenderResult(subject: subject, outcome: .success(measurement))
    }
}
