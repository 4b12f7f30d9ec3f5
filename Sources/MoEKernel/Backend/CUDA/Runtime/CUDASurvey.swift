/// What CUDA offers on a machine, found without starting a context.
package struct CUDASurvey: Sendable {
    /// As found when first asked.
    package static let ofThisMachine = CUDASurvey(CUDARuntime.loaded)

    /// "runtime 13.0, driver 13.0"; empty without a runtime.
    package let versions: String
    /// The devices that the kernels run on, in order of their numbers.
    package let devices: [CUDADevice.Properties]
    /// Why there is none; nil where there is one.
    package let failure: MoEError?

    private let runtime: Result<CUDARuntime, MoEError>

    init(_ runtime: Result<CUDARuntime, MoEError>) {
        self.runtime = runtime
        var devices: [CUDADevice.Properties] = []
        var failure: MoEError?
        var versions = ""
        do throws(MoEError) {
            let runtime = try runtime.get()
            versions = "runtime \(runtime.runtimeVersion), driver \(runtime.driverVersion)"
            let count = try runtime.deviceCount()
            let driver = try CUDADriver(runtime)
            for index in 0..<count {
                do throws(MoEError) {
                    let properties = try CUDADevice.Properties(driver, index)
                    try properties.checkSupport()
                    devices.append(properties)
                } catch {
                    failure = failure ?? error
                }
            }
        } catch {
            failure = error
        }
        self.versions = versions
        self.devices = devices
        self.failure = devices.isEmpty ? failure : nil
    }

    var available: [Device] { [.cpu] + devices.map { .cuda($0.index) } }

    var best: Device {
        let best = devices.max {
            ($0.computeCapability, $0.multiprocessors) < ($1.computeCapability, $1.multiprocessors)
        }
        return best.map { .cuda($0.index) } ?? .cpu
    }

    /// Throws why the device cannot be used.
    func check(_ device: Device) throws(MoEError) {
        guard case .cuda(let index) = device, !devices.contains(where: { $0.index == index }) else { return }
        let runtime = try self.runtime.get()
        try runtime.checkExists(device: index)
        try CUDADevice.Properties(CUDADriver(runtime), index).checkSupport()
    }
}

extension CUDASurvey: CustomStringConvertible {
    /// In one line: the devices, or why there are none.
    package var description: String {
        if let failure { return "\(failure)" }
        let count = "\(devices.count) device\(devices.count == 1 ? "" : "s")"
        return "\(count) (\(devices.map(\.description).joined(separator: "; "))), \(versions)"
    }
}
