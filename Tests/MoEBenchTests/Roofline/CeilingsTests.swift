import MoEKernel
import Testing

@testable import MoEBench

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// A large product among a device's ceilings: a limit beside products in registers, and what layers are compared by.
@Suite struct CeilingsTests {
    /// Ten samples, the third of which was disturbed.
    private final class Product: DenseProduct {
        let rows = 256
        let columns = 512
        let depth = 128
        private let nanoseconds: UInt64
        private var samples = 0

        init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

        func sample() -> (operations: Int, nanoseconds: UInt64) {
            samples += 1
            return (2 * rows * columns * depth, samples == 3 ? 50 * nanoseconds : nanoseconds)
        }
    }

    private func ceilings(_ probe: any MachineProbe, product: (any DenseProduct)?) throws -> Ceilings {
        let sampler = try CeilingSampler(
            workingSets: [64 << 20], machine: .device(l2Bytes: 1 << 20), product: product
        ) { _ in probe }
        sampler.sample()
        // A second attempt starts with nothing.
        sampler.restart()
        for _ in 0..<9 { sampler.sample() }
        return sampler.ceilings
    }

    private let arithmetic = Work(flops: 1 << 50, bytes: 1, workingSet: 64 << 20)
    private let traffic = Work(flops: 1, bytes: 1 << 50, workingSet: 64 << 20)

    @Test func theFasterOfProductsIsTheLimitAndTheLargeOneTheYardstick() throws {
        let rate = Double(2 * 256 * 512 * 128) / 1e-6
        // Registers do a thousand operations in a microsecond, the product 33 millions.
        let slow = try ceilings(SlowProbe(), product: Product(nanoseconds: 1000))
        #expect(try #require(slow.gemm).series.work.count == 9)
        #expect(try #require(slow.gemm).series.rate == rate)
        for bound in [slow.bound(of: arithmetic), slow.yardstick(of: arithmetic)] {
            #expect(bound?.resource == .gemm && bound?.ceiling == rate)
        }
        // Here the registers are the faster, but waiting for memory is part of what layers do.
        let fast = try ceilings(FastProbe(), product: Product(nanoseconds: 1000))
        let limit = try #require(fast.bound(of: arithmetic))
        #expect(limit.resource == .products && limit.ceiling == fast.multiplyAdd.rate && limit.ceiling > rate)
        #expect(fast.yardstick(of: arithmetic) == slow.bound(of: arithmetic))
        #expect(slow.bound(of: traffic)?.resource == .copy && slow.yardstick(of: traffic)?.resource == .copy)
    }

    @Test func withoutALargeProductThereIsOneMeasure() throws {
        let ceilings = try ceilings(SlowProbe(), product: nil)
        #expect(ceilings.gemm == nil && ceilings.bound(of: arithmetic)?.resource == .products)
        #expect(ceilings.yardstick(of: arithmetic) == ceilings.bound(of: arithmetic))
    }

    @Test func theProductIsInResultsFiles() throws {
        for product in [Product(nanoseconds: 1000), nil] {
            let ceilings = try ceilings(SlowProbe(), product: product)
            let recorded = try JSONDecoder().decode(RecordedCeilings.self, from: try JSONEncoder().encode(ceilings))
            #expect(recorded.gemm?.rows == ceilings.gemm?.rows && recorded.gemm?.columns == ceilings.gemm?.columns)
            #expect(recorded.gemm?.depth == ceilings.gemm?.depth)
            #expect(recorded.gemm?.series.rate == ceilings.gemm?.series.rate)
            #expect((recorded.gemm == nil) == (product == nil))
            #expect(recorded.copies?.count == 1 && recorded.reads == nil)
        }
    }

    /// Half of the free memory is left alone, and a small product is none to compare with.
    @Test func theProductFitsTheMemory() {
        let bytes = CUDAProduct.byteCount(.bfloat16, rows: 8192, columns: 8192, depth: 8192)
        #expect(bytes == 384 << 20)
        #expect(DeviceProduct.extent(8192, .bfloat16, freeBytes: 2 * bytes) == 8192)
        #expect(DeviceProduct.extent(8192, .bfloat16, freeBytes: 2 * bytes - 1) == 4096)
        #expect(DeviceProduct.extent(8192, .float32, freeBytes: 2 * bytes) == 4096)
        #expect(DeviceProduct.extent(8192, .bfloat16, freeBytes: 1 << 20) == 256)
        #expect(DeviceProduct.extent(8192, .bfloat16, freeBytes: 1 << 19) == nil)
    }
}
