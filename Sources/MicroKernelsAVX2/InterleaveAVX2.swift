import CPlatform

/// Sixteen rows of halves into a panel's rows, as far as sixteen values of k go at a time; what is left is the caller's.
///
/// Row i's partner in a word lies `apart` bytes after it, and the next pair `step` bytes after the last. Returns the first k not done,
/// and the largest magnitudes seen, as bits.
public func interleaveHalvesAVX2(
    _ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer, depth: Int, step: Int, apart: Int,
    largest: inout SIMD8<Int16>
) -> Int {
    let whole = depth & ~15
    var seen = SIMD16<Int16>(lowHalf: largest, highHalf: largest)
    withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 64) { strip in
        let strip = strip.baseAddress!
        var start = 0
        while start < whole {
            // A cache line of each row, eight rows at a time.
            let count = min(32, whole &- start)
            for quad in 0..<2 {
                let rows = source + (quad &* 4 &* step &+ start &* 2)
                var k = 0
                while k < count {
                    let at = rows + k &* 2
                    let p0 = Pair(at, apart, &seen)
                    let p1 = Pair(at + step, apart, &seen)
                    let p2 = Pair(at + 2 &* step, apart, &seen)
                    let p3 = Pair(at + 3 &* step, apart, &seen)
                    let place = strip + (k &* 32 &+ quad &* 16)
                    transpose(p0.first, p1.first, p2.first, p3.first, place)
                    transpose(p0.last, p1.last, p2.last, p3.last, place + 128)
                    k &+= 16
                }
            }
            var at = 0
            while at < count &* 32 {
                cp_stream8(target + (start &* 32 &+ at), (strip + at).load(as: SIMD8<UInt32>.self))
                at &+= 32
            }
            start &+= 32
        }
    }
    let (low, high) = (seen.lowHalf, seen.highHalf)
    largest = low.replacing(with: high, where: high .> low)
    return whole
}

/// Two rows' halves side by side in words: k 0 … 3 and 8 … 11 of sixteen, and the others.
private struct Pair {
    let first: SIMD8<UInt32>
    let last: SIMD8<UInt32>

    @inline(__always)
    init(_ row: UnsafeRawPointer, _ apart: Int, _ seen: inout SIMD16<Int16>) {
        let low = row.loadUnaligned(as: SIMD16<Int16>.self)
        let high = (row + apart).loadUnaligned(as: SIMD16<Int16>.self)
        let magnitude = SIMD16<Int16>(repeating: 0x7fff)
        let (sizeLow, sizeHigh) = (low & magnitude, high & magnitude)
        seen.replace(with: sizeLow, where: sizeLow .> seen)
        seen.replace(with: sizeHigh, where: sizeHigh .> seen)
        first = cp_interleave_first_halves(low, high)
        last = cp_interleave_last_halves(low, high)
    }
}

/// Four pairs of rows at four k and the four that are eight on, stored k by k, 32 bytes apart.
@inline(__always)
private func transpose(
    _ r0: SIMD8<UInt32>, _ r1: SIMD8<UInt32>, _ r2: SIMD8<UInt32>, _ r3: SIMD8<UInt32>, _ place: UnsafeMutableRawPointer
) {
    let (even0, even1) = (cp_interleave_first_words(r0, r2), cp_interleave_last_words(r0, r2))
    let (odd0, odd1) = (cp_interleave_first_words(r1, r3), cp_interleave_last_words(r1, r3))
    store(cp_interleave_first_words(even0, odd0), place)
    store(cp_interleave_last_words(even0, odd0), place + 32)
    store(cp_interleave_first_words(even1, odd1), place + 64)
    store(cp_interleave_last_words(even1, odd1), place + 96)
}

@inline(__always)
private func store(_ words: SIMD8<UInt32>, _ place: UnsafeMutableRawPointer) {
    place.storeBytes(of: words.lowHalf, as: SIMD4<UInt32>.self)
    (place + 256).storeBytes(of: words.highHalf, as: SIMD4<UInt32>.self)
}
