import CMoECUDA

/// The kernels of an image on one device.
final class KernelLibrary: @unchecked Sendable {
    let device: CUDADevice
    private let handle: OpaquePointer?

    private let lock = PosixMutex()
    /// The most dynamic shared memory that a block of each kernel was allowed. CUDA keeps one limit a kernel, which every
    /// ``CUDAKernel`` of that name shares, so it only grows.
    private var sharedBytesAllowed: [String: Int] = [:]

    /// - Throws: ``MoEError/cuda(_:)``: an image that CUDA does not read.
    init(_ image: KernelImage, on device: CUDADevice) throws(MoEError) {
        var library: OpaquePointer?
        try device.context.perform("cudaLibraryLoadData", "the kernels' image, \(image.bytes.count) bytes") {
            $0.pointee.cudaLibraryLoadData(&library, image.bytes.baseAddress, nil, nil, 0, nil, nil, 0)
        }
        self.device = device
        handle = library
    }

    deinit { device.context.release("cudaLibraryUnload") { $0.pointee.cudaLibraryUnload(handle) } }

    /// A kernel, ready for launches of one size of block. Its code is brought to the device here, so that an image
    /// without code for the device is found now rather than at the first launch.
    ///
    /// - Parameters:
    ///   - threads: Of a block.
    ///   - dynamicSharedBytes: Shared memory of a block beyond what the kernel declares.
    /// - Throws: ``MoEError/cuda(_:)``: no such kernel in the image, no code for this device, a block that does not fit a
    ///   multiprocessor.
    func kernel(
        _ name: String, threads: Int, dynamicSharedBytes: Int = 0
    ) throws(MoEError) -> CUDAKernel {
        let context = device.context
        let properties = device.properties
        func tooLarge(_ problem: String) -> MoEError {
            .cuda(
                CUDAFailure(
                    .tooLarge, call: "KernelLibrary", problem: "kernel \(name): \(problem)",
                    remedy: "use smaller blocks or tiles"))
        }
        guard (1...properties.threadsPerBlock).contains(threads) else {
            throw tooLarge("\(threads) threads in a block; the device takes 1 to \(properties.threadsPerBlock)")
        }
        guard (0...properties.sharedBytesPerBlock).contains(dynamicSharedBytes) else {
            throw tooLarge(
                "\(dynamicSharedBytes) bytes of shared memory; a block may have \(properties.sharedBytesPerBlock)")
        }
        var kernel: OpaquePointer?
        try context.perform("cudaLibraryGetKernel", "kernel \(name)") {
            $0.pointee.cudaLibraryGetKernel(&kernel, handle, name)
        }
        try allow(dynamicSharedBytes, kernel, name)
        var resident: Int32 = 0
        try context.perform(
            "cudaOccupancyMaxActiveBlocksPerMultiprocessor",
            "kernel \(name) on \(properties.name), compute capability \(properties.computeCapability)"
        ) {
            $0.pointee.cudaOccupancyMaxActiveBlocksPerMultiprocessor(
                &resident, UnsafeRawPointer(kernel), Int32(threads), dynamicSharedBytes)
        }
        guard resident > 0 else {
            throw tooLarge("no block of \(threads) threads and \(dynamicSharedBytes) bytes fits a multiprocessor")
        }
        return CUDAKernel(
            library: self, name: name, handle: kernel, threads: threads, dynamicSharedBytes: dynamicSharedBytes,
            blocksPerMultiprocessor: Int(resident))
    }
    /// Lets blocks of a kernel have that much dynamic shared memory.
    private func allow(_ bytes: Int, _ kernel: OpaquePointer?, _ name: String) throws(MoEError) {
        lock.lock()
        defer { lock.unlock() }
        guard bytes > sharedBytesAllowed[name, default: 0] else { return }
        try device.context.perform("cudaKernelSetAttributeForDevice", "kernel \(name)") {
            $0.pointee.cudaKernelSetAttributeForDevice(
                kernel, Int32(mc_cudaFuncAttributeMaxDynamicSharedMemorySize), Int32(bytes), Int32(device.index))
        }
        sharedBytesAllowed[name] = bytes
    }
}
