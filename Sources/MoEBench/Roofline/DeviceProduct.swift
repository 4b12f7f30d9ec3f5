import MoEKernel
import Synchronization

/// A dense product on a GPU by the experts' own kernel: beside the products in registers, what a layer can reach where nothing is routed.
final class DeviceProduct: DenseProduct {
    let rows: Int
    let columns: Int
    let depth: Int
    private let product: CUDAProduct
    private let clock: DeviceClock
    private let failed = Mutex<MoEError?>(nil)

    /// What is multiplied on a whole GPU: two or three milliseconds.
    static func usualExtent(_ type: ElementType) -> Int { type == .float32 ? 4096 : 8192 }
    /// Below this a product is no longer a large one.
    static let leastExtent = 256

    /// The largest extent up to `wanted` whose matrices leave half of the free memory alone; nil where that is too small.
    static func extent(_ wanted: Int, _ type: ElementType, freeBytes: Int) -> Int? {
        var extent = wanted
        while CUDAProduct.byteCount(type, rows: extent, columns: extent, depth: extent) > freeBytes / 2 {
            extent /= 2
            guard extent >= leastExtent else { return nil }
        }
        return extent
    }

    /// Multiplies once, and looks at some of the product.
    ///
    /// - Parameters:
    ///   - extent: Of rows, columns and depth; a multiple of 8.
    ///   - ahead: As ``DeviceClock/init(_:ahead:)``.
    /// - Throws: ``MoEError/unavailable(what:reason:)`` where the product is not right, ``MoEError/cuda(_:)``.
    init(on device: CUDADevice, multiplying type: ElementType, extent: Int, ahead: Int) throws(MoEError) {
        product = try CUDAProduct(on: device, multiplying: type, rows: extent, columns: extent, depth: extent)
        (rows, columns, depth) = (extent, extent, extent)
        clock = try DeviceClock(product.stream, ahead: ahead)
        _ = try Self.checked(product)
    }

    /// Runs a product and compares some elements, the corners among them, with float64.
    ///
    /// - Returns: The largest error found, as a part of what is allowed.
    static func checked(_ product: CUDAProduct) throws(MoEError) -> Double {
        try product.start()
        // Sums in fp32 stay within this of Σ|a||b| up to a depth of 16,384; then they are rounded once.
        let sums = 48 * 0x1p-23
        let rounding = product.type == .float32 ? 0 : product.type == .bfloat16 ? 0x1p-8 : 0x1p-11
        var worst = 0.0
        for row in [0, product.rows / 3, product.rows - 1] {
            let x = try product.row(row, of: .x)
            let y = try product.row(row, of: .y)
            for column in [0, product.columns / 2 + 3, product.columns - 1] {
                let weights = try product.row(column, of: .weights)
                var sum = 0.0, size = 0.0
                for (a, b) in zip(x, weights) {
                    sum += Double(a) * Double(b)
                    size += abs(Double(a) * Double(b))
                }
                let error = abs(Double(y[column]) - sum)
                let allowed = sums * size + rounding * abs(sum)
                guard error <= allowed, size > 0 else {
                    throw .unavailable(
                        what: "a product of \(product.type.rawValue) to compare with",
                        reason: "element (\(row), \(column)) of \(product.rows) × \(product.columns), depth "
                            + "\(product.depth), is \(y[column]); expected \(sum) ± \(Format.scientific(allowed))")
                }
                worst = max(worst, error / allowed)
            }
        }
        return worst
    }

    /// What went wrong in a sample, which then counts as no work.
    var failure: MoEError? { failed.withLock { $0 } }

    func sample() -> (operations: Int, nanoseconds: UInt64) {
        do throws(MoEError) {
            let time = try clock.nanoseconds { () throws(MoEError) in try product.start() }
            return (product.operations, time)
        } catch {
            failed.withLock { $0 = $0 ?? error }
            return (0, 1)
        }
    }
}
