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

    /// The median alone, in seconds: for ratios, at a small part of a summary's cost. nil without samples.
    package var median: Double? {
        nanoseconds.isEmpty ? nil : Summary.median(of: nanoseconds.map { Double($0) * 1e-9 })
    }

    /// nil where samples are too few for fences.
    package var outliers: Outliers? { Outliers(nanoseconds.map { Double($0) }) }

    /// nil where samples are too few for a direction.
    package var trend: Trend? { Trend(nanoseconds.map { Double($0) }) }
}
