/// Which rows each expert works on: the kept (token, slot) pairs of a routing, grouped by expert.
///
/// Rows of one expert are consecutive and in token order, so the plan is a function of the routing alone.
public struct DispatchPlan: Sendable, Hashable {
    /// T of the routing.
    public let tokens: Int
    /// k of the routing, slots a token.
    public let topK: Int
    /// First row of each expert, then the number of rows: [experts + 1].
    public let expertOffsets: [Int32]
    /// The token each row belongs to, [rows].
    public let rowTokens: [Int32]
    /// The routing's applied weight of each row, [rows].
    public let rowWeights: [Float]
    /// The row of each (token, slot), [tokens, topK]; -1 for a dropped choice.
    public let slotRows: [Int32]

    /// Rows of all experts.
    public var rows: Int { rowTokens.count }

    /// Groups a routing's choices by expert.
    public init(_ routing: Routing) {
        let pairs = routing.expertIndices.count
        let rows = routing.kept.map { $0.count { $0 } } ?? pairs
        var offsets = [Int32](repeating: 0, count: routing.experts + 1)
        var rowTokens = [Int32](repeating: 0, count: rows)
        var slotRows = [Int32](repeating: -1, count: pairs)
        let kept = routing.kept?.map { $0 ? 1 : 0 as UInt8 }
        routing.expertIndices.withUnsafeBufferPointer { indices in
            offsets.withUnsafeMutableBufferPointer { offsets in
                rowTokens.withUnsafeMutableBufferPointer { rowTokens in
                    slotRows.withUnsafeMutableBufferPointer { slotRows in
                        kept.withOptionalBuffer { kept in
                            guard let indices = indices.baseAddress, let rowTokens = rowTokens.baseAddress,
                                let slotRows = slotRows.baseAddress
                            else { return }
                            Dispatch(
                                tokens: routing.tokens, topK: routing.topK, experts: routing.experts,
                                offsets: offsets.baseAddress!, rowTokens: rowTokens, slotRows: slotRows
                            ).group(indices, kept: kept)
                        }
                    }
                }
            }
        }
        var rowWeights = [Float](repeating: 0, count: rows)
        for (pair, row) in slotRows.enumerated() where row >= 0 { rowWeights[Int(row)] = routing.appliedWeights[pair] }
        tokens = routing.tokens
        topK = routing.topK
        expertOffsets = offsets
        self.rowTokens = rowTokens
        self.rowWeights = rowWeights
        self.slotRows = slotRows
    }

    /// Rows of one expert; none for an expert that there is not.
    public func rows(of expert: Int) -> Range<Int> {
        guard expert >= 0, expert < expertOffsets.count - 1 else { return 0..<0 }
        return Int(expertOffsets[expert])..<Int(expertOffsets[expert + 1])
    }
}

extension Optional where Wrapped == [UInt8] {
    fileprivate func withOptionalBuffer(_ body: (UnsafePointer<UInt8>?) -> Void) {
        switch self {
        case .none: body(nil)
        case .some(let array): array.withUnsafeBufferPointer { body($0.baseAddress) }
        }
    }
}

/// The plan in a workspace: the same arrays, lent.
struct Dispatch {
    var tokens: Int
    var topK: Int
    var experts: Int
    /// [experts + 1]
    var offsets: UnsafeMutablePointer<Int32>
    /// [rows]
    var rowTokens: UnsafeMutablePointer<Int32>
    /// [tokens · topK]
    var slotRows: UnsafeMutablePointer<Int32>

    /// Rows of all experts, once grouped.
    var rows: Int { Int(offsets[experts]) }

    func rows(of expert: Int) -> Range<Int> { Int(offsets[expert])..<Int(offsets[expert + 1]) }

    /// A counting sort by expert of the pairs that are kept (nil: all): histogram, running sum, placement. O(T·k + E), stable.
    func group(_ indices: UnsafePointer<Int32>, kept: UnsafePointer<UInt8>? = nil) {
        let pairs = tokens * topK
        for expert in 0...experts { offsets[expert] = 0 }
        if let kept {
            for pair in 0..<pairs { offsets[Int(indices[pair])] += Int32(kept[pair]) }
        } else {
            for pair in 0..<pairs { offsets[Int(indices[pair])] += 1 }
        }
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
                if let kept, kept[pair] == 0 {
                    slotRows[pair] = -1
                    continue
                }
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
