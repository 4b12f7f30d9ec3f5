import CMoECUDA

/// A queue of work on one device: this library's own, or the caller's.
public final class CUDAStream: @unchecked Sendable {
    public let device: CUDADevice
    let handle: OpaquePointer?
    private let isOwned: Bool

    /// A new stream, which does not wait for the default one.
    ///
    /// - Throws: ``MoEError/cuda(_:)``.
    public init(on device: CUDADevice) throws(MoEError) {
        var stream: OpaquePointer?
        try device.context.perform("cudaStreamCreateWithFlags") {
            $0.pointee.cudaStreamCreateWithFlags(&stream, UInt32(mc_cudaStreamNonBlocking))
        }
        self.device = device
        handle = stream
        isOwned = true
    }

    /// The caller's stream.
    ///
    /// - Parameters:
    ///   - handle: A `cudaStream_t`; nil is the default stream. It has to stay valid as long as this object and everything
    ///     made on it; it is not destroyed. What goes while you capture it into a graph of your own is given back after
    ///     the capture: call ``synchronize()`` then, before you destroy it.
    ///   - device: The device that it is of.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for another device's stream, ``MoEError/cuda(_:)``.
    public init(borrowing handle: UnsafeMutableRawPointer?, on device: CUDADevice) throws(MoEError) {
        let stream = handle.map { OpaquePointer($0) }
        var index: Int32 = -1
        try device.context.perform("cudaStreamGetDevice") { $0.pointee.cudaStreamGetDevice(stream, &index) }
        guard index == device.index else {
            throw .input(name: "stream", value: "one of device \(index)", expectation: "one of device \(device.index)")
        }
        self.device = device
        self.handle = stream
        isOwned = false
    }

    deinit {
        guard isOwned else { return }
        device.context.release("cudaStreamDestroy") { $0.pointee.cudaStreamDestroy(handle) }
    }

    /// The `cudaStream_t`, for other CUDA libraries.
    public var rawHandle: UnsafeMutableRawPointer? { handle.map { UnsafeMutableRawPointer($0) } }

    /// Waits for all work given so far.
    ///
    /// - Throws: ``MoEError/cuda(_:)``: what went wrong in that work, or in giving something back before.
    public func synchronize() throws(MoEError) {
        try device.context.perform("cudaStreamSynchronize") { $0.pointee.cudaStreamSynchronize(handle) }
        device.memory.releaseDeferred()
        try device.context.reportReleases()
    }

    /// Whether all work given so far is done.
    ///
    /// - Throws: ``MoEError/cuda(_:)``: what went wrong in that work.
    public func isIdle() throws(MoEError) -> Bool {
        try device.context.isDone("cudaStreamQuery") { $0.pointee.cudaStreamQuery(handle) }
    }

    /// Work given from now on waits until the event, as last recorded, has come.
    ///
    /// - Throws: ``MoEError/cuda(_:)``.
    public func wait(for event: CUDAEvent) throws(MoEError) {
        try device.context.perform("cudaStreamWaitEvent") { $0.pointee.cudaStreamWaitEvent(handle, event.handle, 0) }
    }

    // MARK: What a recording uses

    private let lock = PosixMutex()
    /// What the work recorded so far needs; nil while no ``CUDAGraph`` is recorded.
    private var kept: [Kept]?

    /// An object that a graph keeps, and where it is noted which streams use its memory.
    struct Kept {
        let object: AnyObject
        let uses: StreamUses?
    }

    /// From now on ``keep(_:)`` collects.
    func startKeeping() {
        lock.lock()
        defer { lock.unlock() }
        kept = []
    }

    /// What was collected, for the graph to hold.
    func stopKeeping() -> [Kept] {
        lock.lock()
        defer { lock.unlock() }
        defer { kept = nil }
        return kept ?? []
    }

    /// Whether a ``CUDAGraph`` is recorded, which keeps what it needs.
    var isKeeping: Bool {
        lock.lock()
        defer { lock.unlock() }
        return kept != nil
    }

    /// Keeps an object as long as the graph that is being recorded; nothing while none is.
    func keep(_ object: AnyObject, uses: StreamUses? = nil) {
        lock.lock()
        defer { lock.unlock() }
        kept?.append(Kept(object: object, uses: uses))
    }

    /// Whether work is recorded into a graph rather than done.
    func isCapturing() throws(MoEError) -> Bool {
        var status: mc_capture_status = 0
        try device.context.perform("cudaStreamIsCapturing") { $0.pointee.cudaStreamIsCapturing(handle, &status) }
        return status != mc_cudaStreamCaptureStatusNone
    }

    /// Whether memory can be given back in this stream's order now: in a capture that would spoil the graph, as it would
    /// on the default stream while a stream that waits for it is captured, which CUDA answers with an error. On a lost
    /// context it can.
    func mayRelease() -> Bool {
        do throws(MoEError) {
            return try !isCapturing()
        } catch {
            guard case .cuda(let failure) = error else { return false }
            return failure.kind == .contextLost
        }
    }

    func check(_ other: CUDADevice, _ name: String) throws(MoEError) {
        guard other === device else {
            throw .input(
                name: name, value: "on device \(other.index)", expectation: "on device \(device.index), the stream's")
        }
    }
}
