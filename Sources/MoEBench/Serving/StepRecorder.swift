import MoEKernel
import Synchronization

/// Notes an engine's steps, a bounded number of them: when there are too many it forgets every second, and from then on notes as many
/// fewer.
///
/// The engine's thread writes; whoever reads does so after the engine's shutdown, or on its thread.
package final class StepRecorder: @unchecked Sendable {
    /// The most steps that are kept.
    package static let capacity = 4096

    private let isOn = Atomic(false)
    /// Written before `isOn`.
    private var clock: (any ServingClock)?
    private var kept: [ServingRecord.Step] = []
    private var every = 1
    private var seen = 0
    private var sums = Extremes()

    /// Over all steps, kept or not.
    package struct Extremes: Sendable, Hashable {
        package fileprivate(set) var steps = 0
        package fileprivate(set) var mostWaiting = 0
        package fileprivate(set) var mostRunning = 0
        package fileprivate(set) var mostTokens = 0
    }

    package init() {}

    /// From now on steps count, by this clock: those before were warm-up.
    package func start(_ clock: any ServingClock) {
        self.clock = clock
        isOn.store(true, ordering: .releasing)
    }

    package func note(_ step: MoEEngineStep) {
        guard isOn.load(ordering: .acquiring), let clock else { return }
        sums.steps += 1
        sums.mostWaiting = max(sums.mostWaiting, step.waiting)
        sums.mostRunning = max(sums.mostRunning, step.running)
        sums.mostTokens = max(sums.mostTokens, step.tokens)
        defer { seen += 1 }
        guard seen % every == 0 else { return }
        kept.append(
            ServingRecord.Step(time: clock.now, waiting: step.waiting, running: step.running, tokens: step.tokens))
        guard kept.count == Self.capacity else { return }
        kept = stride(from: 0, to: kept.count, by: 2).map { kept[$0] }
        every *= 2
    }

    package var steps: [ServingRecord.Step] { kept }
    package var extremes: Extremes { sums }
}
