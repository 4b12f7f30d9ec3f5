import CMoECUDA

/// What the runtime does not offer: a device's name and size without starting a context, and its context made current
/// for a call.
struct CUDADriver: Sendable {
    let runtime: CUDARuntime
    private let functions: mc_driver

    /// - Throws: ``MoEError/cuda(_:)`` where the driver lacks an entry point.
    init(_ runtime: CUDARuntime) throws(MoEError) {
        var functions = mc_driver()
        var missing: UnsafePointer<CChar>?
        let answer = mc_driver_load(runtime.entryPoints, &functions, &missing)
        guard answer == 0 else {
            let name = missing.map { String(cString: $0) } ?? "an entry point"
            throw .cuda(
                runtime.failure(
                    CUDAErrorCode(rawValue: answer), "cudaGetDriverEntryPointByVersion",
                    kind: Int(answer) == mc_cudaErrorSymbolNotFound ? .driverTooOld : nil,
                    detail: "the driver's \(name)"))
        }
        self.runtime = runtime
        self.functions = functions
    }

    func name(ofDevice index: Int) throws(MoEError) -> String {
        let device = try handle(index)
        var name = [CChar](repeating: 0, count: 256)
        try runtime.check(functions.cuDeviceGetName(&name, Int32(name.count), device), "cuDeviceGetName")
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Bytes of the device's memory.
    func memoryBytes(ofDevice index: Int) throws(MoEError) -> Int {
        let device = try handle(index)
        var bytes = 0
        try runtime.check(functions.cuDeviceTotalMem(&bytes, device), "cuDeviceTotalMem")
        return bytes
    }

    /// Starts the device's primary context, the one that the runtime uses, or finds it started. Each needs its ``release(_:)``.
    func retainContext(ofDevice index: Int) throws(MoEError) -> PrimaryContext {
        let device = try handle(index)
        var context: OpaquePointer?
        try runtime.check(functions.cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain")
        guard let context else {
            throw .cuda(CUDAFailure(.refused, call: "cuDevicePrimaryCtxRetain", problem: "no context was given"))
        }
        return PrimaryContext(device: device, handle: context)
    }

    func release(_ context: PrimaryContext) -> mc_error { functions.cuDevicePrimaryCtxRelease(context.device) }

    struct PrimaryContext: @unchecked Sendable {
        let device: mc_driver_device
        let handle: OpaquePointer
    }

    /// The thread's current context; nil where there is none.
    func current(_ context: inout OpaquePointer?) -> mc_error { functions.cuCtxGetCurrent(&context) }

    /// Makes the context current on this thread, for calls up to ``pop()``.
    func push(_ context: PrimaryContext) -> mc_error { functions.cuCtxPushCurrent(context.handle) }

    /// Gives the thread the context back that it had before ``push(_:)``.
    func pop() -> mc_error {
        var context: OpaquePointer?
        return functions.cuCtxPopCurrent(&context)
    }

    private func handle(_ index: Int) throws(MoEError) -> mc_driver_device {
        var device: mc_driver_device = 0
        try runtime.check(functions.cuDeviceGet(&device, Int32(index)), "cuDeviceGet")
        return device
    }
}
