import CUDAFake
import CUDATwins
import MoEKernel
import Testing
#if canImport(FoundationEssentials)
import FoundationEssentials
#endif

@testable import MoEBench

@Suite struct CoverageTemp {
    @Test func coverage() throws {
        for (n, test) in try DeviceConformance.cases().enumerated() {
            let start = ContinuousClock().now
            let (names, _) = try withTwinMachine { device in
                let pool = try ThreadPool(threads: 1)
                _ = try DeviceConformance.run(test, on: device) { configuration, weights in
                    try MoELayer(configuration, weights: weights, on: device, pool: pool)
                }
                return (0..<fake_launches()).map { String(cString: fake_launch_at($0).kernel!) }
            }
            let time = (ContinuousClock().now - start) / .seconds(1)
            print("COVER\t\(n)\t\(time)\t\(names.count)\t\(test)\t" + Set(names).sorted().joined(separator: " "))
        }
        print("ALL\t" + twinKernelNames().joined(separator: " "))
    }
}
