import MicroKernels
import Testing

@testable import MoEKernel

/// What the ceilings' probes do is what they count.
@Suite struct CeilingProbeTests {
    /// In every pattern each word is read, once: all of them joined by exclusive or are what they are word by word.
    @Test(arguments: CPUInstructionSet.supported) func everyByteIsReadOnce(_ set: CPUInstructionSet) {
        var generator = SeededGenerator(seed: 5)
        for bytes in [512, 1536, 8192, 1 << 20] {
            let words = (0..<bytes / 4).map { _ in UInt32(truncatingIfNeeded: generator.next()) }
            let expected = words.reduce(0, ^)
            for streams in [1, 2, 4] {
                for (ahead, near) in [(0, false), (512, false), (4096, true), (16_384, false)] {
                    let read = words.withUnsafeBytes {
                        set.kernels.readThrough(
                            $0.baseAddress!, bytes: bytes, ReadPattern(streams: streams, ahead: ahead, near: near))
                    }
                    #expect(read == expected, "\(bytes) bytes, \(streams) streams, \(ahead) ahead")
                }
            }
        }
    }
}
