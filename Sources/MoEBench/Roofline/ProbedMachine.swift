/// Whose limits are measured, and which sizes of buffers tell its memories apart.
package struct ProbedMachine: Sendable, Hashable {
    package let isDevice: Bool
    /// Below this a pass takes a few microseconds, and what it measures is the start of threads, not the cache.
    private let smallestBuffer: Int
    /// Beyond this no cache holds a buffer, and a pass would only take longer.
    private let largestBuffer: Int

    private init(isDevice: Bool, smallestBuffer: Int, largestBuffer: Int) {
        self.isDevice = isDevice
        self.smallestBuffer = smallestBuffer
        self.largestBuffer = largestBuffer
    }

    package static let processor = ProbedMachine(isDevice: false, smallestBuffer: 4 << 20, largestBuffer: 256 << 20)

    /// A GPU: one class, far beyond its cache, for work that walks over more than the cache holds.
    package static func device(l2Bytes: Int) -> ProbedMachine {
        ProbedMachine(isDevice: true, smallestBuffer: l2Bytes, largestBuffer: 16 * l2Bytes)
    }

    /// The buffer whose reading is the ceiling for a working set: the next lower power of two, so that it lies in the same
    /// cache or a nearer one and the ceiling is never set too low. nil for working sets that are too small to measure: what
    /// they are bound by is arithmetic.
    package func bufferBytes(forWorkingSet bytes: Int) -> Int? {
        guard bytes >= smallestBuffer else { return nil }
        if isDevice { return largestBuffer }
        let power = 1 << (Int.bitWidth - 1 - bytes.leadingZeroBitCount)
        return min(power, largestBuffer)
    }
}
