import MoEKernel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// A results file as read back: recorded measurements, not measurements.
package struct RecordedResults: Decodable, Sendable {
    package struct Entry: Decodable, Sendable {
        package let workload: Workload
        package let inputHash: String
        /// The row that others are compared with; nil in files of a time when it was not recorded.
        package let reference: String?
        package let threads: Int
        package let instructionSet: String
        /// nil on a GPU, and in files of a time when it was not recorded.
        package let tuning: String?
        package let firstCall: Double?
        package let weightBytes: Int
        package let load: WorkloadReport.Load
        package let checkedTokens: Int
        package let ceilings: RecordedCeilings
        package let measurements: [RecordedMeasurement]
        package let failed: [ResultsFile.Entry.Failed]
        package let notRun: [WorkloadReport.NotRun]
        package let partial: Bool
        /// nil in files of version 1, whose caches were warm.
        package let caches: CacheState?
        package let peakBytes: Int?
        /// nil in files of version 1.
        package let external: [ExternalMeasurement]?
    }

    package let version: Int
    package let build: String
    package let command: [String]
    /// ISO 8601, UTC.
    package let finished: String
    package let machine: Machine
    /// The GPU that layers ran on; nil on a processor, and in files of a time when it was not recorded.
    package let device: DeviceRecord?
    package let entries: [Entry]
    /// nil in files of version 1.
    package let serving: [ServingRecord]?
    package let partial: Bool

    private struct Head: Decodable {
        let schema: String
        let version: Int
    }

    /// - Throws: `MoEError.checkpoint` naming the file where it is none of ours, or of another version.
    package static func read(_ data: Data, file: String) throws(MoEError) -> RecordedResults {
        let decoder = JSONDecoder()
        guard let head = try? decoder.decode(Head.self, from: data), head.schema == ResultsFile.schema else {
            throw .checkpoint(file: file, tensor: nil, problem: "is not a results file of moe-bench")
        }
        guard ResultsFile.readableVersions.contains(head.version) else {
            throw .checkpoint(
                file: file, tensor: nil,
                problem: "results of schema version \(head.version); expected "
                    + ResultsFile.readableVersions.map { "\($0)" }.joined(separator: " or "))
        }
        do {
            return try decoder.decode(RecordedResults.self, from: data)
        } catch {
            throw .checkpoint(file: file, tensor: nil, problem: "is damaged: \(error)")
        }
    }
}

/// The machine's limits as a results file tells them.
package struct RecordedCeilings: Sendable, Hashable, Decodable {
    package struct Series: Sendable, Hashable, Decodable {
        /// Operations or bytes of each pass.
        package let work: [Int]
        package let nanoseconds: [UInt64]
    }

    package struct Read: Sendable, Hashable, Decodable {
        package let bufferBytes: Int
        package let series: Series
    }

    package struct GEMM: Sendable, Hashable, Decodable {
        package let rows: Int
        package let columns: Int
        package let depth: Int
        package let series: Series
    }

    package let multiplyAdd: Series
    /// Products of bytes, and of pairs of bf16 numbers, where they were measured.
    package let byteDot: Series?
    package let pairDot: Series?
    /// One large dense product, on a GPU; nil in files of a time when it was not measured.
    package let gemm: GEMM?
    /// By size of the buffer, rising: of a processor.
    package let reads: [Read]?
    /// The same of a GPU, whose memory is copied.
    package let copies: [Read]?
}
