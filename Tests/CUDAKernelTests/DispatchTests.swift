import CUDAKernelHost
import Testing

/// The kernels that group pairs by expert, run on the CPU, against sorting.
@Suite struct DispatchTests {
    struct Shape: CustomTestStringConvertible {
        var tokens: Int
        var slots: Int
        var experts: Int
        /// Tokens of a block.
        var chunk: Int
        var dropped = false
        var masked = false
        /// Most pairs go to expert 0.
        var skewed = false
        /// Some pairs go to experts that do not exist.
        var strays = false

        var testDescription: String {
            "T \(tokens), k \(slots), E \(experts), \(chunk) a block"
                + (dropped ? ", dropped" : "") + (masked ? ", masked" : "")
        }
    }

    static let shapes = [
        Shape(tokens: 0, slots: 2, experts: 8, chunk: 8),
        Shape(tokens: 1, slots: 1, experts: 1, chunk: 1),
        Shape(tokens: 1, slots: 8, experts: 64, chunk: 8, dropped: true),
        Shape(tokens: 33, slots: 4, experts: 8, chunk: 7, skewed: true),
        Shape(tokens: 257, slots: 3, experts: 65, chunk: 100, dropped: true, masked: true),
        Shape(tokens: 50, slots: 32, experts: 33, chunk: 25, masked: true, skewed: true),
        Shape(tokens: 90, slots: 8, experts: 512, chunk: 44),
        Shape(tokens: 41, slots: 3, experts: 7, chunk: 16, masked: true, strays: true),
    ]

    struct Plan: Equatable {
        var offsets: [Int32]
        var counts: [Int32]
        var rowOf: [Int32]
        var rowToken: [Int32]
        var rowPair: [Int32]
        var rowWeights: [Float]
    }

    struct Case {
        let shape: Shape
        let chosen: DeviceArray<Int32>
        let kept: DeviceArray<UInt8>
        let mask: DeviceArray<UInt8>
        let weights: DeviceArray<Float>

        /// Pairs that a router chose.
        init(_ shape: Shape, chosen: [Int32], weights: [Float]) {
            self.shape = shape
            (self.chosen, self.weights) = (DeviceArray(chosen), DeviceArray(weights))
            (kept, mask) = (DeviceArray([]), DeviceArray([]))
        }

        init(_ shape: Shape) {
            self.shape = shape
            var generator = Generator(state: UInt64(shape.tokens * 1000 + shape.experts))
            let pairs = shape.tokens * shape.slots
            // Those of no expert: one that does not exist. They count as dropped.
            let none = [-1, Int32(shape.experts), .max, .min]
            chosen = DeviceArray(
                (0..<pairs).map { pair in
                    shape.strays && pair % 5 == 3
                        ? none[pair % 4]
                        : shape.skewed && Bool.random(using: &generator)
                            ? 0 : Int32.random(in: 0..<Int32(shape.experts), using: &generator)
                })
            kept = DeviceArray((0..<pairs).map { _ in UInt8.random(in: 0..<4, using: &generator) })
            mask = DeviceArray((0..<shape.tokens).map { _ in UInt8.random(in: 0..<4, using: &generator) })
            weights = DeviceArray((0..<pairs).map { _ in Float.random(in: 0...1, using: &generator) })
        }

        var expected: Plan {
            let (chosen, kept, mask, weights) = (chosen.elements, kept.elements, mask.elements, weights.elements)
            let pairs = chosen.indices.filter {
                (!shape.dropped || kept[$0] != 0) && (!shape.masked || mask[$0 / shape.slots] != 0)
                    && (0..<Int32(shape.experts)).contains(chosen[$0])
            }
            let rows = pairs.sorted { (chosen[$0], $0) < (chosen[$1], $1) }
            var counts = [Int32](repeating: 0, count: shape.experts)
            for pair in rows { counts[Int(chosen[pair])] += 1 }
            var rowOf = [Int32](repeating: -1, count: chosen.count)
            for (row, pair) in rows.enumerated() { rowOf[pair] = Int32(row) }
            return Plan(
                offsets: counts.reduce(into: [0]) { $0.append($0.last! + $1) }, counts: counts, rowOf: rowOf,
                rowToken: rows.map { Int32($0 / shape.slots) }, rowPair: rows.map(Int32.init),
                rowWeights: rows.map { weights[$0] })
        }

        /// Runs one block, or three kernels, into poisoned memory. `mistake`: for the kernels that have a copy with it.
        /// `counted`: the blocks' counts, which are not counted then.
        func run(
            alone: Bool, seed: UInt64, mistake: String = "", of mistaken: String = "", counted: [Int32]? = nil
        ) throws -> Plan {
            let (pairs, experts) = (shape.tokens * shape.slots, shape.experts)
            let blocks = alone ? 1 : (shape.tokens + shape.chunk - 1) / shape.chunk
            func poisoned(_ count: Int) -> DeviceArray<Int32> { DeviceArray([Int32](repeating: -9, count: count)) }
            let blockCounts = counted.map { DeviceArray($0) } ?? poisoned(blocks * experts)
            let (counts, offsets) = (poisoned(experts), poisoned(experts + 1))
            defer { withExtendedLifetime(blockCounts) {} }
            let (rowToken, rowOf, rowPair) = (poisoned(pairs), poisoned(pairs), poisoned(pairs))
            let rowWeights = DeviceArray([Float](repeating: .nan, count: pairs))
            var parameters = mc_dispatch_parameters()
            parameters.chosen = UnsafePointer(chosen.start)
            parameters.kept = shape.dropped ? UnsafePointer(kept.start) : nil
            parameters.mask = shape.masked ? UnsafePointer(mask.start) : nil
            parameters.weights = UnsafePointer(weights.start)
            parameters.block_counts = blockCounts.start
            parameters.counts = counts.start
            parameters.offsets = offsets.start
            parameters.row_token = rowToken.start
            parameters.row_of = rowOf.start
            parameters.row_pair = rowPair.start
            parameters.row_scale = rowWeights.start
            parameters.tokens = Int32(shape.tokens)
            parameters.slots = Int32(shape.slots)
            parameters.experts = Int32(experts)
            parameters.blocks = Int32(blocks)
            // One block takes all tokens, whatever the chunk that a plan of many blocks would have.
            parameters.chunk = alone ? mc_dispatch_chunk(Int64(shape.tokens)) : Int32(shape.chunk)
            let counting = counted == nil ? ["dispatch_count"] : []
            for kernel in alone ? ["dispatch_block"] : counting + ["dispatch_scan", "dispatch_place"] {
                let name = kernel + (kernel == mistaken ? mistake : "")
                try launch { ck_dispatch(name, &parameters, seed, $0, $1) }
            }
            let rows = max(0, min(pairs, Int(offsets.elements[experts])))
            return Plan(
                offsets: offsets.elements, counts: counts.elements, rowOf: rowOf.elements,
                rowToken: Array(rowToken.elements.prefix(rows)), rowPair: Array(rowPair.elements.prefix(rows)),
                rowWeights: Array(rowWeights.elements.prefix(rows)))
        }
    }

    @Test(arguments: shapes)
    func groupsPairsByExpertInTheirOrder(_ shape: Shape) throws {
        let test = Case(shape)
        let expected = test.expected
        #expect(try test.run(alone: true, seed: 1) == expected)
        guard shape.tokens > 0 else { return }
        for seed in 0..<2 as Range<UInt64> { #expect(try test.run(alone: false, seed: seed) == expected) }
    }

    /// The router's counts stand for dispatch_count: selection, scan and place, from logits on.
    @Test(arguments: [(33, 8, 2), (70, 40, 4), (9, 3, 3)])
    func theRoutersCountsLeadToTheSamePlan(_ tokens: Int, _ experts: Int, _ slots: Int) throws {
        let test = RouterSelectTests.Case(
            RouterSelectTests.Router(experts: experts, slots: slots), .real, tokens: tokens)
        let selected = try test.run(seed: 3)
        let plan = Case(
            Shape(tokens: tokens, slots: slots, experts: experts, chunk: test.chunk),
            chosen: selected.experts, weights: selected.weights)
        #expect(try plan.run(alone: false, seed: 4, counted: selected.blockCounts) == plan.expected)
    }

    @Test(arguments: [
        ("dispatch_block", "missing_barrier"), ("dispatch_count", "missing_barrier"),
        ("dispatch_scan", "missing_barrier"),
        ("dispatch_place", "missing_barrier"), ("dispatch_place", "missing_warp_barrier"),
        ("dispatch_place", "forgets_peers"), ("dispatch_block", "short_scan"),
    ])
    func mistakesAreNoticed(_ kernel: String, _ mistake: String) throws {
        let test = Case(
            Shape(tokens: 300, slots: 4, experts: 40, chunk: 150, dropped: true, masked: true, skewed: true))
        let expected = test.expected
        let caught = (0..<4 as Range<UInt64>).count {
            // A wrong plan, or an access out of bounds.
            let plan = try? test.run(alone: kernel == "dispatch_block", seed: $0, mistake: "+" + mistake, of: kernel)
            return plan != expected
        }
        #expect(caught >= 3)
    }

    @Test func chunksCoverTheTokens() {
        for tokens in [1, 7, 8, 9, 8192, 8193, 100_000, 1 << 20] as [Int64] {
            let chunk = Int64(mc_dispatch_chunk(tokens))
            #expect(chunk >= 8 && (tokens + chunk - 1) / chunk <= Int64(MC_DISPATCH_BLOCKS))
        }
    }
}
