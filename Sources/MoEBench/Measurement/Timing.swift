/// Samples with what they belong to: a ``Measurement`` of this run, or a ``RecordedMeasurement`` out of a file.
package protocol Timing: Sendable {
    var subject: Subject { get }
    var inputHash: String { get }
    var work: Work { get }
    var nanoseconds: [UInt64] { get }
}

extension Measurement: Timing {}
extension RecordedMeasurement: Timing {}

extension Timing {
    /// Statistics of the samples, in seconds.
    package var summary: Summary? { Summary(nanoseconds.map { Double($0) * 1e-9 }) }
}
