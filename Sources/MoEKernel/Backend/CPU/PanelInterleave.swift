import MicroKernels

/// The inner loops of packing: sixteen rows of a matrix, one after the other, into the layout of one panel.
///
/// Sixteen rows of a power-of-two length share one cache set, so all of them take values from a whole cache line of a row, eight rows
/// at a time, while it is there. Transposing goes by interleaving vectors, two instructions for two of them.
enum PanelInterleave {
    /// [16][depth] halves → [depth][16] halves in the order of a panel of that type. Returns whether all numbers are finite.
    static func halves(
        _ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer, _ depth: Int, _ type: ElementType
    ) -> Bool {
        let exponent = NumberRows.exponent(type)
        // The two columns of a word: i and 8 + i in bf16, 2i and 2i + 1 in fp16.
        let (step, apart): (Int, Int) = type == .bfloat16 ? (depth &* 2, depth &* 16) : (depth &* 4, depth &* 2)
        let mask = SIMD8<UInt16>(repeating: exponent)
        var odd = SIMD8<UInt16>(repeating: 0)
        var start = 0
        while start &+ 8 <= depth {
            let end = min(start &+ 32, depth &- 7)
            for quad in 0..<2 {
                let rows = source + quad &* 4 &* step
                var k = start
                while k < end {
                    let at = rows + k &* 2
                    let (w0, f0) = pair(at, at + apart, mask)
                    let (w1, f1) = pair(at + step, at + (step &+ apart), mask)
                    let (w2, f2) = pair(at + 2 &* step, at + (2 &* step &+ apart), mask)
                    let (w3, f3) = pair(at + 3 &* step, at + (3 &* step &+ apart), mask)
                    odd |= f0 | f1 | f2 | f3
                    let place = target + (k &* 32 &+ quad &* 16)
                    transpose(w0.lowHalf, w1.lowHalf, w2.lowHalf, w3.lowHalf, place, 32)
                    transpose(w0.highHalf, w1.highHalf, w2.highHalf, w3.highHalf, place + 128, 32)
                    k &+= 8
                }
            }
            start &+= 32
        }
        var found = odd != SIMD8(repeating: 0)
        let out = target.assumingMemoryBound(to: UInt32.self)
        for k in depth & ~7..<depth {
            for column in 0..<8 {
                let place = source + (column &* step &+ k &* 2)
                let low = place.load(as: UInt16.self)
                let high = (place + apart).load(as: UInt16.self)
                found = found || low & exponent == exponent || high & exponent == exponent
                out[k &* 8 &+ column] = UInt32(low) | UInt32(high) << 16
            }
        }
        return !found
    }

    /// [16][depth] fp32 numbers → [depth][16]. Returns whether all are finite.
    static func words(_ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer, _ depth: Int) -> Bool {
        let rowBytes: Int = depth &* 4
        let mask = SIMD4<UInt32>(repeating: 0x7f80_0000)
        var odd = SIMD4<UInt32>(repeating: 0)
        var start = 0
        while start &+ 4 <= depth {
            let end = min(start &+ 16, depth &- 3)
            for quad in 0..<4 {
                let rows = source + quad &* 4 &* rowBytes
                var k = start
                while k < end {
                    let at = rows + k &* 4
                    let w0 = at.loadUnaligned(as: SIMD4<UInt32>.self)
                    let w1 = (at + rowBytes).loadUnaligned(as: SIMD4<UInt32>.self)
                    let w2 = (at + 2 &* rowBytes).loadUnaligned(as: SIMD4<UInt32>.self)
                    let w3 = (at + 3 &* rowBytes).loadUnaligned(as: SIMD4<UInt32>.self)
                    let one = SIMD4<UInt32>(repeating: 1)
                    let none = SIMD4<UInt32>(repeating: 0)
                    odd |= none.replacing(with: one, where: w0 & mask .== mask)
                    odd |= none.replacing(with: one, where: w1 & mask .== mask)
                    odd |= none.replacing(with: one, where: w2 & mask .== mask)
                    odd |= none.replacing(with: one, where: w3 & mask .== mask)
                    transpose(w0, w1, w2, w3, target + (k &* 64 &+ quad &* 16), 64)
                    k &+= 4
                }
            }
            start &+= 16
        }
        var found = odd != SIMD4(repeating: 0)
        let values = source.assumingMemoryBound(to: UInt32.self)
        let out = target.assumingMemoryBound(to: UInt32.self)
        for k in depth & ~3..<depth {
            for column in 0..<16 {
                let bits = values[column &* depth &+ k]
                found = found || bits & 0x7f80_0000 == 0x7f80_0000
                out[k &* 16 &+ column] = bits
            }
        }
        return !found
    }

    /// Eight halves each of two rows as words, low and high, and a mark where one has all bits of the mask.
    @inline(__always)
    private static func pair(
        _ low: UnsafeRawPointer, _ high: UnsafeRawPointer, _ mask: SIMD8<UInt16>
    ) -> (SIMD8<UInt32>, SIMD8<UInt16>) {
        let a = low.loadUnaligned(as: SIMD8<UInt16>.self)
        let b = high.loadUnaligned(as: SIMD8<UInt16>.self)
        var both = SIMD16<UInt16>()
        both.evenHalf = a
        both.oddHalf = b
        let none = SIMD8<UInt16>(repeating: 0)
        let one = SIMD8<UInt16>(repeating: 1)
        let odd =
            none.replacing(with: one, where: a & mask .== mask) | none.replacing(with: one, where: b & mask .== mask)
        return (unsafeBitCast(both, to: SIMD8<UInt32>.self), odd)
    }

    /// Four rows of four words, stored as four columns `stride` bytes apart.
    @inline(__always)
    private static func transpose(
        _ r0: SIMD4<UInt32>, _ r1: SIMD4<UInt32>, _ r2: SIMD4<UInt32>, _ r3: SIMD4<UInt32>,
        _ place: UnsafeMutableRawPointer, _ stride: Int
    ) {
        let (even, odd) = (interleave(r0, r2), interleave(r1, r3))
        let first = interleave(even.lowHalf, odd.lowHalf)
        let last = interleave(even.highHalf, odd.highHalf)
        place.storeBytes(of: first.lowHalf, as: SIMD4<UInt32>.self)
        (place + stride).storeBytes(of: first.highHalf, as: SIMD4<UInt32>.self)
        (place + 2 &* stride).storeBytes(of: last.lowHalf, as: SIMD4<UInt32>.self)
        (place + 3 &* stride).storeBytes(of: last.highHalf, as: SIMD4<UInt32>.self)
    }

    @inline(__always)
    private static func interleave(_ a: SIMD4<UInt32>, _ b: SIMD4<UInt32>) -> SIMD8<UInt32> {
        var both = SIMD8<UInt32>()
        both.evenHalf = a
        both.oddHalf = b
        return both
    }

    /// [16] rows of codes, `rowBytes` apart, → the chunks of one reduction block from `start` on (see ``PanelCode``). Codes past the
    /// end of a row are 0.
    static func codes(
        _ source: UnsafeRawPointer, rowBytes: Int, start: Int, count: Int, _ code: PanelCode,
        _ target: UnsafeMutableRawPointer
    ) {
        let bytesPerChunk = code == .float8E4M3 ? 8 : 4
        let chunkBytes: Int = bytesPerChunk &* 16
        let first: Int = code == .float8E4M3 ? start : start / 2
        let last: Int = code == .float8E4M3 ? start &+ count : (start &+ count &+ 1) / 2
        var chunk = target
        var at = first
        while at < last {
            let whole = at &+ bytesPerChunk <= last
            for column in 0..<16 {
                let row = source + (column &* rowBytes &+ at)
                if code == .float8E4M3 {
                    let bytes = whole ? row.loadUnaligned(as: UInt64.self) : bytes(row, last &- at)
                    let place = chunk + ((column >> 3) &* 64 &+ (column & 7) &* 2)
                    for pair in 0..<4 {
                        (place + pair &* 16).storeBytes(
                            of: UInt16(truncatingIfNeeded: bytes >> (16 &* UInt64(pair))), as: UInt16.self)
                    }
                } else {
                    let nibbles =
                        whole
                        ? row.loadUnaligned(as: UInt32.self) : UInt32(truncatingIfNeeded: bytes(row, last &- at))
                    // The first four k in the low halves of four bytes, the last four in the high ones.
                    let mixed = spread(nibbles & 0xffff) | spread(nibbles >> 16) << 4
                    let place = chunk + ((column >> 2) &* 16 &+ (column & 3) &* 2)
                    place.storeBytes(of: UInt16(truncatingIfNeeded: mixed), as: UInt16.self)
                    (place + 8).storeBytes(of: UInt16(truncatingIfNeeded: mixed >> 16), as: UInt16.self)
                }
            }
            chunk += chunkBytes
            at &+= bytesPerChunk
        }
    }

    /// Four nibbles to the low halves of four bytes.
    @inline(__always)
    private static func spread(_ nibbles: UInt32) -> UInt32 {
        let pairs = (nibbles | nibbles << 8) & 0x00ff_00ff
        return (pairs | pairs << 4) & 0x0f0f_0f0f
    }

    private static func bytes(_ row: UnsafeRawPointer, _ count: Int) -> UInt64 {
        (0..<count).reduce(0) { $0 | UInt64(row.load(fromByteOffset: $1, as: UInt8.self)) << (8 * UInt64($1)) }
    }
}
