import MoEKernel

/// A GPU as its driver describes it; nothing is measured.
package struct DeviceRecord: Sendable, Hashable, Codable {
    /// The device's number, from 0.
    package let index: Int
    /// As in "NVIDIA H200".
    package let name: String
    /// As in "9.0".
    package let computeCapability: String
    package let multiprocessors: Int
    package let memoryBytes: Int
    package let l2Bytes: Int
    /// As in "13.0": of the CUDA runtime.
    package let runtime: String
    /// The newest CUDA that the driver supports.
    package let driver: String

    package init(_ device: CUDADevice) {
        let properties = device.properties
        index = properties.index
        name = properties.name
        computeCapability = "\(properties.computeCapability)"
        multiprocessors = properties.multiprocessors
        memoryBytes = properties.memoryBytes
        l2Bytes = properties.l2Bytes
        runtime = device.runtimeVersion
        driver = device.driverVersion
    }
}

extension DeviceRecord: CustomStringConvertible {
    /// In one line.
    package var description: String {
        "\(index): \(name), compute capability \(computeCapability), \(multiprocessors) multiprocessors, memory "
            + "\(Format.bytes(memoryBytes)), L2 \(Format.bytes(l2Bytes)), CUDA runtime \(runtime), driver \(driver)"
    }
}
