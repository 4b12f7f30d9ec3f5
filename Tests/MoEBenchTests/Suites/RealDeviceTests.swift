import MoEKernel
import Testing

@testable import MoEBench

/// What the simulated device shows of kernels, on a real one.
@Suite(
    .enabled("no GPU: \(Device.cudaFailure.map { "\($0)" } ?? "none that the kernels run on")") {
        Device.available.contains { $0 != .cpu }
    })
struct RealDeviceTests {
    @Test(arguments: try DeviceConformance.cases()) func agrees(_ test: DeviceConformance.Case) throws {
        let device = try CUDADevice.numbered(0)
        let pool = try ThreadPool()
        let finding = try DeviceConformance.run(test, on: device) { configuration, weights in
            try MoELayer(configuration, weights: weights, on: device, pool: pool)
        }
        #expect(finding.compared > test.tokens / 2)
    }
}
