/// What a serving run shows, computed from its record alone.
///
/// Latencies are those of requests that finished. What was turned away or failed has none, and flatters them; it counts against
/// ``attainment`` and ``goodput`` instead.
package struct ServingSummary: Sendable, Hashable {
    /// The share of requests that must keep the objective for the run to.
    package static let requiredShare = 0.95

    package let scheduled: Int
    package let finished: Int
    package let rejected: Int
    package let cancelled: Int
    package let failed: Int

    /// Seconds from the scheduled arrival to the first token.
    package let firstToken: Summary?
    /// Mean seconds between a request's tokens after the first, of requests with two or more.
    package let perToken: Summary?
    /// Seconds from the scheduled arrival to the last token.
    package let endToEnd: Summary?

    /// Requests that finished and kept the objective.
    package let kept: Int
    /// Their share of all but those whose senders gave up; nil where there are no others.
    package let attainment: Double?
    /// Requests that kept the objective, a second.
    package let goodput: Double
    /// Tokens that came, a second, whatever became of their requests.
    package let generatedPerSecond: Double
    /// The same with the tokens of prompts that had a first token come.
    package let tokensPerSecond: Double

    /// Requests in the queue, over time: from each step's start to the next one's.
    package let meanWaiting: Double
    package let mostWaiting: Int
    package let meanRunning: Double
    package let meanBatchTokens: Double

    /// Seconds from arrival to last token of those that finished, rising.
    private let finishedIn: [Double]

    /// The share of all requests, but those whose senders gave up, that finished within so many seconds; nil where there are no others.
    package func share(within seconds: Double) -> Double? {
        let counted = scheduled - cancelled
        return counted > 0 ? Double(finishedIn.count { $0 <= seconds }) / Double(counted) : nil
    }

    package func count(_ outcome: ServingRecord.Outcome) -> Int {
        switch outcome {
        case .finished: finished
        case .rejected: rejected
        case .cancelled: cancelled
        case .failed: failed
        }
    }

    /// Whether the run kept its objective; nil where nothing can be said.
    package var isObjectiveKept: Bool? { attainment.map { $0 >= Self.requiredShare } }

    package init(_ record: ServingRecord) {
        let requests = record.requests
        func count(_ outcome: ServingRecord.Outcome) -> Int { requests.count { $0.outcome == outcome } }
        scheduled = requests.count
        finished = count(.finished)
        rejected = count(.rejected)
        cancelled = count(.cancelled)
        failed = count(.failed)
        let done = requests.filter { $0.outcome == .finished }
        firstToken = Summary(done.compactMap(\.timeToFirstToken))
        perToken = Summary(done.compactMap(\.timePerToken))
        finishedIn = done.map(\.endToEnd).sorted()
        endToEnd = Summary(finishedIn)
        kept = done.count { $0.keeps(record.objective) }
        let counted = scheduled - cancelled
        attainment = counted > 0 ? Double(kept) / Double(counted) : nil
        func perSecond(_ amount: Double) -> Double { record.seconds > 0 ? amount / record.seconds : 0 }
        goodput = perSecond(Double(kept))
        // Sums of a file's numbers may leave Int.
        let generated = requests.reduce(0.0) { $0 + Double($1.generatedTokens) }
        let prompts = requests.reduce(0.0) { $0 + ($1.firstToken == nil ? 0 : Double($1.promptTokens)) }
        generatedPerSecond = perSecond(generated)
        tokensPerSecond = perSecond(generated + prompts)
        let steps = record.steps
        mostWaiting = max(record.mostWaiting ?? 0, steps.map(\.waiting).max() ?? 0)
        var span = 0.0, waiting = 0.0, running = 0.0
        for (step, next) in zip(steps, steps.dropFirst()) {
            let time = max(next.time - step.time, 0)
            span += time
            waiting += time * Double(step.waiting)
            running += time * Double(step.running)
        }
        meanWaiting = span > 0 ? waiting / span : Double(steps.first?.waiting ?? 0)
        meanRunning = span > 0 ? running / span : Double(steps.first?.running ?? 0)
        meanBatchTokens =
            steps.isEmpty ? 0 : steps.reduce(0.0) { $0 + Double($1.tokens) } / Double(steps.count)
    }

    /// The most requests that waited in each of `bins` equal parts of the run, for a picture.
    package static func waiting(of record: ServingRecord, bins: Int) -> [Int] {
        var most = [Int](repeating: 0, count: bins)
        guard record.seconds > 0 else { return most }
        func bin(_ time: Double) -> Int { Int(min(max(time / record.seconds, 0), 1) * Double(bins)) }
        for (index, step) in record.steps.enumerated() {
            // From its beginning to the next one's.
            let first = min(bin(step.time), bins - 1)
            let last = index + 1 < record.steps.count ? min(bin(record.steps[index + 1].time), bins - 1) : first
            for bin in first...max(first, last) { most[bin] = max(most[bin], step.waiting) }
        }
        return most
    }
}

extension ServingRecord.Request {
    /// Seconds from the scheduled arrival to the first token; nil where none came.
    package var timeToFirstToken: Double? { firstToken.map { $0 - arrival } }

    /// Mean seconds between the tokens after the first; nil with fewer than two.
    package var timePerToken: Double? {
        guard let firstToken, generatedTokens >= 2 else { return nil }
        return (end - firstToken) / Double(generatedTokens - 1)
    }

    /// Seconds from the scheduled arrival to the end.
    package var endToEnd: Double { end - arrival }

    /// Whether it finished as fast as was wished.
    package func keeps(_ objective: ServingRecord.Objective) -> Bool {
        guard outcome == .finished, let timeToFirstToken else { return false }
        return timeToFirstToken <= objective.firstToken && timePerToken ?? 0 <= objective.perToken
    }
}
