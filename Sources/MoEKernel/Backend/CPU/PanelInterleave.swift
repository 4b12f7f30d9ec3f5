import CPlatform
import MicroKernels

#if arch(x86_64)
    import MicroKernelsAVX2
#endif

/// The inner loops of packing: sixteen rows of a matrix, one after the other, into the layout of one panel.
///
/// Sixteen rows of a power-of-two length share one cache set, so values are taken from a whole cache line of each row, eight
/// rows at a time, while it is there. Transposing goes by interleaving vectors, two instructions for two of them, into a strip
/// of 1 KiB; from there whole cache lines are streamed to the panel, which memory would otherwise send here first to be
/// overwritten.
enum PanelInterleave {
    private static let stripBytes = 1024
    private static let hasAVX2 = cp_detect_features().avx2

    /// [16][depth] halves → [depth][16] halves in the order of a panel of that type. Returns whether all numbers are finite.
    static func halves(
        _ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer, _ depth: Int, _ type: ElementType
    ) -> Bool {
        let exponent = NumberRows.exponent(type)
        // The two columns of a word: i and 8 + i in bf16, 2i and 2i + 1 in fp16.
        let (step, apart): (Int, Int) = type == .bfloat16 ? (depth &* 2, depth &* 16) : (depth &* 4, depth &* 2)
        var largest = SIMD8<Int16>(repeating: 0)
        var start = 0
        #if arch(x86_64)
            if hasAVX2 {
                start = interleaveHalvesAVX2(source, target, depth: depth, step: step, apart: apart, largest: &largest)
            }
        #endif
        withUnsafeTemporaryAllocation(byteCount: stripBytes, alignment: 64) { strip in
            let strip = strip.baseAddress!
            while start &+ 8 <= depth {
                let count = min(32, (depth &- start) & ~7)
                for quad in 0..<2 {
                    let rows = source + (quad &* 4 &* step &+ start &* 2)
                    var k = 0
                    while k < count {
                        let at = rows + k &* 2
                        let w0 = pair(at, at + apart, &largest)
                        let w1 = pair(at + step, at + (step &+ apart), &largest)
                        let w2 = pair(at + 2 &* step, at + (2 &* step &+ apart), &largest)
                        let w3 = pair(at + 3 &* step, at + (3 &* step &+ apart), &largest)
                        let place = strip + (k &* 32 &+ quad &* 16)
                        transpose(w0.lowHalf, w1.lowHalf, w2.lowHalf, w3.lowHalf, place, 32)
                        transpose(w0.highHalf, w1.highHalf, w2.highHalf, w3.highHalf, place + 128, 32)
                        k &+= 8
                    }
                }
                stream(strip, target + start &* 32, count &* 32)
                start &+= 32
            }
        }
        cp_stream_end()
        var found = false
        for lane in 0..<8 { found = found || largest[lane] >= Int16(exponent) }
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

    /// [16][depth] bf16 numbers → [depth / 2][16] pairs of two k, the first one low; an odd last k has zero beside it. Returns
    /// whether all are finite.
    static func pairs(_ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer, _ depth: Int) -> Bool {
        let rowBytes: Int = depth &* 2
        // A row's pairs are words as they stand.
        var isFinite = words(source, target, depth / 2, rowBytes: rowBytes, areHalves: true)
        if depth % 2 == 1 {
            let out = (target + depth / 2 &* 64).assumingMemoryBound(to: UInt32.self)
            let exponent = NumberRows.exponent(.bfloat16)
            for column in 0..<16 {
                let half = (source + (column &* rowBytes &+ rowBytes &- 2)).loadUnaligned(as: UInt16.self)
                isFinite = isFinite && half & exponent != exponent
                out[column] = UInt32(half)
            }
        }
        return isFinite
    }

    /// [2][16][depth] bf16 numbers → [depth][16] words of a number of the first panel, low, and one of the second. `scratch` takes 16 rows
    /// of such words. Returns whether all are finite.
    static func twoPanels(
        _ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer, _ depth: Int, scratch: UnsafeMutableRawPointer
    ) -> Bool {
        let apart: Int = 16 &* depth &* 2
        let whole = depth & ~15
        for column in 0..<16 {
            let row = source + column &* depth &* 2
            let place = scratch + column &* depth &* 4
            for k in stride(from: 0, to: whole, by: 16) {
                var both = SIMD32<UInt16>()
                both.evenHalf = (row + k &* 2).loadUnaligned(as: SIMD16<UInt16>.self)
                both.oddHalf = (row + (apart &+ k &* 2)).loadUnaligned(as: SIMD16<UInt16>.self)
                (place + k &* 4).storeBytes(of: both, as: SIMD32<UInt16>.self)
            }
            for k in whole..<depth {
                let low = UInt32((row + k &* 2).load(as: UInt16.self))
                let high = UInt32((row + (apart &+ k &* 2)).load(as: UInt16.self))
                (place + k &* 4).storeBytes(of: low | high << 16, as: UInt32.self)
            }
        }
        return words(scratch, target, depth, rowBytes: depth &* 4, areHalves: true)
    }

    /// 16 rows of fp32 numbers, `rowBytes` apart, → [depth][16]. Returns whether all are finite.
    static func words(
        _ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer, _ depth: Int, rowBytes: Int
    ) -> Bool {
        words(source, target, depth, rowBytes: rowBytes, areHalves: false)
    }

    /// - Parameter areHalves: Whether a word is two bf16 numbers, one of which may be infinite where an fp32 number would not
    ///   be.
    @inline(__always)
    private static func words(
        _ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer, _ depth: Int, rowBytes: Int, areHalves: Bool
    ) -> Bool {
        var odd = SIMD4<UInt32>(repeating: 0)
        withUnsafeTemporaryAllocation(byteCount: stripBytes, alignment: 64) { strip in
            let strip = strip.baseAddress!
            var start = 0
            while start &+ 4 <= depth {
                let count = min(16, (depth &- start) & ~3)
                for quad in 0..<4 {
                    let rows = source + (quad &* 4 &* rowBytes &+ start &* 4)
                    var k = 0
                    while k < count {
                        let at = rows + k &* 4
                        let w0 = word(at, areHalves, &odd)
                        let w1 = word(at + rowBytes, areHalves, &odd)
                        let w2 = word(at + 2 &* rowBytes, areHalves, &odd)
                        let w3 = word(at + 3 &* rowBytes, areHalves, &odd)
                        transpose(w0, w1, w2, w3, strip + (k &* 64 &+ quad &* 16), 64)
                        k &+= 4
                    }
                }
                stream(strip, target + start &* 64, count &* 64)
                start &+= 16
            }
        }
        cp_stream_end()
        var found = odd != SIMD4(repeating: 0)
        let out = target.assumingMemoryBound(to: UInt32.self)
        for k in depth & ~3..<depth {
            for column in 0..<16 {
                let bits = (source + (column &* rowBytes &+ k &* 4)).loadUnaligned(as: UInt32.self)
                found = found || bits & 0x7f80_0000 == 0x7f80_0000 || areHalves && bits & 0x7f80 == 0x7f80
                out[k &* 16 &+ column] = bits
            }
        }
        return !found
    }

    /// Eight halves each of two rows as words, low and high. Keeps the largest magnitudes: infinities and NaNs are above all
    /// others.
    @inline(__always)
    private static func pair(
        _ low: UnsafeRawPointer, _ high: UnsafeRawPointer, _ largest: inout SIMD8<Int16>
    ) -> SIMD8<UInt32> {
        let a = low.loadUnaligned(as: SIMD8<Int16>.self)
        let b = high.loadUnaligned(as: SIMD8<Int16>.self)
        var both = SIMD16<Int16>()
        both.evenHalf = a
        both.oddHalf = b
        let magnitude = SIMD8<Int16>(repeating: 0x7fff)
        let (sizeA, sizeB) = (a & magnitude, b & magnitude)
        largest.replace(with: sizeA, where: sizeA .> largest)
        largest.replace(with: sizeB, where: sizeB .> largest)
        return unsafeBitCast(both, to: SIMD8<UInt32>.self)
    }

    /// Four words, marking what has all bits of the exponent, or of one of two.
    @inline(__always)
    private static func word(
        _ place: UnsafeRawPointer, _ areHalves: Bool, _ odd: inout SIMD4<UInt32>
    ) -> SIMD4<UInt32> {
        let words = place.loadUnaligned(as: SIMD4<UInt32>.self)
        let mask = SIMD4<UInt32>(repeating: 0x7f80_0000)
        odd.replace(with: mask, where: words & mask .== mask)
        if areHalves {
            let low = SIMD4<UInt32>(repeating: 0x7f80)
            odd.replace(with: mask, where: words & low .== low)
        }
        return words
    }

    /// Copies to memory that is not read soon; both on 16-byte boundaries.
    @inline(__always)
    private static func stream(_ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer, _ bytes: Int) {
        var at = 0
        while at < bytes {
            cp_stream4(target + at, (source + at).load(as: SIMD4<UInt32>.self))
            at &+= 16
        }
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

    /// [16] rows of codes, `rowBytes` apart, → the chunks of one reduction block from `start` on (see ``PanelCode``). Codes
    /// past the end of a row are 0.
    static func codes(
        _ source: UnsafeRawPointer, rowBytes: Int, start: Int, count: Int, _ code: PanelCode,
        _ target: UnsafeMutableRawPointer
    ) {
        let bytesPerChunk = code.isByte ? 8 : 4
        let chunkBytes: Int = bytesPerChunk &* 16
        let first: Int = code.isByte ? start : start / 2
        let last: Int = code.isByte ? start &+ count : (start &+ count &+ 1) / 2
        var chunk = target
        var at = first
        while at < last {
            let whole = at &+ bytesPerChunk <= last
            for column in 0..<16 {
                let row = source + (column &* rowBytes &+ at)
                if code == .int8 {
                    let bytes = whole ? row.loadUnaligned(as: UInt64.self) : bytes(row, last &- at)
                    for k in 0..<8 {
                        chunk.storeBytes(
                            of: UInt8(truncatingIfNeeded: bytes >> (8 &* UInt64(k))), toByteOffset: k &* 16 &+ column,
                            as: UInt8.self)
                    }
                } else if code == .float8E4M3 {
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

    /// As ``codes(_:rowBytes:start:count:_:_:)``, for products of bytes (see ``ByteDotLayout``).
    static func byteDots(
        _ source: UnsafeRawPointer, rowBytes: Int, start: Int, count: Int, _ code: PanelCode,
        _ target: UnsafeMutableRawPointer
    ) {
        // Bytes of a row that a quad of k takes.
        let quadBytes = code.isByte ? 4 : 2
        let end: Int = code.isByte ? start &+ count : (start &+ count &+ 1) / 2
        func quad(_ column: Int, _ k: Int) -> UInt32 {
            let at: Int = code.isByte ? k : k / 2
            let row = source + (column &* rowBytes &+ at)
            if at &+ quadBytes > end { return UInt32(bytes(row, max(end &- at, 0))) }
            return code.isByte ? row.loadUnaligned(as: UInt32.self) : UInt32(row.loadUnaligned(as: UInt16.self))
        }
        var words = target.assumingMemoryBound(to: UInt32.self)
        for group in stride(from: start, to: start + count, by: RoundedActivations.group) {
            for k in stride(from: group, to: group + (code.isByte ? 32 : 16), by: 4) {
                for column in 0..<16 {
                    let low = quad(column, k)
                    words[column] = code.isByte ? low : spread(low) | spread(quad(column, k &+ 16)) << 4
                }
                words += 16
            }
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
