/// A timing that another program took of itself, on weights and inputs that we gave it, with an output that we checked.
///
/// It is no ``Measurement``: nobody here saw the calls. Whatever shows it says so.
package struct ExternalMeasurement: Sendable, Hashable, Codable {
    package let subject: Subject
    /// "torch 2.9.1, Python 3.13".
    package let program: String
    package let work: Work
    /// Fingerprint of the inputs that it was given.
    package let inputHash: String
    /// The largest difference from the float64 reference over the checked tokens, relative to the norm of a token's output.
    package let error: Double
    package let count: Int
    /// One timed call each, in the order they ran; none left out.
    package let nanoseconds: [UInt64]

    package init(
        subject: Subject, program: String, work: Work, inputHash: String, error: Double, nanoseconds: [UInt64]
    ) {
        self.subject = subject
        self.program = program
        self.work = work
        self.inputHash = inputHash
        self.error = error
        self.count = nanoseconds.count
        self.nanoseconds = nanoseconds
    }
}

extension ExternalMeasurement: Timing {}
