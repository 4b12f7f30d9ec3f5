import CMoECUDA

/// Where a device's memory comes from: a pool of this library's own, in stream order, or plain cudaMalloc where the
/// device or its driver has no pools.
///
/// The pool keeps what it was given back until the device is no longer used, so that steady work asks the driver for nothing.
final class DeviceMemoryPool: @unchecked Sendable {
    private let context: CUDAContext
    /// nil: cudaMalloc.
    private let pool: OpaquePointer?

    private let lock = PosixMutex()
    private var deferred: [Deferred] = []

    /// What could not be given back while its stream was captured into a graph. It keeps the stream, and that the device,
    /// until the next allocation, wait or end of a ``CUDAGraph``'s capture.
    private struct Deferred {
        let address: UnsafeMutableRawPointer
        let stream: CUDAStream
    }

    /// - Parameter ordered: Whether the device says that it has pools.
    init(_ context: CUDAContext, inStreamOrder ordered: Bool) throws(MoEError) {
        self.context = context
        do throws(MoEError) {
            pool = ordered ? try Self.makePool(context) : nil
        } catch {
            // Some virtual machines' drivers say so and then have none.
            guard case .cuda(let failure) = error, failure.code == mc_cudaErrorNotSupported else { throw error }
            pool = nil
        }
    }

    deinit {
        guard let pool else { return }
        context.release("cudaMemPoolDestroy") { $0.pointee.cudaMemPoolDestroy(pool) }
    }

    private static func makePool(_ context: CUDAContext) throws(MoEError) -> OpaquePointer? {
        var properties = mc_pool_properties()
        properties.allocation_type = Int32(mc_cudaMemAllocationTypePinned)
        properties.location_type = Int32(mc_cudaMemLocationTypeDevice)
        properties.location_id = Int32(context.index)
        var pool: OpaquePointer?
        try context.perform("cudaMemPoolCreate") { $0.pointee.cudaMemPoolCreate(&pool, &properties) }
        do throws(MoEError) {
            var threshold = UInt64.max
            try context.perform("cudaMemPoolSetAttribute") {
                $0.pointee.cudaMemPoolSetAttribute(pool, Int32(mc_cudaMemPoolAttrReleaseThreshold), &threshold)
            }
        } catch {
            context.release("cudaMemPoolDestroy") { $0.pointee.cudaMemPoolDestroy(pool) }
            throw error
        }
        return pool
    }

    /// Bytes for work on `stream`, uninitialised, aligned to 256 bytes.
    func allocate(
        _ bytes: Int, on stream: CUDAStream, purpose: @autoclosure () -> String
    ) throws(MoEError) -> UnsafeMutableRawPointer {
        // In a capture an allocation becomes a node of the graph, and its address is valid in the graph alone.
        guard try !stream.isCapturing() else {
            throw .cuda(
                CUDAFailure(
                    .captureFailed, call: "DeviceMemory",
                    problem: "\(bytes) bytes for \(purpose()) were asked for while the stream is captured"))
        }
        releaseDeferred()
        guard pool != nil else { return try ask(for: bytes, stream, purpose) }
        do throws(MoEError) {
            return try ask(for: bytes, stream, purpose)
        } catch {
            guard case .cuda(let failure) = error, failure.kind == .outOfDeviceMemory else { throw error }
            // The pool may hold enough in pieces: those that no work uses go back to the driver, which makes one of them.
            try stream.synchronize()
            try trim()
            return try ask(for: bytes, stream, purpose)
        }
    }

    private func ask(
        for bytes: Int, _ stream: CUDAStream, _ purpose: () -> String
    ) throws(MoEError) -> UnsafeMutableRawPointer {
        var address: UnsafeMutableRawPointer?
        func detail() -> String { "\(bytes) bytes for \(purpose()) on device \(context.index)" }
        if let pool {
            try context.perform("cudaMallocFromPoolAsync", detail()) {
                $0.pointee.cudaMallocFromPoolAsync(&address, bytes, pool, stream.handle)
            }
        } else {
            try context.perform("cudaMalloc", detail()) { $0.pointee.cudaMalloc(&address, bytes) }
        }
        guard let address else {
            throw .cuda(CUDAFailure(.outOfDeviceMemory, call: "DeviceMemory", problem: "\(detail()): no address"))
        }
        return address
    }

    /// Takes memory back once the work that `stream` holds by now is done.
    func release(_ address: UnsafeMutableRawPointer, on stream: CUDAStream) {
        guard stream.mayRelease() else {
            lock.lock()
            defer { lock.unlock() }
            return deferred.append(Deferred(address: address, stream: stream))
        }
        if pool != nil {
            context.release("cudaFreeAsync") { $0.pointee.cudaFreeAsync(address, stream.handle) }
        } else {
            context.releaseOutOfOrder("cudaFree") { $0.pointee.cudaFree(address) }
        }
    }

    /// Gives back what waited for the end of a capture.
    func releaseDeferred() {
        lock.lock()
        let waiting = deferred
        deferred = []
        lock.unlock()
        for memory in waiting { release(memory.address, on: memory.stream) }
    }

    /// Gives the driver what the pool holds and no work uses.
    func trim() throws(MoEError) {
        guard let pool else { return }
        try context.perform("cudaMemPoolTrimTo") { $0.pointee.cudaMemPoolTrimTo(pool, 0) }
    }
}
