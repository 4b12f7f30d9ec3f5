/// The time that a load generator goes by: the real one, or a simulation's.
package protocol ServingClock: Sendable {
    /// Seconds since the run's start.
    var now: Double { get }

    /// Returns at a time, or somewhat later, or before where the run is to end.
    ///
    /// - Parameter isIdle: No request is under way, so that nothing happens until then.
    func sleep(until time: Double, isIdle: Bool) async

    /// The last request that was under way is over: a clock that only work moves would stand still now.
    func becameIdle()
}

/// Real time, from when it was made.
package struct RealServingClock: ServingClock {
    private let start = ContinuousClock.now
    private let interruption: Interruption

    package init(_ interruption: Interruption) { self.interruption = interruption }

    package var now: Double { (ContinuousClock.now - start) / .seconds(1) }

    package func sleep(until time: Double, isIdle: Bool) async {
        // In short turns: whoever interrupts does not wait for the next arrival.
        while !interruption.isRequested, !Task.isCancelled {
            let rest = time - now
            guard rest > 0 else { return }
            // Throws where the task is cancelled, which ends the loop.
            try? await Task.sleep(for: .seconds(min(rest, 0.05)), tolerance: .zero)
        }
    }

    package func becameIdle() {}
}
