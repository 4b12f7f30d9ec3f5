import CPlatform

/// Multiply-adds on registers alone, twelve independent chains: what the arithmetic of one core can do. Returns a value that
/// depends on all of them, and does 12 × lanes × 2 operations a step.
@_alwaysEmitIntoClient @inline(__always)
public func multiplyAddChains<ISA: InstructionSet>(_: ISA.Type, steps: Int, seed: Float) -> Float {
    typealias V = ISA.Vector
    var sums = InlineArray<12, V>(repeating: V(repeating: seed))
    let a = V(repeating: 0.999 + seed)
    let b = V(repeating: 0.001)
    var step = 0
    while step < steps {
        for chain in 0..<12 { sums[chain] = ISA.multiplyAdd(b, sums[chain], a) }
        step &+= 1
    }
    var total: Float = 0
    for chain in 0..<12 { total += sums[chain][0] }
    return total
}

/// Reads `bytes` (a multiple of 512) once, sequentially, eight vectors at a time, and returns a value that depends on all of
/// them. Asks for what comes `ahead` bytes later: the kernels ask ahead, and a ceiling must not lie below what they reach.
@_alwaysEmitIntoClient @inline(__always)
public func readThrough<ISA: InstructionSet>(_: ISA.Type, _ memory: UnsafeRawPointer, bytes: Int, ahead: Int) -> UInt32
{
    typealias V = SIMD8<UInt32>
    var sums = InlineArray<8, V>(repeating: V(repeating: 0))
    var offset = 0
    while offset &+ 256 <= bytes {
        for line in 0..<4 { cp_prefetch_far(memory + (offset &+ ahead &+ line &* 64)) }
        for lane in 0..<8 {
            let at: Int = offset &+ lane &* 32
            sums[lane] ^= (memory + at).loadUnaligned(as: V.self)
        }
        offset &+= 256
    }
    var total: UInt32 = 0
    for lane in 0..<8 {
        for word in 0..<8 { total ^= sums[lane][word] }
    }
    return total
}
