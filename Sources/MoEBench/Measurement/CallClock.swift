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

/// A device's own: the time between two marks in a stream, which is what its work takes there once it has been put in. Waits for it.
package struct DeviceClock: CallClock {
    private let stream: CUDAStream
    private let start: CUDAEvent
    private let end: CUDAEvent

    package init(_ stream: CUDAStream) throws(MoEError) {
        self.stream = stream
        start = try CUDAEvent(on: stream.device)
        end = try CUDAEvent(on: stream.device)
    }

    package func nanoseconds(of call: () throws(MoEError) -> Void) throws(MoEError) -> UInt64 {
        try start.record(on: stream)
        try call()
        try end.record(on: stream)
        try stream.synchronize()
        return UInt64(max(try end.milliseconds(since: start), 0) * 1e6)
    }
}
