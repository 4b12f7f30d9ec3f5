import CMoECUDA

/// Page-locked memory of the host with one owner: copies to and from it run beside other work.
///
/// It has to outlive the copies: synchronise with them before it goes.
struct PinnedMemory: ~Copyable, @unchecked Sendable {
    let bytes: UnsafeMutableRawBufferPointer
    let device: CUDADevice

    /// - Throws: ``MoEError/cuda(_:)``.
    init(bytes count: Int, on device: CUDADevice, purpose: @autoclosure () -> String) throws(MoEError) {
        var address: UnsafeMutableRawPointer?
        try device.context.perform(
            "cudaHostAlloc", kind: { $0 == .memoryAllocation ? .outOfPinnedMemory : nil },
            "\(count) page-locked bytes for \(purpose())"
        ) { $0.pointee.cudaHostAlloc(&address, max(count, 1), UInt32(mc_cudaHostAllocPortable)) }
        bytes = UnsafeMutableRawBufferPointer(start: address, count: count)
        self.device = device
    }

    deinit { device.context.releaseOutOfOrder("cudaFreeHost") { $0.pointee.cudaFreeHost(bytes.baseAddress) } }
}
