/// Sorts in place without memory of its own, which the standard library's sort takes. `precedes` is a total order, so that the
/// result does not depend on the algorithm.
@inline(__always)
func heapSort(_ items: UnsafeMutablePointer<Int32>, _ count: Int, _ precedes: (Int32, Int32) -> Bool) {
    var end = count
    heapify(items, count) { precedes($1, $0) }
    while end > 1 {
        end -= 1
        (items[0], items[end]) = (items[end], items[0])
        siftDown(items, 0, end) { precedes($1, $0) }
    }
}

/// Makes a heap whose top precedes all others.
@inline(__always)
func heapify(_ items: UnsafeMutablePointer<Int32>, _ count: Int, _ precedes: (Int32, Int32) -> Bool) {
    for root in stride(from: count / 2 - 1, through: 0, by: -1) { siftDown(items, root, count, precedes) }
}

@inline(__always)
func siftDown(
    _ items: UnsafeMutablePointer<Int32>, _ start: Int, _ count: Int, _ precedes: (Int32, Int32) -> Bool
) {
    let item = items[start]
    var root = start
    while true {
        var child = 2 * root + 1
        if child >= count { break }
        if child + 1 < count, precedes(items[child + 1], items[child]) { child += 1 }
        if !precedes(items[child], item) { break }
        items[root] = items[child]
        root = child
    }
    items[root] = item
}
