/// What the machine itself can do, for the harness to time.
package final class CeilingProbe: Sendable {
    package init(pool: ThreadPool, instructionSet: CPUInstructionSet, readBytes: Int) throws(MoEError) {
        fatalError("pending")
    }
    /// Independent multiply-adds in registers on every thread; returns the floating-point operations done.
    package func multiplyAdd() -> Int { fatalError("pending") }
    /// Reads the whole buffer once, split over the threads; returns the bytes read.
    package func read() -> Int { fatalError("pending") }
}
