import CMoECUDA

/// A mark in a stream's work: other streams wait for it, and two of them tell the time between.
public final class CUDAEvent: @unchecked Sendable {
    public let device: CUDADevice
    let handle: OpaquePointer?
    private let hasTime: Bool

    /// - Parameters:
    ///   - device: Whose streams it marks.
    ///   - timing: Whether it notes the time, which costs a little.
    /// - Throws: ``MoEError/cuda(_:)``.
    public init(on device: CUDADevice, timing: Bool = true) throws(MoEError) {
        var event: OpaquePointer?
        try device.context.perform("cudaEventCreateWithFlags") {
            $0.pointee.cudaEventCreateWithFlags(
                &event, UInt32(timing ? mc_cudaEventDefault : mc_cudaEventDisableTiming))
        }
        self.device = device
        handle = event
        hasTime = timing
    }

    deinit { device.context.release("cudaEventDestroy") { $0.pointee.cudaEventDestroy(handle) } }

    /// Puts the mark after the work that the stream was given so far.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for another device's stream, ``MoEError/cuda(_:)``.
    public func record(on stream: CUDAStream) throws(MoEError) {
        try stream.check(device, "event")
        try device.context.perform("cudaEventRecord") { $0.pointee.cudaEventRecord(handle, stream.handle) }
    }

    /// Waits for the work before the mark.
    ///
    /// - Throws: ``MoEError/cuda(_:)``: what went wrong in it.
    public func synchronize() throws(MoEError) {
        try device.context.perform("cudaEventSynchronize") { $0.pointee.cudaEventSynchronize(handle) }
    }

    /// Whether the work before the mark is done.
    ///
    /// - Throws: ``MoEError/cuda(_:)``: what went wrong in it.
    public func isDone() throws(MoEError) -> Bool {
        try device.context.isDone("cudaEventQuery") { $0.pointee.cudaEventQuery(handle) }
    }

    /// Milliseconds from another mark to this one, as the device counted them; both have to be done.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for marks without time or of two devices, ``MoEError/cuda(_:)``.
    public func milliseconds(since start: CUDAEvent) throws(MoEError) -> Double {
        guard hasTime, start.hasTime, start.device === device else {
            throw .input(
                name: "events", value: start.device === device ? "without time" : "of two devices",
                expectation: "two of one device that note the time")
        }
        var milliseconds: Float = 0
        try device.context.perform("cudaEventElapsedTime") {
            $0.pointee.cudaEventElapsedTime(&milliseconds, start.handle, handle)
        }
        return Double(milliseconds)
    }
}
