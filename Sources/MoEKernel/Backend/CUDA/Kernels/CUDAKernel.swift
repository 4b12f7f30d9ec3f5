import CMoECUDA

/// A kernel of a library, for blocks of one size.
struct CUDAKernel: @unchecked Sendable {
    let library: KernelLibrary
    let name: String
    let handle: OpaquePointer?
    /// Threads of a block.
    let threads: Int
    /// Bytes of shared memory of a block that the launch gives.
    let dynamicSharedBytes: Int
    /// How many blocks a multiprocessor holds at once: a persistent kernel takes this many times the multiprocessors.
    let blocksPerMultiprocessor: Int

    /// Blocks in each dimension, each at least 1.
    struct Grid: Sendable, Hashable {
        var x: Int
        var y = 1
        var z = 1
    }

    /// Blocks that fill the device.
    var residentBlocks: Int { blocksPerMultiprocessor * library.device.properties.multiprocessors }

    /// Puts a launch into a stream.
    ///
    /// - Parameter parameters: The kernel's one parameter, a C struct by value; it is copied.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for an empty grid or another device's stream;
    ///   ``MoEError/cuda(_:)``, of kind ``CUDAFailure/Kind/tooLarge`` for more blocks than a launch may have.
    func launch<Parameters: BitwiseCopyable>(
        _ parameters: Parameters, grid: Grid, on stream: CUDAStream
    ) throws(MoEError) {
        try stream.check(library.device, "kernel \(name)")
        try check(grid)
        var launch = mc_launch(
            grid: mc_dim3(x: UInt32(grid.x), y: UInt32(grid.y), z: UInt32(grid.z)),
            block: mc_dim3(x: UInt32(threads), y: 1, z: 1), dynamic_shared_bytes: dynamicSharedBytes,
            stream: stream.handle, attributes: nil, attribute_count: 0)
        try withUnsafePointer(to: parameters) { value throws(MoEError) in
            var argument: UnsafeMutableRawPointer? = UnsafeMutableRawPointer(mutating: value)
            try library.device.context.perform("cudaLaunchKernelExC", "kernel \(name)") {
                $0.pointee.cudaLaunchKernelExC(&launch, UnsafeRawPointer(handle), &argument)
            }
        }
    }

    private func check(_ grid: Grid) throws(MoEError) {
        func check(_ axis: String, _ blocks: Int, atMost most: Int) throws(MoEError) {
            guard blocks >= 1 else {
                throw .input(
                    name: "grid.\(axis) of kernel \(name)", value: "\(blocks)", expectation: "1 or more blocks")
            }
            guard blocks <= most else {
                throw .cuda(
                    CUDAFailure(
                        .tooLarge, call: "CUDAKernel.launch",
                        problem: "grid.\(axis) of kernel \(name) is \(blocks); a launch takes at most \(most)"))
            }
        }
        try check("x", grid.x, atMost: Int(Int32.max))
        try check("y", grid.y, atMost: 65_535)
        try check("z", grid.z, atMost: 65_535)
    }
}
