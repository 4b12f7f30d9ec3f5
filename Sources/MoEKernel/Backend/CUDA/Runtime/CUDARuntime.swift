import CMoECUDA

/// The CUDA runtime: its entry points, wherever they came from, what it knows without a device, and the devices in use.
package final class CUDARuntime: @unchecked Sendable {
    /// The runtime that this process found, or why there is none. Looked for once, at first use.
    package static let loaded: Result<CUDARuntime, MoEError> = {
        var why: UnsafePointer<CChar>?
        if let table = mc_cudart_load(&why) { return .success(CUDARuntime(table)) }
        let reason = why.map { String(cString: $0) } ?? "no CUDA runtime"
        return .failure(.cuda(CUDAFailure(.noRuntime, call: "dlopen", problem: reason)))
    }()

    let entryPoints: UnsafePointer<mc_cudart>

    private let lock = PosixMutex()
    private var devices: [Int: WeakDevice] = [:]

    private struct WeakDevice {
        weak var device: CUDADevice?
    }

    /// - Parameter entryPoints: A whole table, which has to live as long as the process or the test.
    package init(_ entryPoints: UnsafePointer<mc_cudart>) { self.entryPoints = entryPoints }

    var runtimeVersion: CUDAVersion {
        var version: Int32 = 0
        _ = entryPoints.pointee.cudaRuntimeGetVersion(&version)
        return CUDAVersion(number: version)
    }

    /// The newest CUDA that the driver supports; 0.0 without a driver.
    var driverVersion: CUDAVersion {
        var version: Int32 = 0
        _ = entryPoints.pointee.cudaDriverGetVersion(&version)
        return CUDAVersion(number: version)
    }

    /// Devices that the process may use.
    ///
    /// - Throws: ``MoEError/cuda(_:)`` where there is none, with the reason.
    func deviceCount() throws(MoEError) -> Int {
        guard driverVersion.number > 0 else {
            throw .cuda(
                CUDAFailure(
                    .noDriver, call: "cudaDriverGetVersion",
                    problem: "CUDA runtime \(runtimeVersion) found, but no NVIDIA driver"))
        }
        var count: Int32 = 0
        try check(entryPoints.pointee.cudaGetDeviceCount(&count), "cudaGetDeviceCount")
        guard count > 0 else {
            throw .cuda(CUDAFailure(.noDevice, call: "cudaGetDeviceCount", problem: "CUDA finds no device"))
        }
        return Int(count)
    }

    /// Throws for a number that no device has.
    func checkExists(device index: Int) throws(MoEError) {
        let count = try deviceCount()
        guard 0..<count ~= index else {
            throw .cuda(
                CUDAFailure(
                    .noDevice, call: "cudaGetDeviceCount",
                    problem: "device \(index) was asked for; CUDA finds \(count), counted from 0"))
        }
    }

    /// One device as this process uses it. Who asks for the same one while it is in use gets the same object, and so
    /// shares its memory pool and the news that its context is lost.
    ///
    /// - Throws: ``MoEError/cuda(_:)``: no driver, no such device, too old a device, a context that cannot be started.
    package func device(_ index: Int) throws(MoEError) -> CUDADevice {
        lock.lock()
        defer { lock.unlock() }
        if let device = devices[index]?.device { return device }
        let device = try CUDADevice(self, index)
        devices[index] = WeakDevice(device: device)
        return device
    }

    // MARK: - Errors

    /// Throws what an answer other than success means. For calls that belong to no device's context.
    func check(_ answer: mc_error, _ call: String) throws(MoEError) {
        guard answer != 0 else { return }
        throw .cuda(failure(CUDAErrorCode(rawValue: answer), call))
    }

    /// The one place where a code becomes a failure.
    ///
    /// - Parameters:
    ///   - kind: Replaces what the code alone would say.
    ///   - detail: What the call was for; CUDA's own words follow.
    func failure(
        _ code: CUDAErrorCode, _ call: String, kind: CUDAFailure.Kind? = nil, detail: String = ""
    ) -> CUDAFailure {
        // CUDA keeps an error for the thread's next cudaGetLastError: it is ours, so nobody else is to find it.
        _ = entryPoints.pointee.cudaGetLastError()
        let kind = code.isSticky ? .contextLost : kind ?? code.kind
        var problem = detail.isEmpty ? words(for: code) : "\(detail): \(words(for: code))"
        if kind == .driverTooOld { problem += " (driver for CUDA \(driverVersion), runtime \(runtimeVersion))" }
        return CUDAFailure(kind, call: call, code: code.rawValue, name: name(of: code), problem: problem)
    }

    func name(of code: CUDAErrorCode) -> String {
        entryPoints.pointee.cudaGetErrorName(code.rawValue).map { String(cString: $0) } ?? "unknown"
    }

    private func words(for code: CUDAErrorCode) -> String {
        entryPoints.pointee.cudaGetErrorString(code.rawValue).map { String(cString: $0) } ?? "an error without a text"
    }
}
