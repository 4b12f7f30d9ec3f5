/// A measurement as a results file tells it: somebody's word, not this program's.
package struct RecordedMeasurement: Sendable, Hashable, Codable {
    package let subject: Subject
    package let work: Work
    package let inputHash: String
    package let build: String
    package let count: Int
    package let nanoseconds: [UInt64]
    /// nil in files of a time when it was not recorded, as are the next two.
    package var stopped: StopReason?
    package var allocationsPerCall: Double?
    package var allocatedBytesPerCall: Double?
}
