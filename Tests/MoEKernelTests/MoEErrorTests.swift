import Testing

@testable import MoEKernel

@Suite struct MoEErrorTests {
    /// Every throwing function carries one, and a call that succeeds pays for its size.
    @Test func errorIsOneWord() {
        #expect(MemoryLayout<MoEError>.size == MemoryLayout<Int>.size)
    }
}
