import Foundation
import MoEKernel
import Testing

@testable import MoEBench

/// A small run of the real thing: every row is there, checked, rendered and written.
@Suite struct WorkloadRunTests {
    /// - Parameter isLimited: Whether rates are held against what the machine can do, which other tests keep busy meanwhile.
    static func report(
        _ workload: Workload, budget: Double = 0.3, contest: WorkloadRunner.Contest = .baselines,
        isLimited: Bool = false
    ) throws -> WorkloadReport {
        let set = try CPUInstructionSet.chosen()
        var runner = WorkloadRunner(
            pool: try ThreadPool(threads: 2), instructionSet: set, tuning: .detected(set), build: "test",
            interruption: Interruption(), progress: ProgressLine(Terminal(hasStyle: false, hasProgress: false)))
        runner.contest = contest
        if !isLimited { runner.probe = { (_) throws(MoEError) in FastProbe() } }
        return try runner.run(workload, budget: budget)
    }

    private static let tiny = Workload(
        name: "tiny", tokens: 12, hidden: 64, expertHidden: 48, experts: 4, topK: 2, weightType: .bfloat16)

    @Test func everyRowIsMeasuredAndWritten() throws {
        let report = try Self.report(Self.tiny)
        let names = report.comparison.results.compactMap(\.measurement).map(\.subject.name)
        #expect(
            Set(names).isSuperset(of: [
                "gating", "top-k routing", "expert computation", "whole layer", "dense-all-experts", "dense-iso-active",
            ]))
        #expect(names.contains { $0.hasPrefix("scalar") })
        #expect(report.comparison.results.allSatisfy { $0.failure == nil })

        let lines = SuiteText(Terminal(hasStyle: false, hasProgress: false)).workload(report)
        #expect(lines.allSatisfy { !$0.contains("\u{1b}") })
        #expect(lines.allSatisfy { $0.count <= 110 })
        for name in names { #expect(lines.contains { $0.contains(name) }) }
        let header = try #require(lines.first { $0.contains("median") })
        for column in ["median", "±", "p95", "tokens/s", "GFLOP/s", "of ceiling", "layer is faster by"] {
            #expect(header.contains(column))
        }

        let file = ResultsFile(
            reports: [report], build: "test", command: ["moe-bench"], machine: Machine(), partial: false)
        let read = try RecordedResults.read(try file.json(), file: "results.json")
        #expect(!read.partial)
        let entry = try #require(read.entries.first)
        #expect(entry.measurements.map(\.subject.name) == names)
        for (recorded, result) in zip(entry.measurements, report.comparison.results.compactMap(\.measurement)) {
            // What is saved are the samples, not what was made of them.
            #expect(recorded.nanoseconds == result.nanoseconds)
            #expect(recorded.summary?.median == result.summary?.median)
            #expect(recorded.stopped == result.stopped)
            #expect(recorded.allocationsPerCall == result.allocationsPerCall)
            #expect((recorded.allocationsPerCall == nil) == !AllocationCount.isAvailable)
        }
        #expect(entry.caches == .warm && entry.peakBytes == report.peakBytes)
        let measurements = report.comparison.results.compactMap(\.measurement)
        let conditions = RunConditions(report.comparison.ceilings, measurements)
        #expect(RunConditions(entry.ceilings, entry.measurements) == conditions)
        // Files of a time before these fields are read all the same.
        let json = String(decoding: try file.json(), as: UTF8.self)
        let older = json.replacing(#/"(stopped":"[a-z]+"|allocat[A-Za-z]+":[\d.e+-]+),/#, with: "")
        #expect(!older.contains("stopped") && json.contains("stopped"))
        let bare = try RecordedResults.read(Data(older.utf8), file: "older.json").entries[0].measurements
        #expect(bare.map(\.nanoseconds) == entry.measurements.map(\.nanoseconds))
        #expect(bare.allSatisfy { $0.stopped == nil && $0.allocationsPerCall == nil })
    }

    /// With cold caches every contender is right, and what its reading is held against is memory. (Other tests run at the same time,
    /// and long passes over memory may all be disturbed, where short calls are not.)
    @Test func coldCaches() throws {
        let set = try CPUInstructionSet.chosen()
        var runner = WorkloadRunner(
            pool: try ThreadPool(threads: 2), instructionSet: set, tuning: .detected(set), build: "test",
            interruption: Interruption(), progress: .silent)
        runner.caches = .cold
        runner.probe = { (_: Int) throws(MoEError) in FastProbe() }
        let workload = Workload(name: "cold", tokens: 1, hidden: 512, expertHidden: 768, experts: 4, topK: 2)
        let report = try runner.run(workload, budget: 0.2)
        #expect(report.caches == .cold)
        for result in report.comparison.results {
            #expect(result.failure == nil)
            #expect(try result.outcome.get().count >= 5)
        }
        #expect(report.comparison.ceilings.reads.map(\.bufferBytes).allSatisfy { $0 >= 256 << 20 })
        #expect(report.comparison.ceilings.reads.count == 1)
    }

    /// The tuning is in the file, in the form that gives it back; files from before that are read all the same.
    @Test func tuningIsRecorded() throws {
        let report = try Self.report(Self.tiny, budget: 0.05, isLimited: true)
        let table = CPUTuning.detected(try CPUInstructionSet.chosen())
        let file = ResultsFile(
            reports: [report], build: "test", command: ["moe-bench"], machine: Machine(), partial: false)
        let json = String(decoding: try file.json(), as: UTF8.self)
        let recorded = try #require(try RecordedResults.read(Data(json.utf8), file: "x.json").entries.first?.tuning)
        #expect(try table.overridden(by: recorded) == table)
        let field = "\"tuning\":\"\(recorded)\","
        #expect(json.contains(field))
        let older = try RecordedResults.read(Data(json.replacing(field, with: "").utf8), file: "x.json")
        #expect(older.entries.count == 1 && older.entries[0].tuning == nil)
    }

    /// Ceilings and work of rounded activations are in the file; files from before there were any are read all the same.
    @Test func roundedActivationsAreRecorded() throws {
        var workload = Self.tiny
        workload.weightType = .bfloat16
        workload.activations = .bfloat16Activations
        let report = try Self.report(workload, budget: 0.05)
        #expect(report.comparison.results.allSatisfy { $0.failure == nil })
        let rounded = try #require(report.comparison.ceilings.rounded)
        #expect(rounded.series.rate > 0 && rounded.arithmetic == .bfloat16Activations)
        let file = ResultsFile(
            reports: [report], build: "test", command: ["moe-bench"], machine: Machine(), partial: false)
        let json = String(decoding: try file.json(), as: UTF8.self)
        func work(_ json: String) throws -> [Work] {
            try RecordedResults.read(Data(json.utf8), file: "x.json").entries.flatMap { $0.measurements.map(\.work) }
        }
        let experts = try #require(try work(json).first { $0.pairOperations > 0 })
        #expect(experts.pairOperations == experts.flops && experts.byteOperations == 0)
        let older = try work(json.replacing(#/"(byte|pair)Operations":\d+,/#, with: ""))
        #expect(older.map(\.bytes) == (try work(json)).map(\.bytes))
        #expect(older.allSatisfy { $0.pairOperations == 0 })
    }

    /// Activations that the weights are not made for are refused before anything is measured.
    @Test(arguments: [ElementType.float32, .float16]) func activationsOfOtherWeights(_ type: ElementType) throws {
        var workload = Self.tiny
        workload.weightType = type
        workload.activations = .bfloat16Activations
        #expect {
            try workload.configuration()
        } throws: { error in
            guard case .configuration(let field, let value, let expectation)? = error as? MoEError else { return false }
            return field == "activations" && value == "bf16" && expectation.contains("bf16 with bf16")
        }
    }

    /// Both sides of the ablation pass their checks, of which one is that they agree bit for bit.
    @Test(arguments: [ElementType.float32, .bfloat16], [1, 12]) func ablation(_ type: ElementType, _ tokens: Int) throws
    {
        var workload = Self.tiny
        workload.weightType = type
        workload.tokens = tokens
        let report = try Self.report(workload, budget: 0.1, contest: .ablation(.specialisation))
        #expect(report.comparison.results.map(\.subject.name) == ["specialised", "generic"])
        #expect(report.comparison.results.allSatisfy { $0.failure == nil })
        let lines = SuiteText(Terminal(hasStyle: false, hasProgress: false)).workload(report)
        #expect(lines.contains { $0.contains("specialised is faster by") })
        #expect(lines.contains { $0.hasPrefix("  generic") && $0.hasSuffix("×") })
    }

    /// One bit off is no row.
    @Test func anotherLastBitIsSeen() throws {
        let trial = try Trial()
        let check = SameBits(LayerCheck(trial.oracle), expected: trial.truth, of: "truth")
        for (batch, y) in trial.truth.enumerated() {
            try check.verify(.activations(y), batch: batch)
            var other = y
            other[y.count - 1] = other[y.count - 1].nextUp
            try LayerCheck(trial.oracle).verify(.activations(other), batch: batch)
            #expect(throws: WrongResult.self) { try check.verify(.activations(other), batch: batch) }
        }
    }

    @Test func foreignFilesAreRefused() {
        for text in ["", "{}", "[1, 2]", "{\"schema\": \"other\", \"version\": 1}"] {
            #expect(throws: MoEError.self) { try RecordedResults.read(Data(text.utf8), file: "x.json") }
        }
    }

    @Test func ratiosOfUnlikeThingsAreRefusedOrSaid() throws {
        func recorded(_ workload: Workload, threads: Int, hash: String, _ samples: [UInt64]) -> RecordedMeasurement {
            RecordedMeasurement(
                subject: Subject(
                    name: "whole layer", workload: workload, dtype: workload.weightType.rawValue, threads: threads,
                    instructionSet: "avx2"), work: .uncounted, inputHash: hash, build: "test", count: samples.count,
                nanoseconds: samples)
        }
        var wide = Self.tiny
        wide.hidden = 128
        var full = Self.tiny
        full.weightType = .float32
        let base = recorded(Self.tiny, threads: 2, hash: "a", [200, 400, 300])
        let same = try Speedup(of: recorded(Self.tiny, threads: 2, hash: "a", [100, 100]), over: base)
        #expect(same.ratio == 3 && same.differences.isEmpty)
        let crossed = try Speedup(of: recorded(full, threads: 1, hash: "a", [100]), over: base)
        #expect(crossed.differences == [.dtype, .threads])
        #expect(throws: Speedup.Refused.self) {
            try Speedup(of: recorded(wide, threads: 2, hash: "a", [1]), over: base)
        }
        #expect(throws: Speedup.Refused.self) {
            try Speedup(of: recorded(Self.tiny, threads: 2, hash: "b", [1]), over: base)
        }
        #expect(throws: Speedup.Refused.self) {
            try Speedup(of: recorded(Self.tiny, threads: 2, hash: "a", []), over: base)
        }
    }
}
