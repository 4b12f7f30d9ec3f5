import CPlatform

/// Whose limits are measured, and which sizes of buffers tell its memories apart.
package struct ProbedMachine: Sendable, Hashable {
    package let isDevice: Bool
    /// What its last cache holds: work that walks over more finds nothing of it there, whoever was there before.
    package let cacheBytes: Int
    /// Below this a pass takes a few microseconds, and what it measures is the start of threads, not the cache.
    private let smallestBuffer: Int
    /// Beyond this no cache holds a buffer, and a pass would only take longer.
    private let largestBuffer: Int
    /// Whether all work comes from memory, however little it is.
    private let isCold: Bool

    private init(isDevice: Bool, cacheBytes: Int, smallestBuffer: Int, largestBuffer: Int, isCold: Bool) {
        self.isDevice = isDevice
        self.cacheBytes = cacheBytes
        self.smallestBuffer = smallestBuffer
        self.largestBuffer = largestBuffer
        self.isCold = isCold
    }

    package static let processor = processor(.warm)

    /// With cold caches there is one class of working sets: memory's.
    package static func processor(_ caches: CacheState) -> ProbedMachine {
        let known = max(cp_cache_bytes(2), cp_cache_bytes(3))
        let cache = known > 0 ? known : 32 << 20
        return ProbedMachine(
            isDevice: false, cacheBytes: cache, smallestBuffer: 4 << 20,
            largestBuffer: caches == .cold ? max(256 << 20, 4 * cache) : 256 << 20, isCold: caches == .cold)
    }

    /// A GPU: one class, far beyond its cache, for work that walks over more than the cache holds.
    package static func device(l2Bytes: Int) -> ProbedMachine {
        ProbedMachine(
            isDevice: true, cacheBytes: l2Bytes, smallestBuffer: l2Bytes, largestBuffer: 16 * l2Bytes, isCold: false)
    }

    /// What a pass reads of a buffer; nil for all of it. A buffer that no cache holds is read in parts, one after another: each comes
    /// from memory all the same, and a pass takes no longer than the calls beside it, so that it is not disturbed more often.
    package func passBytes(ofBuffer bytes: Int) -> Int? {
        !isDevice && bytes >= max(128 << 20, 2 * cacheBytes) ? 32 << 20 : nil
    }

    /// The buffer whose reading is the ceiling for a working set: nearly as large and not larger (a power of two, or 1¼, 1½ or 1¾ times
    /// one), so that it lies in the same cache or a nearer one and the ceiling is never set too low. Powers of two alone were too far
    /// apart: a cache of 32 MiB may hold half of 64 MiB, but a third of 96. nil for working sets that are too small to measure, unless
    /// caches are cold: what they are bound by is arithmetic.
    package func bufferBytes(forWorkingSet bytes: Int) -> Int? {
        guard bytes >= smallestBuffer || isCold && bytes > 0 else { return nil }
        if isDevice || isCold { return largestBuffer }
        let power = 1 << (Int.bitWidth - 1 - bytes.leadingZeroBitCount)
        let quarter = power / 4
        return min(bytes / quarter * quarter, largestBuffer)
    }
}
