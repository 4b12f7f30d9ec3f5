import CMoECUDA

/// An NVIDIA GPU as this process uses it: its properties, its context and its memory pool. Layers on one device share it.
///
/// The context is the device's primary one, which other CUDA libraries of the process use too; neither the thread's
/// current device nor another library's memory pool is changed.
public final class CUDADevice: Sendable {
    /// What kind of device it is.
    public let properties: Properties

    let context: CUDAContext
    let memory: DeviceMemoryPool
    /// The embedded image's kernels, while some layer uses them.
    let library = SharedOnDemand<KernelLibrary>()

    /// The device's number, from 0, in the order of `CUDA_VISIBLE_DEVICES`.
    public var index: Int { properties.index }

    /// The device of that number; whoever asks while it is in use gets the same object.
    ///
    /// - Throws: ``MoEError/cuda(_:)``: no runtime, no driver, no such device, a device below compute capability 8.0, a
    ///   context that cannot be started.
    public static func numbered(_ index: Int) throws(MoEError) -> CUDADevice {
        try CUDARuntime.loaded.get().device(index)
    }

    private init(_ properties: Properties, _ context: CUDAContext, _ memory: DeviceMemoryPool) {
        self.properties = properties
        self.context = context
        self.memory = memory
    }

    init(_ runtime: CUDARuntime, _ index: Int) throws(MoEError) {
        try runtime.checkExists(device: index)
        let driver = try CUDADriver(runtime)
        properties = try Properties(driver, index)
        try properties.checkSupport()
        context = try CUDAContext(driver, index)
        memory = try DeviceMemoryPool(context, inStreamOrder: properties.supportsMemoryPools)
    }

    /// The same device, whose launches are cut as if it had no more than so many multiprocessors: small batches then take the tiles that
    /// large ones take on the whole device. For a harness that has every kernel run in little time. Streams, tensors and layers belong
    /// to the object that they were made on.
    ///
    /// - Parameter multiprocessors: At least 1.
    package func narrowed(toMultiprocessors multiprocessors: Int) -> CUDADevice {
        var narrow = properties
        narrow.multiprocessors = max(1, min(multiprocessors, properties.multiprocessors))
        return CUDADevice(narrow, context, memory)
    }

    /// The device with the image loaded, which else is loaded for the first layer and unloaded with the last.
    package struct WithKernels: Sendable {
        package let device: CUDADevice
        private let library: KernelLibrary

        fileprivate init(_ device: CUDADevice) throws(MoEError) {
            self.device = device
            library = try device.kernels()
        }
    }

    package func withKernels() throws(MoEError) -> WithKernels { try WithKernels(self) }

    /// As in "13.0": of the CUDA runtime that was found.
    package var runtimeVersion: String { "\(context.runtime.runtimeVersion)" }
    /// The newest CUDA that the driver supports.
    package var driverVersion: String { "\(context.runtime.driverVersion)" }

    /// Waits for all work on the device.
    ///
    /// - Throws: ``MoEError/cuda(_:)``: what went wrong in that work, or in giving something back before.
    public func synchronize() throws(MoEError) {
        try context.perform("cudaDeviceSynchronize") { $0.pointee.cudaDeviceSynchronize() }
        memory.releaseDeferred()
        try context.reportReleases()
    }

    /// Bytes of device memory that are free, for every process on the device.
    ///
    /// - Throws: ``MoEError/cuda(_:)``.
    public func freeBytes() throws(MoEError) -> Int {
        var free = 0, total = 0
        try context.perform("cudaMemGetInfo") { $0.pointee.cudaMemGetInfo(&free, &total) }
        return free
    }
}

extension CUDADevice {
    /// What kind of device it is; asked without starting a context on it.
    public struct Properties: Sendable, Hashable {
        /// The device's number, from 0.
        public let index: Int
        /// As in "NVIDIA H200".
        public let name: String
        /// Compute capability, as in 9.0: the kind of machine code it runs.
        public let computeCapability: ComputeCapability
        public fileprivate(set) var multiprocessors: Int
        /// Bytes of its memory.
        public let memoryBytes: Int
        public let l2Bytes: Int
        public let warpSize: Int
        public let threadsPerBlock: Int
        public let threadsPerMultiprocessor: Int
        public let registersPerMultiprocessor: Int
        /// Bytes of shared memory of a multiprocessor.
        public let sharedBytesPerMultiprocessor: Int
        /// The most of them that one block may have, which a kernel has to ask for.
        public let sharedBytesPerBlock: Int
        /// Whether memory can be had in stream order.
        public let supportsMemoryPools: Bool

        /// One attribute after the other: the layout of cudaDeviceProp differs between CUDA's major versions.
        ///
        /// - Parameter index: Of a device that exists.
        init(_ driver: CUDADriver, _ index: Int) throws(MoEError) {
            let runtime = driver.runtime
            func attribute(_ attribute: Int) throws(MoEError) -> Int {
                var value: Int32 = 0
                try runtime.check(
                    runtime.entryPoints.pointee.cudaDeviceGetAttribute(&value, Int32(attribute), Int32(index)),
                    "cudaDeviceGetAttribute")
                return Int(value)
            }
            self.index = index
            name = try driver.name(ofDevice: index)
            memoryBytes = try driver.memoryBytes(ofDevice: index)
            computeCapability = ComputeCapability(
                major: try attribute(mc_cudaDevAttrComputeCapabilityMajor),
                minor: try attribute(mc_cudaDevAttrComputeCapabilityMinor))
            multiprocessors = try attribute(mc_cudaDevAttrMultiProcessorCount)
            l2Bytes = try attribute(mc_cudaDevAttrL2CacheSize)
            warpSize = try attribute(mc_cudaDevAttrWarpSize)
            threadsPerBlock = try attribute(mc_cudaDevAttrMaxThreadsPerBlock)
            threadsPerMultiprocessor = try attribute(mc_cudaDevAttrMaxThreadsPerMultiProcessor)
            registersPerMultiprocessor = try attribute(mc_cudaDevAttrMaxRegistersPerMultiprocessor)
            sharedBytesPerMultiprocessor = try attribute(mc_cudaDevAttrMaxSharedMemoryPerMultiprocessor)
            sharedBytesPerBlock = try attribute(mc_cudaDevAttrMaxSharedMemoryPerBlockOptin)
            supportsMemoryPools = try attribute(mc_cudaDevAttrMemoryPoolsSupported) != 0
        }

        /// Throws for a device that the kernels' instructions do not exist on.
        func checkSupport() throws(MoEError) {
            guard computeCapability >= .least else {
                throw .cuda(
                    CUDAFailure(
                        .unsupportedArchitecture, call: "cudaDeviceGetAttribute",
                        problem: "device \(index), \(name), has compute capability \(computeCapability); "
                            + "the kernels need \(ComputeCapability.least)"))
            }
        }
    }

    /// As in 9.0.
    public struct ComputeCapability: Sendable, Hashable, Comparable, CustomStringConvertible {
        public let major: Int
        public let minor: Int

        /// The least that the kernels run on (Ampere): below, there is no cp.async and no bf16 on tensor cores.
        static let least = ComputeCapability(major: 8, minor: 0)

        public static func < (one: Self, other: Self) -> Bool {
            (one.major, one.minor) < (other.major, other.minor)
        }

        public var description: String { "\(major).\(minor)" }
    }
}

extension CUDADevice.Properties: CustomStringConvertible {
    /// As in "0: NVIDIA H200, compute capability 9.0, 132 multiprocessors".
    public var description: String {
        "\(index): \(name), compute capability \(computeCapability), \(multiprocessors) multiprocessors"
    }
}
