import CUDAKernelHost
import Testing

/// The kernels of capacities and of experts that choose, run on the CPU, against sorting.
@Suite struct CapacityTests {
    struct Shape: CustomTestStringConvertible {
        var tokens: Int
        var slots: Int
        var experts: Int
        /// Experts with a limit.
        var limited: Int
        var sequence: Int
        var limit: Int32

        var testDescription: String { "T \(tokens) by \(sequence), k \(slots), E \(experts), at most \(limit)" }
    }

    static let shapes = [
        Shape(tokens: 6, slots: 1, experts: 3, limited: 3, sequence: 6, limit: 1),
        Shape(tokens: 40, slots: 2, experts: 5, limited: 4, sequence: 10, limit: 3),
        Shape(tokens: 300, slots: 4, experts: 6, limited: 6, sequence: 300, limit: 120),
        Shape(tokens: 60, slots: 3, experts: 4, limited: 4, sequence: 30, limit: 0),
        Shape(tokens: 520, slots: 2, experts: 3, limited: 3, sequence: 520, limit: 257),
    ]

    struct Case {
        let shape: Shape
        let chosen: [Int]
        let weights: [Float]
        /// Whether a pair queues at all.
        let queues: [Bool]

        init(_ shape: Shape) {
            self.shape = shape
            var generator = Generator(state: UInt64(shape.tokens * 100 + shape.experts))
            // Expert 0 is everybody's first choice more often than not.
            let orders = (0..<shape.tokens).map { _ in
                let order = (0..<shape.experts).shuffled(using: &generator)
                return Bool.random(using: &generator) ? [0] + order.filter { $0 != 0 } : order
            }
            chosen = orders.flatMap { $0.prefix(shape.slots) }
            // Many weights are equal.
            weights = chosen.map { _ in Float(Int.random(in: 0..<8, using: &generator)) / 8 }
            let real = (0..<shape.tokens).map { _ in Int.random(in: 0..<5, using: &generator) > 0 }
            queues = chosen.indices.map { real[$0 / shape.slots] }
        }

        func expected(_ order: Int) -> [UInt8] {
            let k = shape.slots
            var kept = [UInt8](repeating: 0, count: chosen.count)
            for first in stride(from: 0, to: shape.tokens, by: shape.sequence) {
                let pairs = first * k..<(first + shape.sequence) * k
                func best(_ pair: Int) -> Float { weights[pair / k * k..<(pair / k + 1) * k].max()! }
                let queue =
                    switch order {
                    case Int(MC_QUEUE_POSITION): Array(pairs)
                    case Int(MC_QUEUE_CHOICE_RANK): pairs.sorted { ($0 % k, $0) < ($1 % k, $1) }
                    case Int(MC_QUEUE_TOKEN_PRIORITY):
                        pairs.sorted { ($0 % k, -best($0), $0) < ($1 % k, -best($1), $1) }
                    default: pairs.sorted { (-weights[$0], $0) < (-weights[$1], $1) }
                    }
                var served = [Int32](repeating: 0, count: shape.experts)
                for pair in queue where queues[pair] {
                    let expert = chosen[pair]
                    kept[pair] = expert >= shape.limited || served[expert] < shape.limit ? 1 : 0
                    served[expert] += 1
                }
            }
            return kept
        }

        func run(_ order: Int, seed: UInt64, mistake: String = "") throws -> [UInt8] {
            let rows = chosen.indices.filter { queues[$0] }.sorted { (chosen[$0], $0) < (chosen[$1], $1) }
            var (offsets, rowOf) = ([Int32(0)], [Int32](repeating: -1, count: chosen.count))
            for expert in 0..<shape.experts {
                offsets.append(offsets[expert] + Int32(rows.count { chosen[$0] == expert }))
            }
            for (row, pair) in rows.enumerated() { rowOf[pair] = Int32(row) }
            let lent = (
                DeviceArray(offsets), DeviceArray(rows.map(Int32.init)), DeviceArray(rowOf), DeviceArray(weights)
            )
            let kept = DeviceArray([UInt8](repeating: 9, count: chosen.count))
            var parameters = mc_admit_parameters()
            parameters.offsets = UnsafePointer(lent.0.start)
            parameters.row_pair = UnsafePointer(lent.1.start)
            parameters.row_of = UnsafePointer(lent.2.start)
            parameters.weights = UnsafePointer(lent.3.start)
            parameters.kept = kept.start
            parameters.tokens = Int32(shape.tokens)
            parameters.slots = Int32(shape.slots)
            parameters.experts = Int32(shape.experts)
            parameters.limited = Int32(shape.limited)
            parameters.sequence = Int32(shape.sequence)
            parameters.limit = shape.limit
            parameters.order = Int32(order)
            try withExtendedLifetime(lent) {
                try launch { ck_capacity_admit("capacity_admit" + mistake, &parameters, rows.count, 3, seed, $0, $1) }
            }
            return kept.elements
        }
    }

    static let orders = [
        Int(MC_QUEUE_POSITION), Int(MC_QUEUE_CHOICE_RANK), Int(MC_QUEUE_TOKEN_PRIORITY), Int(MC_QUEUE_WEIGHT),
    ]

    @Test(arguments: shapes, orders)
    func expertsAcceptTheFirstOfTheirQueue(_ shape: Shape, _ order: Int) throws {
        let test = Case(shape)
        let expected = test.expected(order)
        for seed in 0..<2 as Range<UInt64> { #expect(try test.run(order, seed: seed) == expected) }
    }

    @Test(arguments: ["missing_barrier", "forgets_peers", "short_scan"])
    func mistakesAreNoticed(_ mistake: String) throws {
        let test = Case(Self.shapes[2])
        // By position all tie, so that ties are counted over all warps; by weight digits are counted.
        let order = mistake == "forgets_peers" ? Int(MC_QUEUE_POSITION) : Int(MC_QUEUE_WEIGHT)
        let expected = test.expected(order)
        let caught = (0..<4 as Range<UInt64>).count {
            (try? test.run(order, seed: $0, mistake: "+" + mistake)) != expected
        }
        #expect(caught >= 3)
    }

    @Test func weightsOfWhatIsLeft() throws {
        let (tokens, slots) = (300, 3)
        var generator = Generator(state: 8)
        let weights = (0..<tokens * slots).map { _ in Float.random(in: 0...1, using: &generator) }
        // Now and then a token loses all.
        let kept = (0..<tokens * slots).map { _ in UInt8.random(in: 0...1, using: &generator) }
        let lent = (DeviceArray(weights), DeviceArray(kept))
        for (rule, minimum) in [
            (MC_RENORMALISE_NONE, 0), (MC_RENORMALISE_ALL, 0), (MC_RENORMALISE_ALL, 1.5), (MC_RENORMALISE_KEPT, 0),
            (MC_RENORMALISE_KEPT, 1.5),
        ] as [(Int, Float)] {
            let applied = DeviceArray([Float](repeating: .nan, count: tokens * slots))
            var parameters = mc_weigh_parameters()
            parameters.weights = UnsafePointer(lent.0.start)
            parameters.kept = UnsafePointer(lent.1.start)
            parameters.applied = applied.start
            parameters.tokens = Int32(tokens)
            parameters.slots = Int32(slots)
            parameters.rule = Int32(rule)
            parameters.minimum = minimum
            try withExtendedLifetime(lent) {
                try launch { ck_capacity_weigh("capacity_weigh", &parameters, 1, 2, $0, $1) }
            }
            // The CPU backend's own sums, in the order of the slots: equal to the last bit.
            let expected = (0..<tokens * slots).map { pair -> Float in
                let token = pair / slots * slots
                var divisor: Float = 1
                if rule != Int(MC_RENORMALISE_NONE) {
                    var sum: Float = 0
                    for i in token..<token + slots where rule == Int(MC_RENORMALISE_ALL) || kept[i] != 0 {
                        sum += weights[i]
                    }
                    divisor = max(sum, minimum)
                }
                return kept[pair] != 0 && divisor != 0 ? weights[pair] / divisor : 0
            }
            #expect(applied.elements == expected)
        }
    }

    @Test(arguments: [
        (1, 3, 1, false), (33, 5, 7, true), (300, 4, 75, false), (300, 4, 75, true), (40, 130, 3, true),
        (5, 512, 2, false),
    ])
    func expertsChooseTokens(_ tokens: Int, _ experts: Int, _ most: Int, _ masked: Bool) throws {
        var generator = Generator(state: UInt64(tokens + experts))
        // Both signs, both zeros, and many that are equal.
        let scores = (0..<tokens * experts).map { _ in Float(Int.random(in: -6...6, using: &generator)) * -0.25 }
        let mask = (0..<tokens).map { $0 % 4 == 1 ? 0 : 1 as UInt8 }
        let real = (0..<tokens).filter { !masked || mask[$0] != 0 }
        let limit = min(most, real.count)
        var chosen = [[Int]](repeating: [], count: tokens)
        for expert in 0..<experts {
            let order = real.sorted { a, b in
                let (first, second) = (scores[a * experts + expert], scores[b * experts + expert])
                return first != second ? first > second : a < b
            }
            for token in order.prefix(limit) { chosen[token].append(expert) }
        }
        let (weights, lentMask) = (DeviceArray(scores), DeviceArray(mask))
        defer { withExtendedLifetime(lentMask) {} }
        let kept = DeviceArray([UInt8](repeating: 9, count: tokens * experts))
        let indices = DeviceArray([Int32](repeating: -9, count: tokens * experts))
        var parameters = mc_choose_parameters()
        parameters.mask = masked ? UnsafePointer(lentMask.start) : nil
        parameters.weights = weights.start
        parameters.chosen = indices.start
        parameters.kept = kept.start
        parameters.tokens = Int32(tokens)
        parameters.experts = Int32(experts)
        parameters.limit = Int32(limit)
        for kernel in ["capacity_choose", "capacity_gather"] {
            try launch { ck_capacity_choose(kernel, &parameters, 2, 6, $0, $1) }
        }
        for (token, taken) in chosen.enumerated() {
            let row = token * experts..<(token + 1) * experts
            let others = (0..<experts).filter { !taken.contains($0) }
            #expect(Array(indices.elements[row]) == (taken + others).map(Int32.init))
            let marks = [UInt8](repeating: 1, count: taken.count) + [UInt8](repeating: 0, count: others.count)
            #expect(Array(kept.elements[row]) == marks)
            let left = taken.map { scores[token * experts + $0] } + [Float](repeating: 0, count: others.count)
            #expect(Array(weights.elements[row]) == left)
        }
    }
}
