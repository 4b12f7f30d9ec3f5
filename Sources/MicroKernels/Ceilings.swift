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

/// How reading goes through memory; which way is fastest depends on the machine.
public struct ReadPattern: Sendable, Hashable {
    /// 1, or 2: the halves of the memory side by side, as a tile reads two panels.
    public var streams: Int
    /// Bytes ahead that are asked for: the kernels ask ahead, and a ceiling must not lie below what they reach.
    public var ahead: Int

    public init(streams: Int, ahead: Int) {
        self.streams = streams
        self.ahead = ahead
    }
}

/// Reads `bytes` (a multiple of 512) once, eight vectors at a time, and returns a value that depends on all of them.
@_alwaysEmitIntoClient @inline(__always)
public func readThrough<ISA: InstructionSet>(
    _: ISA.Type, _ memory: UnsafeRawPointer, bytes: Int, _ pattern: ReadPattern
) -> UInt32 {
    typealias V = SIMD8<UInt32>
    var sums = InlineArray<8, V>(repeating: V(repeating: 0))
    // The second half of each turn's 256 bytes follows the first, or begins half of the memory further.
    let apart: Int = pattern.streams == 2 ? bytes / 2 : 128
    let turn: Int = pattern.streams == 2 ? 128 : 256
    var place = memory
    let end: UnsafeRawPointer = memory + (pattern.streams == 2 ? bytes / 2 : bytes)
    while place < end {
        for line in 0..<4 {
            cp_prefetch_far(place + (pattern.ahead &+ (line / 2) &* apart &+ (line % 2) &* 64))
        }
        for lane in 0..<8 {
            let at: Int = (lane / 4) &* apart &+ (lane % 4) &* 32
            sums[lane] ^= (place + at).loadUnaligned(as: V.self)
        }
        place += turn
    }
    var total: UInt32 = 0
    for lane in 0..<8 {
        for word in 0..<8 { total ^= sums[lane][word] }
    }
    return total
}
