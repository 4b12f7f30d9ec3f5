import CUDAFake
import CUDATwins
import MoEKernel
import Testing

@testable import MoEBench

/// Whole layers on a GPU's kernels, executed on the CPU.
@Suite struct DeviceConformanceTests {
    @Test(arguments: try DeviceConformance.cases()) func agrees(_ test: DeviceConformance.Case) throws {
        let (finding, misuse) = try withTwinMachine { device in
            let pool = try ThreadPool(threads: 1)
            return try DeviceConformance.run(test, on: device) { configuration, weights in
                try MoELayer(configuration, weights: weights, on: device, pool: pool)
            }
        }
        #expect(misuse == nil)
        // Competing tokens are compared together or not at all.
        #expect(finding.compared > test.tokens / 2, "\(finding.undecided) undecided")
        #expect(finding.worst > 0 && finding.worst <= finding.limit)
    }
}
