import MoEKernel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Everything that a run measured, as JSON: raw samples, and what they belong to. Statistics, rates and speed-ups are not in
/// it; whoever reads it computes them from the samples.
package struct ResultsFile: Encodable, Sendable {
    package static let schema = "moe-bench results"
    /// 2: caches, memory, tokens of each expert, measurements of other programs, serving. A file of version 1 has none of them and says
    /// the same of the rest.
    package static let version = 2
    package static let readableVersions = 1...2

    package struct Entry: Encodable, Sendable {
        package struct Failed: Codable, Sendable, Hashable {
            package let name: String
            package let reason: String
        }

        package let workload: Workload
        package let inputHash: String
        /// The row that others are compared with.
        package let reference: String?
        package let threads: Int
        package let instructionSet: String
        /// As `--tuning` takes it; nil on a GPU.
        package let tuning: String?
        /// Seconds of a GPU's first call.
        package let firstCall: Double?
        package let weightBytes: Int
        package let load: WorkloadReport.Load
        package let checkedTokens: Int
        package let ceilings: Ceilings
        package let measurements: [Measurement]
        package let failed: [Failed]
        package let notRun: [WorkloadReport.NotRun]
        /// Interrupted before every sample was taken.
        package let partial: Bool
        package let caches: CacheState
        package let peakBytes: Int?
        package let external: [ExternalMeasurement]

        package init(_ report: WorkloadReport) {
            workload = report.workload
            inputHash = report.comparison.inputHash
            reference = report.reference
            threads = report.threads
            instructionSet = report.instructionSet
            tuning = report.tuning
            firstCall = report.firstCall
            weightBytes = report.weightBytes
            load = report.load
            checkedTokens = report.checkedTokens
            ceilings = report.comparison.ceilings
            measurements = report.comparison.results.compactMap(\.measurement)
            failed = report.comparison.results.compactMap { result in
                result.failure.map { Failed(name: result.subject.name, reason: "\($0)") }
            }
            notRun = report.notRun
            partial = report.comparison.interrupted
            caches = report.caches
            peakBytes = report.peakBytes
            external = report.external
        }
    }

    package let schema: String
    package let version: Int
    package let build: String
    package let command: [String]
    /// ISO 8601, UTC.
    package let finished: String
    package let machine: Machine
    /// The GPU that layers ran on; nil on a processor.
    package let device: DeviceRecord?
    package let entries: [Entry]
    /// Runs of an engine that served requests.
    package let serving: [ServingRecord]
    /// Some of what was asked for is missing.
    package let partial: Bool

    package init(
        reports: [WorkloadReport] = [], serving: [ServingRecord] = [], build: String, command: [String],
        machine: Machine, device: DeviceRecord? = nil, partial: Bool, finished: Date = Date()
    ) {
        schema = Self.schema
        version = Self.version
        self.build = build
        self.command = command
        self.finished = finished.ISO8601Format()
        self.machine = machine
        self.device = device
        entries = reports.map(Entry.init)
        self.serving = serving
        self.partial = partial
    }

    package func json() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(self) + Data("\n".utf8)
    }

    /// Writes the file whole or not at all: beside its place, then renamed.
    package func write(to path: String) throws(MoEError) { try Self.write(json, to: path) }

    /// The same for another file.
    static func write(_ json: () throws -> Data, to path: String) throws(MoEError) {
        try checkWritable(path)
        do {
            try json().write(to: URL(filePath: path), options: .atomic)
        } catch {
            throw .system(file: path, operation: "write", reason: reason(error))
        }
    }

    /// Fails early where the file could not be written later: a run takes a minute.
    package static func checkWritable(_ path: String) throws(MoEError) {
        let url = URL(filePath: path)
        let folder = url.deletingLastPathComponent().path
        let files = FileManager.default
        let type = (try? files.attributesOfItem(atPath: folder.isEmpty ? "." : folder))?[.type] as? FileAttributeType
        guard type == .typeDirectory else {
            throw .system(file: path, operation: "create", reason: "there is no folder \(folder)")
        }
        guard files.isWritableFile(atPath: folder.isEmpty ? "." : folder) else {
            throw .system(file: path, operation: "create", reason: "the folder \(folder) cannot be written to")
        }
        // Renaming over a device or a folder would replace it.
        if let type = try? files.attributesOfItem(atPath: url.resolvingSymlinksInPath().path)[.type]
            as? FileAttributeType,
            type != .typeRegular
        {
            throw .system(file: path, operation: "create", reason: "is there already and not a regular file")
        }
    }

    static func reason(_ error: any Error) -> String {
        if let error = error as? CocoaError, let cause = error.underlying as? POSIXError {
            return "error \(cause.code.rawValue)"
        }
        return "\(error)"
    }
}
