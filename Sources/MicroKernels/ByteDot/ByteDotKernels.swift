/// The kernels over int8 activations.
public protocol ByteDotKernels: SweepKernels {
    /// The instructions they use, as processors' manuals name them.
    var name: String { get }
    /// Independent chains of products of bytes, twelve of them: what the arithmetic of one core can do with codes of that kind.
    /// Does 12 × lanes × 8 operations a step.
    func dotChains(_ code: PanelCode, steps: Int, seed: UInt32) -> UInt32
}

/// See ``ByteDotKernels/dotChains(_:steps:seed:)``. Each chain's result is the next product's factor, or the compiler would
/// find all products alike.
@_alwaysEmitIntoClient @inline(__always)
public func byteDotChains<ISA: ByteDotSet>(_: ISA.Type, _ code: PanelCode, steps: Int, seed: UInt32) -> UInt32 {
    code == .int4
        ? byteDotChains(ISA.self, Int4Dot.self, steps: steps, seed: seed)
        : byteDotChains(ISA.self, Int8Dot.self, steps: steps, seed: seed)
}

@_alwaysEmitIntoClient @inline(__always)
func byteDotChains<ISA: ByteDotSet, Code: ByteDotCode>(
    _: ISA.Type, _: Code.Type, steps: Int, seed: UInt32
) -> UInt32 {
    var sums = InlineArray<12, ISA.Words>(repeating: ISA.Words(repeating: seed))
    for chain in 0..<12 { sums[chain][0] = UInt32(truncatingIfNeeded: chain) }
    let weights = ISA.Words(repeating: seed | 0x0102_0304)
    let start = ISA.Words(repeating: seed)
    var step = 0
    while step < steps {
        for chain in 0..<12 { sums[chain] = Code.add(ISA.self, start, weights, sums[chain]) }
        step &+= 1
    }
    var total: UInt32 = 0
    for chain in 0..<12 { total ^= sums[chain][0] }
    return total
}
