/// Who comes after whom.
///
/// In a fixed order everybody would always find what the same neighbour left: its data in the caches, its heat, its pages. Here each
/// follows each other equally often over 2n cycles of n, and a cycle is followed by its reverse, so that a steady slowdown of the machine
/// costs all alike (A B B A). Source: Williams, "Experimental Designs Balanced for the Estimation of Residual Effects of Treatments",
/// 1949.
package enum TurnOrder {
    /// The order of cycle `cycle`, a permutation of 0..<count.
    package static func cycle(_ cycle: Int, of count: Int) -> [Int] {
        guard count > 1 else { return Array(0..<count) }
        let row = cycle / 2 % count
        // 0, 1, n - 1, 2, n - 2, …: no two neighbours are equally far apart.
        let order = (0..<count).map { place in
            ((place % 2 == 1 ? (place + 1) / 2 : count - place / 2) + row) % count
        }
        return cycle % 2 == 0 ? order : order.reversed()
    }
}
