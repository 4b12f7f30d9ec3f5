import MoEKernel

/// Compares what senders saw with what the engine counted: no request may be lost on the way.
package struct ServingAccounts: Sendable, Hashable {
    /// Two countings that differ.
    package struct Mismatch: Error, Sendable, Hashable, CustomStringConvertible {
        package let description: String
    }

    /// - Parameters:
    ///   - scheduled: Requests whose time came.
    ///   - before: The engine's counts when the run began.
    ///   - after: Its counts after its shutdown.
    package static func check(
        _ requests: [ServingRecord.Request], scheduled: Int, before: MoEEngineStatistics, after: MoEEngineStatistics
    ) throws(Mismatch) {
        func require(_ what: String, _ found: Int, _ expected: Int) throws(Mismatch) {
            guard found == expected else {
                throw Mismatch(description: "serving does not add up: \(what): \(found), expected \(expected)")
            }
        }
        func count(_ outcome: ServingRecord.Outcome) -> Int { requests.count { $0.outcome == outcome } }
        try require("requests with an outcome", requests.count, scheduled)
        try require("requests left in the engine", after.waiting + after.running, 0)
        let accepted = after.accepted - before.accepted
        let ended =
            after.finished - before.finished + after.cancelled - before.cancelled + after.failed - before.failed
            + after.stopped - before.stopped
        try require("ends of accepted requests", ended, accepted)
        try require("rejected, as the engine counts", after.rejected - before.rejected, count(.rejected))
        try require("accepted, as the engine counts", accepted, requests.count - count(.rejected))
        // A sender may give up when the engine is done already and the last rows are on their way.
        let ends = [
            ("finished", count(.finished), after.finished - before.finished),
            ("failed", count(.failed), after.failed - before.failed),
        ]
        for (what, seen, known) in ends where seen > known {
            throw Mismatch(description: "serving does not add up: \(seen) \(what), of which the engine knows \(known)")
        }
        for request in requests where request.outcome == .finished {
            try require("tokens of a finished request", request.generatedTokens, request.outputTokens)
        }
        let generated = requests.reduce(0) { $0 + $1.generatedTokens }
        guard generated <= after.generatedTokens - before.generatedTokens else {
            throw Mismatch(
                description: "serving does not add up: senders got \(generated) tokens of "
                    + "\(after.generatedTokens - before.generatedTokens)")
        }
    }
}
