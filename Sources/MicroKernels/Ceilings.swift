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
    /// 1, 2 or 4: as many parts of the memory side by side, as a tile reads two panels.
    public var streams: Int
    /// Bytes ahead that are asked for, 0 for none: the kernels ask ahead, and a ceiling must not lie below what they reach.
    public var ahead: Int
    /// Whether they are asked for into the first level, not the second.
    public var near: Bool

    public init(streams: Int, ahead: Int, near: Bool = false) {
        self.streams = streams
        self.ahead = ahead
        self.near = near
    }
}

/// Reads `bytes` (a multiple of 512) once, eight vectors at a time, and returns a value that depends on all of them.
@_alwaysEmitIntoClient @inline(__always)
public func readThrough<ISA: InstructionSet>(
    _: ISA.Type, _ memory: UnsafeRawPointer, bytes: Int, _ pattern: ReadPattern
) -> UInt32 {
    switch pattern.streams {
    case 4: readThrough(ISA.self, memory, bytes: bytes, streams: 4, pattern)
    case 2: readThrough(ISA.self, memory, bytes: bytes, streams: 2, pattern)
    default: readThrough(ISA.self, memory, bytes: bytes, streams: 1, pattern)
    }
}

/// - Parameter streams: Known where this is inlined.
@_alwaysEmitIntoClient @inline(__always)
func readThrough<ISA: InstructionSet>(
    _: ISA.Type, _ memory: UnsafeRawPointer, bytes: Int, streams: Int, _ pattern: ReadPattern
) -> UInt32 {
    typealias V = SIMD8<UInt32>
    var sums = InlineArray<8, V>(repeating: V(repeating: 0))
    // A turn is 256 bytes: four lines of one stream, two of each of two, or one of each of four.
    let lines: Int = 4 / streams
    let apart: Int = bytes / streams
    let ahead = pattern.ahead
    var place = memory
    let end: UnsafeRawPointer = memory + apart
    while place < end {
        if ahead > 0 {
            for line in 0..<4 {
                let asked: UnsafeRawPointer = place + (ahead &+ (line / lines) &* apart &+ (line % lines) &* 64)
                if pattern.near { cp_prefetch(asked) } else { cp_prefetch_far(asked) }
            }
        }
        for lane in 0..<8 {
            let at: Int = (lane / (2 &* lines)) &* apart &+ (lane % (2 &* lines)) &* 32
            sums[lane] ^= (place + at).loadUnaligned(as: V.self)
        }
        place += lines &* 64
    }
    var total: UInt32 = 0
    for lane in 0..<8 {
        for word in 0..<8 { total ^= sums[lane][word] }
    }
    return total
}
