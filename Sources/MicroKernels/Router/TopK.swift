/// Adds keys[first..<end] to the k largest seen so far, largest first, ties to the lower index where ranges come in ascending
/// order; returns how many of k are filled. One pass with insertion: a key that beats the smallest kept one is rare, about
/// k·ln(E/k) times a row. Keys are no NaN.
@_alwaysEmitIntoClient @inline(__always)
func topK(
    _ keys: UnsafePointer<Float>, _ first: Int, _ end: Int, _ k: Int, filled before: Int,
    _ ids: UnsafeMutablePointer<Int32>, _ kept: UnsafeMutablePointer<Float>
) -> Int {
    var filled = before
    var index = first
    while index < end {
        let value = keys[index]
        if filled < k || value > kept[k &- 1] {
            var place = filled < k ? filled : k &- 1
            while place > 0 && value > kept[place &- 1] {
                kept[place] = kept[place &- 1]
                ids[place] = ids[place &- 1]
                place &-= 1
            }
            kept[place] = value
            ids[place] = Int32(truncatingIfNeeded: index)
            if filled < k { filled &+= 1 }
        }
        index &+= 1
    }
    return filled
}
