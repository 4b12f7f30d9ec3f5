import CPlatform

/// Zeroed pages of the operating system's with one owner; large regions ask for huge pages. Failing is an error, not an abort.
final class MemoryRegion: @unchecked Sendable {
    let base: UnsafeMutableRawPointer
    let byteCount: Int

    init(bytes: Int, purpose: @autoclosure () -> String) throws(MoEError) {
        guard let base = cp_map(max(bytes, 1)) else { throw .outOfMemory(bytes: bytes, purpose: purpose()) }
        self.base = base
        byteCount = max(bytes, 1)
    }

    deinit { cp_unmap(base, byteCount) }
}

/// Lays several arrays out in one region: first every array asks for its place, then the region is made.
struct RegionLayout {
    private(set) var byteCount = 0

    /// Reserves `count` elements on a cache line boundary and returns the offset in bytes.
    mutating func reserve<Element: ~Copyable>(_: Element.Type, _ count: Int) -> Int {
        let offset = byteCount
        byteCount = (offset + count * MemoryLayout<Element>.stride + 63) & ~63
        return offset
    }
}

extension UnsafeMutableRawPointer {
    /// The array at an offset that ``RegionLayout`` gave.
    func array<Element: ~Copyable>(_: Element.Type, at offset: Int) -> UnsafeMutablePointer<Element> {
        (self + offset).assumingMemoryBound(to: Element.self)
    }
}
