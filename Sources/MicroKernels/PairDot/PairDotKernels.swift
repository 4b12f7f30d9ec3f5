/// The kernels over bf16 activations.
public protocol PairDotKernels: SweepKernels {
    /// The instructions they use, as processors' manuals name them.
    var name: String { get }
    /// Independent chains of products of pairs, twelve of them: what the arithmetic of one core can do. Does 12 × lanes × 4 operations a
    /// step.
    func dotChains(steps: Int, seed: UInt32) -> Float
}

/// See ``PairDotKernels/dotChains(steps:seed:)``. The factors come from memory once, so the compiler knows nothing of them.
@_alwaysEmitIntoClient @inline(__always)
public func pairDotChains<ISA: PairDotSet>(_: ISA.Type, steps: Int, seed: UInt32) -> Float {
    typealias V = ISA.Vector
    var sums = InlineArray<12, V>(repeating: V(repeating: 0))
    for chain in 0..<12 { sums[chain] = V(repeating: Float(chain)) }
    // Two bf16 numbers of about 10⁻³.
    var words = InlineArray<16, UInt32>(repeating: 0x3a80_3a80 ^ (seed & 0x000f_000f))
    withUnsafeMutableBytes(of: &words) { words in
        let place = words.baseAddress!.assumingMemoryBound(to: UInt32.self)
        let weights = (ISA.weights(place, pass: 0), ISA.weights(place, pass: 1))
        let activations = (ISA.activations(place, pass: 0), ISA.activations(place, pass: 1))
        var step = 0
        while step < steps {
            for chain in 0..<12 { sums[chain] = ISA.pairDot(sums[chain], weights.0, activations.0) }
            if ISA.passes > 1 {
                for chain in 0..<12 { sums[chain] = ISA.pairDot(sums[chain], weights.1, activations.1) }
            }
            step &+= 1
        }
    }
    var total: Float = 0
    for chain in 0..<12 { total += sums[chain][0] }
    return total
}
