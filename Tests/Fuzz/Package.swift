// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that building or testing the library builds no fuzzer; .ci/check_fuzz says how to build it.
// In debug, where `@testable` reaches the readers that work in memory; the library is optimised in every configuration.
let package = Package(
    name: "Fuzz",
    dependencies: [.package(name: "MoEKernel", path: "../..")],
    targets: [
        .executableTarget(
            name: "FuzzCheckpoint", dependencies: [.product(name: "MoEKernel", package: "MoEKernel")],
            swiftSettings: [.unsafeFlags(["-O", "-parse-as-library"])])
    ]
)
