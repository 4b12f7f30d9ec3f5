import Foundation
import Testing

@testable import MoEBench

@Suite struct WorkloadTests {
    private static let repository = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// Every results file of the repository is read, also those of a time before there were routers or groups to name.
    @Test func committedResultsAreRead() throws {
        let folder = Self.repository.appending(path: "Benchmarks/Results")
        let files = try #require(FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil))
            .compactMap { $0 as? URL }.filter { $0.pathExtension == "json" }
        var read = 0
        for file in files {
            let data = try Data(contentsOf: file)
            guard
                String(decoding: data.prefix(2000), as: UTF8.self).contains("\"entries\"")
                    || String(decoding: data, as: UTF8.self).contains(ResultsFile.schema)
            else { continue }
            let results = try RecordedResults.read(data, file: file.lastPathComponent)
            #expect(!results.entries.isEmpty)
            for entry in results.entries {
                #expect(entry.workload.hidden > 0 && !entry.measurements.isEmpty)
                for measurement in entry.measurements { #expect(measurement.subject.workload == entry.workload) }
            }
            read += 1
        }
        #expect(read >= 4)
        let old = try RecordedResults.read(
            Data(contentsOf: folder.appending(path: "two-core-zen4.json")), file: "two-core-zen4.json")
        let workload = try #require(old.entries.first?.workload)
        #expect(workload.router == .softmax && workload.groups == 8 && workload.quantisation == nil)
    }

    /// What is written is what is read; sizes have to be there, all else may be left out.
    @Test func workloadsRoundTrip() throws {
        var workload = Workload(
            name: "all", tokens: 3, hidden: 64, expertHidden: 32, experts: 8, topK: 2, expert: .plain,
            activation: .relu,
            weightType: .bfloat16, seed: 7)
        workload.router = .grouped
        workload.groups = 4
        workload.activations = .bfloat16Activations
        let json = try JSONEncoder().encode(workload)
        #expect(try JSONDecoder().decode(Workload.self, from: json) == workload)

        let least = #"{"tokens":3,"hidden":64,"expertHidden":32,"experts":8,"topK":2}"#
        let decoded = try JSONDecoder().decode(Workload.self, from: Data(least.utf8))
        #expect(decoded == Workload(name: "run", tokens: 3, hidden: 64, expertHidden: 32, experts: 8, topK: 2))
        #expect(throws: DecodingError.self) {
            try JSONDecoder().decode(Workload.self, from: Data(least.replacing(#""experts":8,"#, with: "").utf8))
        }
    }
}
