import CMoECUDA

/// The matrix products of experts, in every form that a batch may ask for.
enum ProjectionKernels: Sendable {
    /// bf16 or fp16 on tensor cores.
    case tensorCores(decode: DecodeKernels, grouped: GroupedKernels)
    /// fp32 by fused multiply-adds.
    case exact(ExactKernels)

    init(_ configuration: MoEConfiguration, type: ElementType, _ library: KernelLibrary) throws(MoEError) {
        self =
            type == .float32
            ? .exact(try ExactKernels(library))
            : .tensorCores(
                decode: try DecodeKernels(type, library),
                grouped: try GroupedKernels(
                    type, experts: configuration.experts, isGated: configuration.expert.isGated, library))
    }

    /// Streams each expert's weights once for the few rows that it has.
    struct DecodeKernels: Sendable {
        struct Widths: Sendable {
            let eight: CUDAKernel
            /// nil where a block has too little shared memory for it.
            let sixteen: CUDAKernel?
            let finish: CUDAKernel

            func rows(_ count: Int) -> CUDAKernel { count > 8 ? sixteen ?? eight : eight }
        }
        let gateUp: Widths
        let down: Widths

        /// The most tokens that they are made for.
        static let mostTokens = 16

        init(_ type: ElementType, _ library: KernelLibrary) throws(MoEError) {
            func widths(_ name: String, finish: String) throws(MoEError) -> Widths {
                let hasRoom = library.device.properties.sharedBytesPerBlock >= MC_DECODE_16_SHARED
                return Widths(
                    eight: try library.kernel(
                        "\(name)_8", threads: MC_PROJECTION_THREADS, dynamicSharedBytes: MC_DECODE_8_SHARED),
                    sixteen: hasRoom
                        ? try library.kernel(
                            "\(name)_16", threads: MC_PROJECTION_THREADS, dynamicSharedBytes: MC_DECODE_16_SHARED)
                        : nil,
                    finish: try library.kernel(finish, threads: MC_PROJECTION_THREADS))
            }
            gateUp = try widths("decode_gate_up_\(type.rawValue)", finish: "decode_finish_gate_up_\(type.rawValue)")
            down = try widths("decode_down_\(type.rawValue)", finish: "decode_finish_down")
        }
    }

    /// Tiles on tensor cores.
    struct GroupedKernels: Sendable {
        /// By shape, then for many experts and for one; nil where a block has too little shared memory.
        struct Shapes: Sendable {
            fileprivate let many: [CUDAKernel?]
            fileprivate let one: [CUDAKernel?]

            /// - Parameter experts: Of a projection of several.
            init(_ name: String, experts: Int, _ library: KernelLibrary) throws(MoEError) {
                let names = ["wide", "square", "narrow", "few"]
                let room = library.device.properties.sharedBytesPerBlock
                func kernels(experts: Int) throws(MoEError) -> [CUDAKernel?] {
                    try (0..<Int32(names.count)).map { (shape) throws(MoEError) in
                        let launch = mc_grouped_gemm_launch_of(shape, 1, Int32(experts), 8, 1, Int32.max)
                        guard launch.shared_bytes <= room else { return nil }
                        return try library.kernel(
                            "grouped_\(name)_\(names[Int(shape)])", threads: Int(launch.threads),
                            dynamicSharedBytes: Int(launch.shared_bytes))
                    }
                }
                many = try kernels(experts: experts)
                one = try kernels(experts: 1)
            }

            /// Puts a projection into the stream, in the tiles that should take least time.
            ///
            /// - Parameters:
            ///   - rows: Of all groups together, at most.
            ///   - isShared: Whether it has one matrix where others have many.
            func launch(
                _ p: mc_projection_parameters, rows: Int, isShared: Bool, on stream: CUDAStream
            ) throws(MoEError) {
                let properties = stream.device.properties
                let launch = mc_grouped_gemm_choose(
                    Int64(rows), p.experts, p.height, Int32(properties.multiprocessors),
                    Int32(properties.sharedBytesPerMultiprocessor))
                guard launch.blocks > 0, let kernel = (isShared ? one : many)[Int(launch.shape)] else {
                    throw .cuda(
                        CUDAFailure(
                            .tooLarge, call: "grouped GEMM",
                            problem: "no tile fits a multiprocessor with \(properties.sharedBytesPerMultiprocessor) "
                                + "bytes of shared memory",
                            remedy: "use a GPU with 100 KiB of shared memory or more"))
                }
                try kernel.launch(p, grid: .init(x: Int(launch.blocks)), on: stream)
            }
        }
        /// Gate and up, or up alone.
        let inner: Shapes
        let down: [ElementType: Shapes]

        init(_ type: ElementType, experts: Int, isGated: Bool, _ library: KernelLibrary) throws(MoEError) {
            inner = try Shapes("\(isGated ? "gate_up" : "up")_\(type.rawValue)", experts: experts, library)
            down = [
                .float32: try Shapes("down_\(type.rawValue)_fp32", experts: experts, library),
                type: try Shapes("down_\(type.rawValue)_\(type.rawValue)", experts: experts, library),
            ]
        }
    }

    /// Without tensor cores.
    struct ExactKernels: Sendable {
        struct Heights: Sendable {
            let few: CUDAKernel
            let many: CUDAKernel

            init(_ name: String, _ library: KernelLibrary) throws(MoEError) {
                few = try library.kernel(
                    "\(name)_16", threads: MC_PROJECTION_THREADS, dynamicSharedBytes: MC_FP32_16_SHARED)
                many = try library.kernel(
                    "\(name)_64", threads: MC_PROJECTION_THREADS, dynamicSharedBytes: MC_FP32_64_SHARED)
            }

            /// Puts a projection into the stream.
            ///
            /// - Parameter rows: Of all groups together, at most.
            func launch(_ p: mc_projection_parameters, rows: Int, on stream: CUDAStream) throws(MoEError) {
                // An expert has about so many rows.
                let kernel = rows <= 16 * Int(p.experts) ? few : many
                try kernel.launch(
                    p,
                    grid: .init(x: stream.device.properties.multiprocessors * MC_FP32_BLOCKS_PER_MULTIPROCESSOR),
                    on: stream)
            }
        }
        let gateUp: Heights
        let down: Heights

        init(_ library: KernelLibrary) throws(MoEError) {
            gateUp = try Heights("fp32_gate_up", library)
            down = try Heights("fp32_down", library)
        }
    }
}
