import Foundation
import Testing

@testable import MoEBench

@Suite struct ResultsDiffTests {
    private static let rows: [(name: String, median: Double, count: Int)] = [
        ("gating", 8.4e3, 300), ("top-k routing", 2.8e3, 300), ("expert computation", 3.6e6, 75),
        ("whole layer", 3.4e6, 75),
        ("dense-all-experts", 12e6, 28), ("dense-iso-active", 3.2e6, 50), ("scalar", 218e6, 21),
    ]

    /// A run of two workloads with seven rows each.
    ///
    /// - Parameters:
    ///   - slow: What a row's times are multiplied by.
    ///   - machine: How fast the machine is, beside its usual self: rows and ceilings alike.
    private static func run(
        seed: UInt64, slow: (String) -> Double = { _ in 1 }, machine: Double = 1, processor: String = "Test CPU",
        tokens: Int = 32, threads: Int = 2, hash: String = "43907d18decfe3df", caches: String = "warm"
    ) throws -> RecordedResults {
        let entries = ["small", "medium"].enumerated().map { index, name in
            let workload = ResultsFixture.workload(name, tokens: tokens)
            func rates(_ rate: Double, _ part: UInt64) -> [Double] {
                ResultsFixture.samples(20, median: 1e6, noise: 0.02, seed: seed &* 1000 &+ part &+ UInt64(index)).map {
                    rate * machine * 1e6 / Double($0)
                }
            }
            return ResultsFixture.entry(
                workload,
                rows.enumerated().map { place, row in
                    ResultsFixture.row(
                        row.name, workload,
                        ResultsFixture.samples(
                            row.count, median: row.median * slow(row.name) / machine,
                            seed: seed &* 100 &+ UInt64(place * 2 + index)),
                        flops: row.name == "top-k routing" ? 0 : 400_000_000,
                        bytes: row.name == "top-k routing" ? 0 : 100_000_000,
                        threads: threads, hash: hash)
                }, multiply: rates(170e9, 17), read: rates(40e9, 31), threads: threads, caches: caches)
        }
        return try ResultsFixture.input(entries, processor: processor).results
    }

    /// Ten runs of the same thing: no wolf.
    @Test func equalRunsDoNotDiffer() throws {
        let runs = try (1...10).map { try Self.run(seed: $0) }
        var verdicts = 0
        for (before, after) in zip(runs, runs.dropFirst()) {
            let diff = ResultsDiff(from: before, to: after)
            #expect(diff.compared == 14)
            verdicts += diff.count(.worse) + diff.count(.better)
            if diff.count(.worse) + diff.count(.better) == 0 { #expect(diff.exitCode == .success) }
        }
        // 126 rows; one in twenty comparisons may err, so nine have one at most but rarely.
        #expect(verdicts <= 1)
        #expect(ResultsDiff(from: runs[0], to: runs[0]).exitCode == .success)
    }

    @Test func slowerRowsAreFound() throws {
        let before = try Self.run(seed: 1)
        let after = try Self.run(seed: 2, slow: { $0 == "whole layer" || $0 == "gating" ? 1.12 : 1 })
        let diff = ResultsDiff(from: before, to: after)
        #expect(diff.exitCode == .regression)
        let worse = diff.pairs.filter { $0.verdict == .worse }
        #expect(Set(worse.map(\.first.timing.subject.name)) == ["whole layer", "gating"] && worse.count == 4)
        for pair in worse {
            let change = try #require(pair.change)
            #expect(abs(change.value - 1.12) < 0.05)
            #expect(try #require(change.interval).contains(change.value) && change.interval!.lowerBound > 1)
        }
        #expect(diff.count(.better) == 0)

        let back = ResultsDiff(from: after, to: before)
        #expect(back.exitCode == .improvement && back.count(.better) == 4 && back.count(.worse) == 0)
    }

    @Test func aSlowerMachineIsNoRegression() throws {
        let diff = ResultsDiff(from: try Self.run(seed: 1), to: try Self.run(seed: 2, machine: 0.8))
        #expect(diff.count(.worse) == 0 && diff.exitCode == .success)
        let layer = try #require(diff.pairs.first { $0.first.timing.subject.name == "whole layer" })
        #expect(try #require(layer.change).value > 1.2)
        #expect(abs(try #require(layer.besideCeiling).value - 1) < 0.06)
        #expect(layer.remarks.contains { $0.contains("as the machine") && $0.contains("slower") })
        // Work that is not counted has the multiply-adds as its measure.
        let routing = try #require(diff.pairs.first { $0.first.timing.subject.name == "top-k routing" })
        #expect(routing.verdict == .same && routing.yardstick == .multiplyAdd)
    }

    @Test func aFasterMachineDoesNotHideARegressionInSilence() throws {
        let diff = ResultsDiff(
            from: try Self.run(seed: 1),
            to: try Self.run(seed: 2, slow: { $0 == "whole layer" ? 1.25 : 1 }, machine: 1.25))
        let layer = try #require(diff.pairs.first { $0.first.timing.subject.name == "whole layer" })
        #expect(layer.verdict == .same)
        #expect(layer.remarks.contains { $0.contains("it is slower; measure again") })
    }

    @Test func smallChangesAreNotWorthAVerdict() throws {
        let workload = ResultsFixture.workload()
        func run(_ nanoseconds: UInt64) throws -> RecordedResults {
            let samples = (0..<200).map { nanoseconds + UInt64($0 % 3) }
            return try ResultsFixture.input([
                ResultsFixture.entry(workload, [ResultsFixture.row("whole layer", workload, samples)])
            ]).results
        }
        #expect(ResultsDiff(from: try run(1_000_000), to: try run(1_015_000)).exitCode == .success)
        #expect(ResultsDiff(from: try run(1_000_000), to: try run(1_025_000)).exitCode == .regression)
    }

    @Test func unlikeIsRefusedWithTheDifference() throws {
        let before = try Self.run(seed: 1)
        for (after, word) in [
            (try Self.run(seed: 1, tokens: 64), "tokens 32 and 64"),
            (try Self.run(seed: 1, threads: 1), "threads 2 and 1"),
            (try Self.run(seed: 1, hash: "other"), "inputs 43907d18decfe3df and other"),
            (try Self.run(seed: 1, caches: "cold"), "caches warm and cold"),
        ] {
            let diff = ResultsDiff(from: before, to: after)
            #expect(diff.compared == 0 && diff.exitCode == .failure)
            #expect(
                diff.pairs.count == 14 && diff.pairs.allSatisfy { $0.verdict == .unlike && $0.remarks.contains(word) },
                "\(word)")
        }
    }

    @Test func otherMachinesNeedAWord() throws {
        let before = try Self.run(seed: 1), after = try Self.run(seed: 1, processor: "Other CPU")
        let refused = ResultsDiff(from: before, to: after)
        #expect(refused.isRefused && refused.compared == 0 && refused.exitCode == .failure)
        #expect(refused.machines == ["processor Test CPU and Other CPU"])
        let compared = ResultsDiff(from: before, to: after, acrossMachines: true)
        #expect(compared.compared == 14 && compared.exitCode == .success && !compared.machines.isEmpty)
    }

    @Test func rowsWithoutAPartnerAreNamed() throws {
        let workload = ResultsFixture.workload()
        let layer = ResultsFixture.row("whole layer", workload, [5, 6, 7, 8, 9])
        let scalar = ResultsFixture.row("scalar", workload, [5, 6, 7, 8, 9])
        let dense = ResultsFixture.row("dense-all-experts", workload, [5, 6, 7, 8, 9])
        let before = try ResultsFixture.input([ResultsFixture.entry(workload, [layer, scalar])]).results
        let after = try ResultsFixture.input([
            ResultsFixture.entry(workload, [layer, dense], failed: [["name": "scalar", "reason": "wrong result"]])
        ]).results
        let diff = ResultsDiff(from: before, to: after)
        #expect(diff.onlyFirst == ["small: scalar, which failed: wrong result"])
        #expect(diff.onlySecond == ["small: dense-all-experts"])
        #expect(diff.hasLostRows && diff.exitCode == .failure)
    }

    @Test func tooFewSamplesGetNoVerdict() throws {
        let workload = ResultsFixture.workload()
        func run(_ samples: [UInt64]) throws -> RecordedResults {
            try ResultsFixture.input([
                ResultsFixture.entry(workload, [ResultsFixture.row("whole layer", workload, samples)])
            ]).results
        }
        let diff = ResultsDiff(from: try run([5, 6, 7]), to: try run([50, 60, 70]))
        #expect(diff.pairs[0].verdict == .same && diff.pairs[0].remarks == ["too few samples: 3 and 3"])
        let none = ResultsDiff(from: try run([]), to: try run([0, 0, 0, 0, 0]))
        #expect(none.pairs[0].verdict == .same && none.pairs[0].change == nil)
    }

    @Test func textSaysHowManyRows() throws {
        let before = try Self.run(seed: 1), after = try Self.run(seed: 2, slow: { $0 == "whole layer" ? 1.2 : 1 })
        let input = try ResultsFixture.input([])
        let diff = ResultsDiff(from: before, to: after)
        let lines = DiffText.lines(
            diff, first: input, second: input, terminal: Terminal(hasStyle: false, hasProgress: false))
        #expect(lines.contains { $0.hasPrefix("14 rows compared: 2 worse, 0 better, 12 without") })
        #expect(lines.contains { $0.contains("whole layer") && $0.hasSuffix("worse") })
        let json = try #require(
            try JSONSerialization.jsonObject(with: DiffText.json(diff, first: input, second: input)) as? [String: Any])
        #expect(json["compared"] as? Int == 14 && json["exit"] as? Int == 2)
        #expect((json["rows"] as? [[String: Any]])?.count { $0["verdict"] as? String == "worse" } == 2)
    }
}
