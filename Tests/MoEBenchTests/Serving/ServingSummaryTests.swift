import MoEKernel
import Testing

@testable import MoEBench

@Suite struct ServingSummaryTests {
    private typealias Request = ServingRecord.Request

    private static func record(
        _ requests: [ServingRecord.Request], steps: [ServingRecord.Step] = [], seconds: Double = 10
    ) -> ServingRecord {
        ServingRecord(
            workload: Workload(name: "test", tokens: 1, hidden: 1, expertHidden: 1, experts: 1, topK: 1), layers: 1,
            threads: 1, instructionSet: "none", device: "cpu", build: "test", arrivals: "poisson", rate: 1, seed: 1,
            maximumWaiting: 1, maximumRunning: 1, maximumBatchTokens: 1,
            objective: .init(firstToken: 0.5, perToken: 0.1), seconds: seconds, peakBytes: nil, requests: requests,
            steps: steps, partial: false)
    }

    private static func finished(
        at arrival: Double, first: Double, end: Double, tokens: Int = 5
    ) -> ServingRecord.Request {
        ServingRecord.Request(
            arrival: arrival, promptTokens: 10, outputTokens: tokens, generatedTokens: tokens, outcome: .finished,
            firstToken: first, end: end)
    }

    private static func unfinished(
        _ outcome: ServingRecord.Outcome, generated: Int = 0, first: Double? = nil
    ) -> ServingRecord.Request {
        ServingRecord.Request(
            arrival: 1, promptTokens: 10, outputTokens: 5, generatedTokens: generated, outcome: outcome,
            firstToken: first, end: 2)
    }

    @Test func latenciesCountFromTheArrival() throws {
        let request = Self.finished(at: 2, first: 2.25, end: 3.05)
        #expect(request.timeToFirstToken == 0.25)
        #expect(abs(request.timePerToken! - 0.2) < 1e-12)
        #expect(abs(request.endToEnd - 1.05) < 1e-12)
        #expect(Self.finished(at: 2, first: 2.5, end: 2.5, tokens: 1).timePerToken == nil)
        let summary = ServingSummary(Self.record([request]))
        #expect(summary.firstToken?.median == 0.25)
        // One request carries no percentile.
        #expect(summary.firstToken?.p95 == nil && summary.endToEnd?.p99 == nil)
    }

    @Test func whatIsTurnedAwayCountsAgainstTheObjective() throws {
        let requests =
            [
                Self.finished(at: 0, first: 0.4, end: 0.8), Self.finished(at: 1, first: 1.6, end: 1.7),
                Self.finished(at: 2, first: 2.1, end: 2.9), Self.finished(at: 3, first: 3.5, end: 3.5, tokens: 1),
            ] + [
                Self.unfinished(.rejected), Self.unfinished(.failed, generated: 2, first: 1.5),
                Self.unfinished(.cancelled), Self.unfinished(.cancelled, generated: 3, first: 1.2),
            ]
        let summary = ServingSummary(Self.record(requests))
        #expect(
            [summary.scheduled, summary.finished, summary.rejected, summary.cancelled, summary.failed]
                == [8, 4, 1, 2, 1])
        // The second is late at its first token, the third slow after it; the fourth is just in time.
        #expect(summary.kept == 2)
        #expect(summary.attainment == 2.0 / 6)
        #expect(summary.goodput == 0.2)
        #expect(summary.isObjectiveKept == false)
        #expect(summary.firstToken?.count == 4 && summary.perToken?.count == 3)
        #expect(summary.generatedPerSecond == 2.1)
        #expect(summary.tokensPerSecond == 8.1)
    }

    @Test func percentilesNeedRequests() {
        let many = (0..<100).map { Self.finished(at: Double($0), first: Double($0) + 0.01 * Double($0 + 1), end: 200) }
        let few = ServingSummary(Self.record(Array(many.prefix(99))))
        #expect(few.firstToken?.p95 != nil && few.firstToken?.p99 == nil)
        let enough = ServingSummary(Self.record(many))
        #expect(abs(enough.firstToken!.p99! - 0.9901) < 1e-9)
        let text = ServingText(Terminal(hasStyle: false, hasProgress: false)).run(Self.record(Array(many.prefix(99))))
        #expect(text.contains { $0.contains("n/a: 99 requests") })
    }

    @Test func nothingFinishedIsNoZero() {
        let summary = ServingSummary(Self.record([Self.unfinished(.cancelled), Self.unfinished(.cancelled)]))
        #expect(summary.firstToken == nil && summary.attainment == nil && summary.isObjectiveKept == nil)
        let empty = ServingSummary(Self.record([], seconds: 0))
        #expect(empty.scheduled == 0 && empty.goodput == 0)
        let text = ServingText(Terminal(hasStyle: false, hasProgress: false)).run(Self.record([], seconds: 0))
        #expect(text.contains { $0.contains("no request finished") })
    }

    @Test func queueDepthIsWeightedByTime() {
        let steps = [
            ServingRecord.Step(time: 0, waiting: 4, running: 2, tokens: 10),
            ServingRecord.Step(time: 3, waiting: 0, running: 6, tokens: 20),
            ServingRecord.Step(time: 4, waiting: 9, running: 6, tokens: 60),
        ]
        let record = Self.record([], steps: steps, seconds: 6)
        let summary = ServingSummary(record)
        #expect(summary.meanWaiting == 3 && summary.mostWaiting == 9)
        #expect(summary.meanRunning == 3 && summary.meanBatchTokens == 30)
        #expect(ServingSummary.waiting(of: record, bins: 3) == [4, 4, 9])
        #expect(ServingText.bars([0, 1, 8]) == " ▁█")
    }

    /// A record goes through a results file and says the same.
    @Test func recordsSurviveTheFile() throws {
        let record = Self.record(
            [Self.finished(at: 0, first: 0.4, end: 0.8), Self.unfinished(.rejected)],
            steps: [ServingRecord.Step(time: 0.1, waiting: 1, running: 1, tokens: 3)])
        let file = ResultsFile(
            serving: [record], build: "test", command: ["moe-bench", "serve"], machine: Machine(), partial: false)
        let read = try RecordedResults.read(try file.json(), file: "serve.json")
        #expect(read.serving == [record])
        #expect(read.serving.map { $0.map(ServingSummary.init) } == [ServingSummary(record)])
    }

    // MARK: Accounts

    private static func statistics(
        finished: Int = 0, cancelled: Int = 0, failed: Int = 0, rejected: Int = 0, generated: Int = 0,
        accepted: Int? = nil
    ) -> MoEEngineStatistics {
        .counted(
            accepted: accepted ?? finished + cancelled + failed, rejected: rejected, finished: finished,
            cancelled: cancelled, failed: failed, generated: generated)
    }

    @Test func accountsMustAddUp() throws {
        let requests = [
            Self.finished(at: 0, first: 1, end: 2), Self.unfinished(.rejected), Self.unfinished(.cancelled),
            Self.unfinished(.failed),
        ]
        let zero = Self.statistics()
        let right = Self.statistics(finished: 1, cancelled: 1, failed: 1, rejected: 1, generated: 5)
        try ServingAccounts.check(requests, scheduled: 4, before: zero, after: right)
        // The engine may have finished what its sender gave up.
        try ServingAccounts.check(
            requests, scheduled: 4, before: zero,
            after: Self.statistics(finished: 2, failed: 1, rejected: 1, generated: 10))
        let wrong = [
            Self.statistics(finished: 1, cancelled: 1, failed: 1, rejected: 0, generated: 5),
            Self.statistics(finished: 2, cancelled: 1, failed: 1, rejected: 1, generated: 9),
            Self.statistics(cancelled: 2, failed: 1, rejected: 1, generated: 5),
            Self.statistics(finished: 1, cancelled: 2, rejected: 1, generated: 5),
            Self.statistics(finished: 1, cancelled: 1, failed: 1, rejected: 1, generated: 4),
            Self.statistics(finished: 1, cancelled: 1, failed: 1, rejected: 1, generated: 5, accepted: 4),
        ]
        for after in wrong {
            #expect(throws: ServingAccounts.Mismatch.self) {
                try ServingAccounts.check(requests, scheduled: 4, before: zero, after: after)
            }
        }
        #expect(throws: ServingAccounts.Mismatch.self) {
            try ServingAccounts.check(requests, scheduled: 5, before: zero, after: right)
        }
        let short = ServingRecord.Request(
            arrival: 0, promptTokens: 1, outputTokens: 5, generatedTokens: 4, outcome: .finished, firstToken: 1, end: 2)
        #expect(throws: ServingAccounts.Mismatch.self) {
            try ServingAccounts.check(
                [short], scheduled: 1, before: zero, after: Self.statistics(finished: 1, generated: 5))
        }
    }

    // MARK: Targets

    @Test func missedTargetsAreNamed() {
        let record = Self.record((0..<20).map { Self.finished(at: Double($0), first: Double($0), end: Double($0) + 1) })
        let summary = ServingSummary(record)
        func missed(_ endToEnd: Double?, _ tokens: Double?) -> Int {
            ServeSettings.Targets(endToEnd: endToEnd, tokensPerSecond: tokens).missed(by: summary).count
        }
        #expect(missed(nil, nil) == 0)
        #expect(missed(1.1, 29) == 0)
        #expect(missed(0.9, 29) == 1)
        #expect(missed(0.9, 31) == 2)
        // Whoever was turned away did not finish in time.
        let turnedAway = ServingSummary(
            Self.record(
                (0..<20).map { Self.finished(at: Double($0), first: Double($0), end: Double($0) + 1) }
                    + (0..<20).map { _ in Self.unfinished(.rejected) }))
        #expect(ServeSettings.Targets(endToEnd: 1.1).missed(by: turnedAway).count == 1)
        let few = ServingSummary(Self.record([Self.finished(at: 0, first: 0, end: 0.1)]))
        #expect(ServeSettings.Targets(endToEnd: 5).missed(by: few).first?.contains("too few") == true)
    }
}
