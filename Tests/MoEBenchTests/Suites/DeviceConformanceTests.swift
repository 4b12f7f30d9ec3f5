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

/// A device that computes nearly right has to fail.
@Suite struct DeviceConformanceHonestyTests {
    /// One weight of one expert changed, kernels left as they are.
    @Test(arguments: ElementType.allCases) func noticesAnotherWeight(_ type: ElementType) throws {
        let configuration = try MoEConfiguration(
            experts: 4, topK: 2, hidden: 72, expertHidden: 40, weightType: type)
        let test = DeviceConformance.Case(configuration, tokens: 12, seed: 3, input: type, output: type)
        #expect(throws: DeviceConformance.Wrong.self) {
            _ = try withTwinMachine { device in
                let pool = try ThreadPool(threads: 1)
                return try DeviceConformance.run(test, on: device) { configuration, _ in
                    // Other weights: what a wrong packing would give.
                    try MoELayer(configuration, weights: .random(seed: 4), on: device, pool: pool)
                }
            }
        }
    }
}
