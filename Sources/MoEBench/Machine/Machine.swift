import CPlatform
import MoEKernel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// The machine as its operating system describes it; nothing is measured.
package struct Machine: Sendable, Hashable, Codable {
    package let processor: String
    package let architecture: String
    package let system: String
    /// What the library has kernels for, of what the processor can run.
    package let features: [String]
    /// Processors this process may use.
    package let processors: Int
    package let l1Bytes: Int
    package let l2Bytes: Int
    package let l3Bytes: Int
    package let memoryBytes: Int

    package init() {
        var name = [CChar](repeating: 0, count: 128)
        cp_processor_name(&name, name.count)
        processor = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let found = cp_detect_features()
        features = [
            (found.avx2, "avx2"), (found.avx512, "avx512"), (found.avx512_bf16, "avx512-bf16"),
            (found.avx512_vnni, "avx512-vnni"), (found.avx_vnni, "avx-vnni"), (found.neon, "neon"),
        ].filter(\.0).map(\.1)
        processors = Int(cp_available_processors())
        l1Bytes = cp_cache_bytes(1)
        l2Bytes = cp_cache_bytes(2)
        l3Bytes = cp_cache_bytes(3)
        memoryBytes = cp_physical_memory()
        #if arch(x86_64)
            architecture = "x86_64"
        #elseif arch(arm64)
            architecture = "arm64"
        #else
            architecture = "unknown"
        #endif
        #if os(Linux)
            system = "Linux"
        #elseif os(macOS)
            system = "macOS"
        #else
            system = "unknown"
        #endif
    }

    /// Bytes that programs could have without others being written to disk; nil where the system does not tell.
    package static var availableBytes: Int? {
        guard let data = try? Data(contentsOf: URL(filePath: "/proc/meminfo")) else { return nil }
        let line = String(decoding: data, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("MemAvailable:") }
        return line?.split(separator: " ").dropFirst().first.flatMap { Int($0) }.map { $0 * 1024 }
    }

    /// "L1 32 KiB, L2 1 MiB, L3 32 MiB": the levels the system tells of.
    package var caches: String {
        let levels = [("L1", l1Bytes), ("L2", l2Bytes), ("L3", l3Bytes)].filter { $0.1 > 0 }
        return levels.isEmpty ? "unknown" : levels.map { "\($0) \(Format.bytes($1))" }.joined(separator: ", ")
    }
}
