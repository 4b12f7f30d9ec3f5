import MoEKernel
import Testing

@testable import MoEBench

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

@Suite struct SuiteTextTests {
    private let text = SuiteText(Terminal(hasStyle: false, hasProgress: false))

    private func report(_ comparison: Comparison, _ workload: Workload, peak: Int? = nil) -> WorkloadReport {
        WorkloadReport(
            workload: workload, load: WorkloadRunner.load([[1, 2, 3]]), weightBytes: 1, threads: 1,
            instructionSet: "test", tuning: nil, reference: WorkloadRunner.wholeLayer, checkedTokens: 6,
            comparison: comparison, notRun: [], seconds: 1, peakBytes: peak)
    }

    /// Every note at once: a layer that drifts with outliers, another whose time is up.
    @Test func whatMattersIsSaid() throws {
        let trial = try Trial()
        func fake(_ name: String, _ script: @escaping (Int) -> UInt64) -> Fake {
            Fake(trial.subject(name), clock: ScriptedClock(script)) { y, batch, _ in y = trial.truth[batch] }
        }
        let comparison = try trial.compare(
            [
                fake(WorkloadRunner.wholeLayer) {
                    200_000_000 + UInt64($0) * 500_000 + ($0 % 6 == 0 ? 900_000_000 : 0)
                },
                fake("steady") { _ in 200_000_000 },
            ], plan: SamplingPlan(budget: 100), now: SteadyClock().now)
        let lines = text.workload(report(comparison, trial.workload, peak: 412 << 20))
        #expect(lines.allSatisfy { $0.count <= 110 })
        func line(_ part: String) throws -> String { try #require(lines.first { $0.contains(part) }, "\(lines)") }
        #expect(try line("memory: ").hasPrefix("  memory: peak 412 MiB"))
        #expect(try line("time was up").hasSuffix("known well enough of: whole layer"))
        #expect(try line("outliers, kept").contains("whole layer 0 mild") == false)
        #expect(try line("outliers, kept").contains("severe of"))
        #expect(!(try line("outliers, kept").contains("steady")))
        _ = try line("whole layer became")
        let row = try line("steady  ")
        #expect(row.contains("200 ms") && row.contains("  0 %"))
    }

    /// Ten thousand samples are summarised and shown in less than a second of this thread's time.
    @Test func tenThousandSamples() throws {
        let trial = try Trial()
        var generator = SplitMix64(seed: 1)
        let fake = Fake(
            trial.subject(WorkloadRunner.wholeLayer),
            clock: ScriptedClock { _ in 1000 + UInt64(generator.unit() * 1000) }
        ) { y, batch, _ in y = trial.truth[batch] }
        let comparison = try trial.compare(
            [fake], plan: SamplingPlan(budget: 100, maximumSamples: 10_000, relativeHalfWidth: 0),
            now: SteadyClock().now)
        #expect(comparison.results[0].measurement?.count == 10_001)
        let start = clock_gettime_nsec(CLOCK_THREAD_CPUTIME_ID)
        let lines = text.workload(report(comparison, trial.workload))
        let seconds = Double(clock_gettime_nsec(CLOCK_THREAD_CPUTIME_ID) - start) * 1e-9
        #expect(lines.contains { $0.hasPrefix("  whole layer  1.") })
        #expect(seconds < 1)
    }

    private func clock_gettime_nsec(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
