import MoEKernel

/// Peers that take turns with whoever the timer measures: a burst of calls of each, at the end of each of its rounds.
final class PeerTurns {
    /// A peer that passed its first check.
    final class Track {
        let peer: Peer
        let worker: PeerWorker
        let check: PeerCheck
        /// Of one call.
        let seconds: Double
        fileprivate(set) var worstError: Double
        fileprivate(set) var nanoseconds: [UInt64] = []
        fileprivate(set) var failure: PeerFailure?
        fileprivate var calls = 0
        /// Of bursts, whatever was in them.
        fileprivate var spent = 0.0

        init(_ peer: Peer, _ worker: PeerWorker, _ check: PeerCheck, seconds: Double, error: Double) {
            self.peer = peer
            self.worker = worker
            self.check = check
            self.seconds = seconds
            worstError = error
        }
    }

    let tracks: [Track]
    private let inputs: Inputs
    private let plan: SamplingPlan
    private let interruption: Interruption

    init(_ tracks: [Track], inputs: Inputs, budget: Double, interruption: Interruption) {
        self.tracks = tracks
        self.inputs = inputs
        self.interruption = interruption
        plan = SamplingPlan(budget: budget)
        for (track, calls) in zip(tracks, plan.samples(forSeconds: tracks.map(\.seconds))) { track.calls = calls }
    }

    /// Every peer's burst of a round; in every second round the last comes first. Round 0 begins all anew.
    func take(round: Int, of rounds: Int) {
        if round == 0 {
            for track in tracks {
                track.nanoseconds = []
                track.spent = 0
            }
        }
        for track in round % 2 == 0 ? tracks : tracks.reversed() where track.failure == nil {
            if interruption.isRequested { return }
            // Calls that take much longer than they did at first must not make the run endless.
            let planned = Double(track.calls) * track.seconds
            if track.spent > Self.patience * planned + 1, track.nanoseconds.count >= plan.minimumSamples { continue }
            let calls = track.calls * (round + 1) / rounds - track.calls * round / rounds
            if calls > 0 { burst(track, calls) }
        }
    }

    /// Times what was planned that a peer may take.
    private static let patience = 3.0

    private func burst(_ track: Track, _ calls: Int) {
        let clock = ContinuousClock()
        let start = clock.now
        defer { track.spent += (clock.now - start) / .seconds(1) }
        do throws(PeerFailure) {
            let (times, y, batch) = try track.worker.time(
                track.peer, calls: calls, expected: track.seconds, batches: inputs.batches.count,
                elements: inputs.tokens * inputs.hidden)
            track.nanoseconds += times
            do throws(WrongResult) {
                if let error = try track.check.error(of: y, batch: batch) {
                    track.worstError = max(track.worstError, error)
                }
            } catch {
                throw PeerFailure.wrongResult(error)
            }
        } catch {
            // An interruption ends the run, not the peer: what it measured stays.
            if error != .interrupted { track.failure = error }
        }
    }
}
