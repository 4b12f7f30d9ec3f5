/// A count as kernels take it.
///
/// - Throws: ``MoEError/cuda(_:)`` of kind ``CUDAFailure/Kind/tooLarge`` from 2³¹ on.
func kernelInteger(_ value: Int, _ name: @autoclosure () -> String) throws(MoEError) -> Int32 {
    guard let number = Int32(exactly: value) else {
        throw .cuda(
            CUDAFailure(
                .tooLarge, call: "kernelInteger", problem: "\(name()) is \(value); kernels take at most \(Int32.max)"))
    }
    return number
}

/// The bytes of an array.
///
/// - Throws: ``MoEError/cuda(_:)`` of kind ``CUDAFailure/Kind/tooLarge`` when they do not fit 64 bits.
func deviceBytes(_ extents: [Int], of elementBytes: Int, _ name: @autoclosure () -> String) throws(MoEError) -> Int {
    guard let bytes = checkedProduct(extents, times: elementBytes) else {
        throw .cuda(CUDAFailure(.tooLarge, call: "deviceBytes", problem: "\(name()) has more than 2^63 - 1 bytes"))
    }
    return bytes
}
