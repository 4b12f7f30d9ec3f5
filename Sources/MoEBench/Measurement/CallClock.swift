import CPlatform
import MoEKernel

/// What tells how long a call took.
package protocol CallClock {
    func nanoseconds(of call: () throws(MoEError) -> Void) throws(MoEError) -> UInt64
}

/// The processor's monotonic clock.
package struct HostClock: CallClock {
    package init() {}

    @inline(__always)
    package func nanoseconds(of call: () throws(MoEError) -> Void) throws(MoEError) -> UInt64 {
        let start = cp_nanoseconds()
        try call()
        return cp_nanoseconds() - start
    }
}

/// A device's own: the time between two marks in a stream. Waits for the second.
///
/// Before the first mark the device is kept busy for a moment, so that the host is ahead with its launches when the marked work begins:
/// what is timed is the device's work, unless that is shorter than the launches that it consists of.
package struct DeviceClock: CallClock {
    private let stream: CUDAStream
    private let start: CUDAEvent
    private let end: CUDAEvent
    private let probe: CUDAProbe

    /// Iterations of the probe that take about 0.1 ms.
    package static let usuallyAhead = 200

    /// - Parameter ahead: Iterations of the probe before each call.
    package init(_ stream: CUDAStream, ahead: Int) throws(MoEError) {
        self.stream = stream
        start = try CUDAEvent(on: stream.device)
        end = try CUDAEvent(on: stream.device)
        probe = try CUDAProbe(on: stream.device, multiplying: .bfloat16, copyBytes: 256, iterations: ahead)
    }

    package func nanoseconds(of call: () throws(MoEError) -> Void) throws(MoEError) -> UInt64 {
        try probe.startMultiplying(on: stream)
        try start.record(on: stream)
        try call()
        try end.record(on: stream)
        try stream.synchronize()
        return UInt64(max(try end.milliseconds(since: start), 0) * 1e6)
    }
}
