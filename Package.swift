// swift-tools-version: 6.2
import PackageDescription

// Kernels and the harness are built optimised in every configuration: `swift run` and `swift test` build debug, where
// unoptimised SIMD code is about a hundred times slower. `-num-threads` is what lets `-wmo` link in debug.
let optimised: [SwiftSetting] = [.unsafeFlags(["-O", "-wmo", "-num-threads", "2"])]

// Lets a type of ours lend a `MutableSpan` (see Tensor.mutableSpan).
let lifetimes: [SwiftSetting] = [.enableExperimentalFeature("Lifetimes")]

// One module an instruction set: the same generic source, instantiated under that set's code generation flag. The flags
// are hard errors on other architectures, where only the baseline module exists.
#if arch(x86_64)
    let instructionSets: [Target] = [
        .target(
            name: "MicroKernelsAVX2", dependencies: ["MicroKernels", "CPlatform"],
            swiftSettings: optimised + [.unsafeFlags(["-Xcc", "-march=x86-64-v3"])]),
        .target(
            name: "MicroKernelsAVX512", dependencies: ["MicroKernels", "CPlatform"],
            swiftSettings: optimised + [.unsafeFlags(["-Xcc", "-march=x86-64-v4"])]),
        .target(
            name: "MicroKernelsAVX2Bytes", dependencies: ["MicroKernels", "CPlatform"],
            swiftSettings: optimised + [.unsafeFlags(["-Xcc", "-march=x86-64-v3"])]),
        .target(
            name: "MicroKernelsAVX2VNNI", dependencies: ["MicroKernels", "CPlatform"],
            swiftSettings: optimised + [.unsafeFlags(["-Xcc", "-march=x86-64-v3", "-Xcc", "-mavxvnni"])]),
        .target(
            name: "MicroKernelsAVX512VNNI", dependencies: ["MicroKernels", "CPlatform"],
            swiftSettings: optimised + [.unsafeFlags(["-Xcc", "-march=x86-64-v4", "-Xcc", "-mavx512vnni"])]),
        .target(
            name: "MicroKernelsAVX2Pairs", dependencies: ["MicroKernels", "CPlatform"],
            swiftSettings: optimised + [.unsafeFlags(["-Xcc", "-march=x86-64-v3"])]),
        .target(
            name: "MicroKernelsAVX512BF16", dependencies: ["MicroKernels", "CPlatform"],
            swiftSettings: optimised + [.unsafeFlags(["-Xcc", "-march=x86-64-v4", "-Xcc", "-mavx512bf16"])]),
    ]
    let instructionSetModules: [Target.Dependency] = [
        "MicroKernelsAVX2", "MicroKernelsAVX512", "MicroKernelsAVX2Bytes", "MicroKernelsAVX2VNNI",
        "MicroKernelsAVX512VNNI", "MicroKernelsAVX2Pairs", "MicroKernelsAVX512BF16",
    ]
#else
    let instructionSets: [Target] = []
    let instructionSetModules: [Target.Dependency] = []
#endif

let package = Package(
    name: "MoEKernel",
    products: [
        .library(name: "MoEKernel", targets: ["MoEKernel"]),
        .executable(name: "moe-bench", targets: ["moe-bench"]),
    ],
    traits: [
        .trait(
            name: "CUDA",
            description: "Links libcudart rather than opening it at run time; CPATH and LIBRARY_PATH lead to a toolkit."
        ),
        .default(enabledTraits: []),
    ],
    targets: [
        .target(name: "CPlatform", linkerSettings: [.linkedLibrary("m", .when(platforms: [.linux]))]),
        .target(
            name: "CMoECUDA", exclude: ["kernels"],
            cSettings: [.define("MOE_LINK_CUDART", .when(platforms: [.linux], traits: ["CUDA"]))],
            linkerSettings: [
                .linkedLibrary("cudart", .when(platforms: [.linux], traits: ["CUDA"])),
                .linkedLibrary("dl", .when(platforms: [.linux])),
            ]),
        .target(name: "MicroKernels", dependencies: ["CPlatform"], swiftSettings: optimised),
        .target(
            name: "MoEKernel", dependencies: ["MicroKernels", "CPlatform", "CMoECUDA"] + instructionSetModules,
            swiftSettings: optimised + lifetimes),
        .target(
            name: "MoEBench", dependencies: ["MoEKernel", "CPlatform", "AllocationCounter"],
            swiftSettings: optimised + lifetimes),
        .executableTarget(name: "moe-bench", dependencies: ["MoEBench", "MoEKernel"], swiftSettings: optimised),
        // Stands in for the C library's allocator where it is linked: in moe-bench and in the tests, never in a program that uses the library.
        .target(name: "AllocationCounter"),
        // The CUDA kernels' sources, run on the CPU: optimised like all that computes, or the tests take for ever.
        .target(
            name: "CUDAKernelHost", path: "Tests/CUDAKernels", exclude: ["exercise.cuh"],
            cxxSettings: [
                .headerSearchPath("."), .headerSearchPath("../../Sources/CMoECUDA/kernels"),
                // No a · b + c is fused but where the kernels say so.
                .unsafeFlags(["-O2", "-ffp-contract=off"]),
            ]),
        .target(name: "CUDAFake", dependencies: ["CMoECUDA"], path: "Tests/CUDAFake"),
        // Layers on the fake runtime, whose launches run the kernels' sources.
        .target(
            name: "CUDATwins", dependencies: ["CUDAFake", "CUDAKernelHost", "CMoECUDA", "MoEKernel"],
            path: "Tests/CUDATwins", swiftSettings: optimised),
        .target(name: "VectorCases", dependencies: ["MoEKernel"], path: "Tests/VectorCases"),
        .testTarget(
            name: "MoEKernelTests",
            dependencies: [
                "MoEKernel", "MicroKernels", "CPlatform", "AllocationCounter", "CMoECUDA", "CUDAFake", "CUDATwins",
                "VectorCases",
            ],
            exclude: ["Fixtures"], swiftSettings: optimised + lifetimes),
        .testTarget(
            name: "MoEBenchTests",
            dependencies: ["MoEBench", "MoEKernel", "CPlatform", "CUDAFake", "CUDATwins", "VectorCases"],
            swiftSettings: optimised + lifetimes),
        .testTarget(
            name: "CUDAKernelTests", dependencies: ["CUDAKernelHost"], swiftSettings: optimised),
    ] + instructionSets,
    cLanguageStandard: .gnu2x,
    cxxLanguageStandard: .cxx20
)
