import CUDAFake
import CUDATwins
import MoEKernel
import Testing

@testable import MoEBench

/// The large product that layers on a GPU are compared with, executed on the CPU.
@Suite struct DeviceProductTests {
    @Test(arguments: ElementType.allCases, [(40, 72, 136), (8, 264, 8), (136, 16, 272)])
    func isRight(_ type: ElementType, _ sizes: (rows: Int, columns: Int, depth: Int)) throws {
        let (worst, misuse) = try withTwinMachine { device in
            let product = try CUDAProduct(
                on: device, multiplying: type, rows: sizes.rows, columns: sizes.columns, depth: sizes.depth)
            #expect(product.operations == 2 * sizes.rows * sizes.columns * sizes.depth)
            return try DeviceProduct.checked(product)
        }
        #expect(misuse == nil)
        #expect(worst > 0 && worst <= 1)
    }

    /// A kernel that leaves the product out, or computes another, is no ceiling.
    @Test(arguments: ElementType.allCases) func noticesAWrongProduct(_ type: ElementType) throws {
        let name = type == .float32 ? "fp32_down_64" : "grouped_down_\(type.rawValue)_\(type.rawValue)"
        let kernels = twinKernelNames().filter { $0.hasPrefix(name) }
        #expect(!kernels.isEmpty)
        let (error, _) = try withTwinMachine { device in
            for kernel in kernels { fake_register_kernel(kernel) { _, _, _, _, _, _ in } }
            return #expect(throws: MoEError.self) {
                _ = try DeviceProduct(on: device, multiplying: type, extent: 64, ahead: 1)
            }
        }
        #expect("\(try #require(error))".contains("element (0, 0) of 64 × 64"))
    }

    @Test func refusesSizesThatKernelsDoNotTake() throws {
        for (rows, columns, depth) in [(0, 8, 8), (8, 12, 8), (8, 8, -8)] {
            #expect(throws: MoEError.self) {
                _ = try withTwinMachine { device in
                    _ = try CUDAProduct(on: device, multiplying: .bfloat16, rows: rows, columns: columns, depth: depth)
                }
            }
        }
    }

    /// A failure in a sample is kept, and no work counted.
    @Test func failuresAreTold() throws {
        let ((sample, failure), _) = try withTwinMachine { device in
            let product = try DeviceProduct(on: device, multiplying: .bfloat16, extent: 64, ahead: 1)
            #expect(product.failure == nil && product.sample().operations == 2 * 64 * 64 * 64)
            fake_fail("cudaEventRecord", 0, Int32(mc_cudaErrorLaunchFailure))
            return (product.sample(), product.failure)
        }
        #expect(sample.operations == 0)
        #expect("\(try #require(failure))".contains("cudaErrorLaunchFailure"))
    }
}
