import MoEKernel

/// SplitMix64: reproducible inputs for tests.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}

extension Tensor where Element == Float {
    /// Values with about unit variance.
    static func random(_ shape: [Int], seed: UInt64) throws -> Tensor<Float> {
        var generator = SeededGenerator(seed: seed)
        let count = shape.reduce(1, *)
        return try Tensor(
            shape: shape, (0..<count).map { _ in Float.random(in: -1.7320508...1.7320508, using: &generator) })
    }
}
