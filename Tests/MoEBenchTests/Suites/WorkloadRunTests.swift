import Foundation
import MoEKernel
import Testing

@testable import MoEBench

/// A small run of the real thing: every row is there, checked, rendered and written.
@Suite struct WorkloadRunTests {
    private static func report(_ workload: Workload, budget: Double = 0.3) throws -> WorkloadReport {
        let runner = WorkloadRunner(
            pool: try ThreadPool(threads: 2), instructionSet: try CPUInstructionSet.chosen(), build: "test",
            interruption: Interruption(), progress: ProgressLine(Terminal(hasStyle: false, hasProgress: false)))
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
        #expect(lines.allSatisfy { $0.count <= 120 })
        for name in names { #expect(lines.contains { $0.contains(name) }) }
        let header = try #require(lines.first { $0.contains("median") })
        for column in ["median", "p95", "tokens/s", "GFLOP/s", "of ceiling", "layer is faster by"] {
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
