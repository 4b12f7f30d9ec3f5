/// Which rows each expert works on: the (token, slot) pairs of a routing, grouped by expert.
///
/// Rows of one expert are consecutive and in token order, so the plan is a function of the routing alone. Dropless: every pair has
/// its row.
public struct DispatchPlan: Sendable, Hashable {
    /// T and k of the routing.
    public let tokens: Int
    public let topK: Int
    /// First row of each expert, then the number of rows: [experts + 1].
    public let expertOffsets: [Int32]
    /// The token each row belongs to, [rows].
    public let rowTokens: [Int32]
    /// The row of each (token, slot), [tokens, topK].
    public let slotRows: [Int32]

    /// Groups a routing's choices by expert.
    public init(_ routing: Routing) {
        let rows = routing.expertIndices.count
        var offsets = [Int32](repeating: 0, count: routing.experts + 1)
        var rowTokens = [Int32](repeating: 0, count: rows)
        var slotRows = [Int32](repeating: 0, count: rows)
        routing.expertIndices.withUnsafeBufferPointer { indices in
            offsets.withUnsafeMutableBufferPointer { offsets in
                rowTokens.withUnsafeMutableBufferPointer { rowTokens in
                    slotRows.withUnsafeMutableBufferPointer { slotRows in
                        guard let indices = indices.baseAddress, let rowTokens = rowTokens.baseAddress,
                            let slotRows = slotRows.baseAddress
                        else { return }
                        Dispatch(
                            tokens: routing.tokens, topK: routing.topK, experts: routing.experts,
                            offsets: offsets.baseAddress!, rowTokens: rowTokens, slotRows: slotRows
                        ).group(indices)
                    }
                }
            }
        }
        tokens = routing.tokens
        topK = routing.topK
        expertOffsets = offsets
        self.rowTokens = rowTokens
        self.slotRows = slotRows
    }

    /// Rows of one expert.
    public func rows(of expert: Int) -> Range<Int> { Int(expertOffsets[expert])..<Int(expertOffsets[expert + 1]) }
}

/// The plan in a workspace: the same arrays, lent.
struct Dispatch {
    var tokens: Int
    var topK: Int
    var experts: Int
    /// [experts + 1]
    var offsets: UnsafeMutablePointer<Int32>
    /// [tokens · topK]
    var rowTokens: UnsafeMutablePointer<Int32>
    /// [tokens, topK]
    var slotRows: UnsafeMutablePointer<Int32>

    var rows: Int { tokens * topK }

    func rows(of expert: Int) -> Range<Int> { Int(offsets[expert])..<Int(offsets[expert + 1]) }

    /// A counting sort by expert: histogram, running sum, placement. O(T·k + E), stable.
    func group(_ indices: UnsafePointer<Int32>) {
        for expert in 0...experts { offsets[expert] = 0 }
        for pair in 0..<rows { offsets[Int(indices[pair])] += 1 }
        // Running sum of the rows that come before; afterwards offsets[e] is where the next row of e goes.
        var before: Int32 = 0
        for expert in 0..<experts {
            let count = offsets[expert]
            offsets[expert] = before
            before += count
        }
        for token in 0..<tokens {
            for slot in 0..<topK {
                let pair = token * topK + slot
                let expert = Int(indices[pair])
                let row = offsets[expert]
                offsets[expert] = row + 1
                rowTokens[Int(row)] = Int32(truncatingIfNeeded: token)
                slotRows[pair] = row
            }
        }
        // Each offset has moved to its expert's end, which is the next one's start.
        for expert in stride(from: experts, to: 0, by: -1) { offsets[expert] = offsets[expert - 1] }
        offsets[0] = 0
    }
}
