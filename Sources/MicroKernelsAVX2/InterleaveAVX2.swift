import CPlatform

/// Sixteen rows of halves into a panel's rows, as far as sixteen values of k go at a time; what is left is the caller's.
///
/// Row i's partner in a word lies `apart` bytes after it, and the next pair `step` bytes after the last. Returns the first k not done,
/// and the largest magnitudes seen, as bits.
///
/// Two halves of a pair of rows interleave to words, eight of which at eight k are transposed in registers; what comes out are whole
/// panel rows, streamed to memory. Rows of a power-of-two length share one cache set and are read again from the second level for the
/// other eight k, which costs less than a detour of the results through memory.
public func interleaveHalvesAVX2(
    _ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer, depth: Int, step: Int, apart: Int,
    largest: inout SIMD8<Int16>
) -> Int {
    let whole = depth & ~15
    var seen = SIMD16<Int16>(lowHalf: largest, highHalf: largest)
    var k = 0
    while k < whole {
        let rows = source + k &* 2
        let place = target + k &* 32
        transpose(
            first(rows, 0, step, apart, &seen), first(rows, 1, step, apart, &seen), first(rows, 2, step, apart, &seen),
            first(rows, 3, step, apart, &seen), first(rows, 4, step, apart, &seen), first(rows, 5, step, apart, &seen),
            first(rows, 6, step, apart, &seen), first(rows, 7, step, apart, &seen), place)
        transpose(
            last(rows, 0, step, apart), last(rows, 1, step, apart), last(rows, 2, step, apart),
            last(rows, 3, step, apart), last(rows, 4, step, apart), last(rows, 5, step, apart),
            last(rows, 6, step, apart), last(rows, 7, step, apart), place + 128)
        k &+= 16
    }
    let (low, high) = (seen.lowHalf, seen.highHalf)
    largest = low.replacing(with: high, where: high .> low)
    return whole
}

/// Two rows' halves side by side in words, k 0 … 3 and 8 … 11 of sixteen, keeping the largest magnitudes.
@inline(__always)
private func first(
    _ rows: UnsafeRawPointer, _ pair: Int, _ step: Int, _ apart: Int, _ seen: inout SIMD16<Int16>
) -> SIMD8<UInt32> {
    let row = rows + pair &* step
    let low = row.loadUnaligned(as: SIMD16<Int16>.self)
    let high = (row + apart).loadUnaligned(as: SIMD16<Int16>.self)
    let magnitude = SIMD16<Int16>(repeating: 0x7fff)
    let (sizeLow, sizeHigh) = (low & magnitude, high & magnitude)
    seen.replace(with: sizeLow, where: sizeLow .> seen)
    seen.replace(with: sizeHigh, where: sizeHigh .> seen)
    return cp_interleave_first_halves(low, high)
}

/// The other eight: k 4 … 7 and 12 … 15.
@inline(__always)
private func last(_ rows: UnsafeRawPointer, _ pair: Int, _ step: Int, _ apart: Int) -> SIMD8<UInt32> {
    let row = rows + pair &* step
    return cp_interleave_last_halves(
        row.loadUnaligned(as: SIMD16<Int16>.self), (row + apart).loadUnaligned(as: SIMD16<Int16>.self))
}

/// Eight pairs of rows at four k and the four that are eight on: panel rows k and k + 8, 32 bytes each.
@inline(__always)
private func transpose(
    _ p0: SIMD8<UInt32>, _ p1: SIMD8<UInt32>, _ p2: SIMD8<UInt32>, _ p3: SIMD8<UInt32>, _ p4: SIMD8<UInt32>,
    _ p5: SIMD8<UInt32>, _ p6: SIMD8<UInt32>, _ p7: SIMD8<UInt32>, _ place: UnsafeMutableRawPointer
) {
    let (a0, a1) = (cp_interleave_first_words(p0, p1), cp_interleave_last_words(p0, p1))
    let (b0, b1) = (cp_interleave_first_words(p2, p3), cp_interleave_last_words(p2, p3))
    let (c0, c1) = (cp_interleave_first_words(p4, p5), cp_interleave_last_words(p4, p5))
    let (d0, d1) = (cp_interleave_first_words(p6, p7), cp_interleave_last_words(p6, p7))
    store(cp_interleave_first_pairs(a0, b0), cp_interleave_first_pairs(c0, d0), place)
    store(cp_interleave_last_pairs(a0, b0), cp_interleave_last_pairs(c0, d0), place + 32)
    store(cp_interleave_first_pairs(a1, b1), cp_interleave_first_pairs(c1, d1), place + 64)
    store(cp_interleave_last_pairs(a1, b1), cp_interleave_last_pairs(c1, d1), place + 96)
}

/// The halves of panel rows k (low) and k + 8 (high).
@inline(__always)
private func store(_ left: SIMD8<UInt32>, _ right: SIMD8<UInt32>, _ place: UnsafeMutableRawPointer) {
    cp_stream8(place, SIMD8(lowHalf: left.lowHalf, highHalf: right.lowHalf))
    cp_stream8(place + 256, SIMD8(lowHalf: left.highHalf, highHalf: right.highHalf))
}
