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

            func shape(_ shape: Int32, isShared: Bool) -> CUDAKernel? { (isShared ? one : many)[Int(shape)] }
        }
        /// Gate and up, or up alone.
        let inner: Shapes
        let down: [ElementType: Shapes]

        init(_ type: ElementType, experts: Int, isGated: Bool, _ library: KernelLibrary) throws(MoEError) {
            let names = ["wide", "square", "narrow", "few"]
            let room = library.device.properties.sharedBytesPerBlock
            func kernels(_ name: String, experts: Int) throws(MoEError) -> [CUDAKernel?] {
                try (0..<Int32(names.count)).map { (shape) throws(MoEError) in
                    let launch = mc_grouped_gemm_launch_of(shape, 1, Int32(experts), 8, 1, Int32.max)
                    guard launch.shared_bytes <= room else { return nil }
                    return try library.kernel(
                        "grouped_\(name)_\(names[Int(shape)])", threads: Int(launch.threads),
                        dynamicSharedBytes: Int(launch.shared_bytes))
                }
            }
            func shapes(_ name: String) throws(MoEError) -> Shapes {
                Shapes(many: try kernels(name, experts: experts), one: try kernels(name, experts: 1))
            }
            inner = try shapes("\(isGated ? "gate_up" : "up")_\(type.rawValue)")
            down = [
                .float32: try shapes("down_\(type.rawValue)_fp32"),
                type: try shapes("down_\(type.rawValue)_\(type.rawValue)"),
            ]
        }
    }

    /// Without tensor cores.
    struct ExactKernels: Sendable {
        struct Heights: Sendable {
            let few: CUDAKernel
            let many: CUDAKernel
        }
        let gateUp: Heights
        let down: Heights

        init(_ library: KernelLibrary) throws(MoEError) {
            func heights(_ name: String) throws(MoEError) -> Heights {
                Heights(
                    few: try library.kernel(
                        "\(name)_16", threads: MC_PROJECTION_THREADS, dynamicSharedBytes: MC_FP32_16_SHARED),
                    many: try library.kernel(
                        "\(name)_64", threads: MC_PROJECTION_THREADS, dynamicSharedBytes: MC_FP32_64_SHARED))
            }
            gateUp = try heights("fp32_gate_up")
            down = try heights("fp32_down")
        }
    }
}
