import CMoECUDA

/// Kernels as nvcc wrote them: machine code for some devices, and PTX that the driver compiles for newer ones.
struct KernelImage: @unchecked Sendable {
    let bytes: UnsafeRawBufferPointer

    /// - Parameter bytes: A fat binary, which has to live as long as the libraries loaded from it.
    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// The image in this library.
    ///
    /// - Throws: ``MoEError/cuda(_:)`` of kind ``CUDAFailure/Kind/incompleteImage`` where it was built without one.
    static func embedded() throws(MoEError) -> KernelImage {
        var count = 0
        let start = mc_image(&count)
        guard let start, count > 0 else {
            throw .cuda(CUDAFailure(.incompleteImage, call: "mc_image", problem: "this build carries no CUDA kernels"))
        }
        return KernelImage(UnsafeRawBufferPointer(start: start, count: count))
    }
}
