import CUDAKernelHost
import Foundation
import Testing

/// The selection kernels, run on the CPU, against the router's definitions in Double.
@Suite struct RouterSelectTests {
    enum Logits: CaseIterable {
        /// Real numbers; four whole ones, with many ties; ones that overflow what follows; poisoned ones.
        case real, whole, large, poisoned
    }

    struct Router: CustomTestStringConvertible {
        var experts: Int
        var slots: Int
        var score = Int(MC_SCORE_SOFTMAX)
        var selection = Int(MC_SELECT_TOP)
        var biased = false
        var groups = 1
        var keptGroups = 1
        var transform = Int(MC_TRANSFORM_NONE)
        var normalisation = Int(MC_NORMALISE_NONE)
        var number: Float = 0
        var scale: Float = 1
        var scaled = false

        var testDescription: String {
            "E \(experts), k \(slots), score \(score), selection \(selection)\(biased ? " biased" : ""), "
                + "groups \(keptGroups) of \(groups), transform \(transform), normalisation \(normalisation)"
        }
    }

    static let vocabulary = 5
    static let epsilon: Float = 0.01

    /// What a token's router decides.
    struct Decision {
        var experts: [Int]
        var weights: [Double]
        /// Whether keys are nearer to each other than fp32 tells apart, but not equal.
        var isNear = false
    }

    /// The definitions, in Double: every score, then sorting.
    struct Reference {
        let router: Router
        let bias: [Float]
        let scales: [Float]

        private static func usable(_ z: Float) -> Double {
            let limit = Float.greatestFiniteMagnitude
            return Double(z.isNaN ? -limit : min(max(z, -limit), limit))
        }

        private func scores(_ z: [Double]) -> [Double] {
            switch router.score {
            case Int(MC_SCORE_SOFTMAX): return Self.softmax(z)
            case Int(MC_SCORE_SIGMOID): return z.map { 1 / (1 + exp(-$0)) }
            case Int(MC_SCORE_SQRT_SOFTPLUS): return z.map { (max($0, 0) + log1p(exp(-abs($0)))).squareRoot() }
            default: return z
            }
        }

        private static func softmax(_ z: [Double]) -> [Double] {
            let highest = z.max()!
            let exponentials = z.map { exp($0 - highest) }
            let sum = exponentials.reduce(0, +)
            return exponentials.map { $0 / sum }
        }

        /// The `count` best, best first, ties to the lower index.
        private func best(_ keys: [Double], _ indices: some Sequence<Int>, _ count: Int) -> [Int] {
            let order = indices.sorted { keys[$0] != keys[$1] ? keys[$0] > keys[$1] : $0 < $1 }
            return Array(order.prefix(count))
        }

        /// Whether two of the `count` + 1 best keys, which fp32 had to compute, are closer than it tells apart. Equal
        /// ones are equal there too: they come from equal numbers.
        private func areNear(_ keys: [Double], _ indices: some Sequence<Int>, _ count: Int) -> Bool {
            let order = best(keys, indices, count + 1)
            let magnitude = order.map { abs(keys[$0]) }.max() ?? 0
            return zip(order, order.dropFirst()).contains { a, b in
                let gap = keys[a] - keys[b]
                return gap > 0 && gap < 1e-6 * magnitude
            }
        }

        func decide(_ row: [Float], groupRow: [Float], listed: [Int]) -> Decision {
            let z = row.map(Self.usable)
            let k = router.slots
            var decision = Decision(experts: [], weights: [])
            let all = scores(z)
            switch router.selection {
            case Int(MC_SELECT_SPARSE_MIXER):
                decision.experts = best(z, z.indices, 2)
                for round in 0..<2 {
                    let top = z[decision.experts[round]]
                    let survivors = z.indices.filter { index in
                        let distance = (top - z[index]) / max(abs(z[index]), top)
                        return !(distance > 2 * Double(RouterSelectTests.epsilon))
                            && !(round == 1 && index == decision.experts[0])
                    }
                    decision.weights.append(1 / survivors.reduce(0) { $0 + exp(z[$1] - top) })
                }
            case Int(MC_SELECT_HIERARCHICAL):
                let (size, each) = (router.experts / router.groups, k / router.keptGroups)
                let upper = groupRow.map(Self.usable)
                let upperScores = scores(upper)
                for group in best(upper, upper.indices, router.keptGroups) {
                    let members = group * size..<(group + 1) * size
                    let inner = scores(Array(z[members]))
                    for expert in best(z, members, each) {
                        decision.experts.append(expert)
                        decision.weights.append(upperScores[group] * inner[expert - members.lowerBound])
                    }
                }
            case Int(MC_SELECT_TABLE): decision.experts = listed
            case Int(MC_SELECT_EVERY): decision.experts = Array(z.indices)
            default:
                let keys = router.biased ? zip(all, bias).map { $0 + Double($1) } : z
                var eligible = Array(z.indices)
                if router.selection != Int(MC_SELECT_TOP) {
                    let byTwo = router.selection == Int(MC_SELECT_GROUPS_BY_TOP_TWO)
                    let groupKeys = byTwo && !router.biased ? all : keys
                    let size = router.experts / router.groups
                    let ranks = (0..<router.groups).map { group in
                        let members = groupKeys[group * size..<(group + 1) * size].sorted(by: >)
                        return byTwo ? members[0] + members[1] : members[0]
                    }
                    if router.biased || byTwo { decision.isNear = areNear(ranks, ranks.indices, router.keptGroups) }
                    let kept = Set(best(ranks, ranks.indices, router.keptGroups))
                    eligible = eligible.filter { kept.contains($0 / size) }
                }
                if router.biased { decision.isNear = decision.isNear || areNear(keys, eligible, k) }
                decision.experts = best(keys, eligible, k)
            }
            if decision.weights.isEmpty { decision.weights = decision.experts.map { all[$0] } }
            weigh(&decision)
            return decision
        }

        private func weigh(_ decision: inout Decision) {
            var weights = decision.weights
            switch router.transform {
            case Int(MC_TRANSFORM_SOFTMAX): weights = Self.softmax(weights)
            case Int(MC_TRANSFORM_SIGMOID): weights = weights.map { 1 / (1 + exp(-$0)) }
            default: break
            }
            let (sum, number) = (weights.reduce(0, +), Double(router.number))
            let divisor: Double =
                switch router.normalisation {
                case Int(MC_NORMALISE_SUM): sum + number
                case Int(MC_NORMALISE_CLAMPED_SUM): max(sum, number)
                case Int(MC_NORMALISE_NORM): pow(weights.reduce(0) { $0 + pow(abs($1), number) }, 1 / number)
                default: 1
                }
            let limit = Double(Float.greatestFiniteMagnitude)
            decision.weights = zip(decision.experts, weights).map { expert, weight in
                let factor = Double(router.scale) * (router.scaled ? Double(scales[expert]) : 1)
                return min(max((divisor == 0 ? weight : weight / divisor) * factor, -limit), limit)
            }
        }
    }

    struct Case {
        let router: Router
        let kind: Logits
        let tokens: Int
        let stride: Int
        let logits: DeviceArray<Float>
        let bias: DeviceArray<Float>
        let scales: DeviceArray<Float>
        var table: DeviceArray<Int32>
        var ids: DeviceArray<Int32>
        /// Logits of an upper router stand at the end of a row.
        var groupColumn: Int { stride - router.groups }
        var chunk: Int { max(1, tokens / 2) }

        init(_ router: Router, _ kind: Logits, tokens: Int) {
            (self.router, self.kind, self.tokens) = (router, kind, tokens)
            stride = router.experts + router.groups + 2
            var generator = Generator(state: UInt64(router.experts * 100 + router.slots * 10 + router.score))
            // No two pairs of their scores have the same sum.
            let whole: [Float] = [-2, 0, 1, 3]
            let poison: [Float] = [
                .nan, .infinity, -.infinity, 0, -0.0, .greatestFiniteMagnitude, -.greatestFiniteMagnitude,
            ]
            logits = DeviceArray(
                (0..<tokens * stride).map { _ -> Float in
                    switch kind {
                    case .real: Float.random(in: -6...6, using: &generator)
                    case .whole: whole.randomElement(using: &generator)!
                    case .large: Float.random(in: -300...300, using: &generator)
                    case .poisoned:
                        Int.random(in: 0..<5, using: &generator) == 0
                            ? poison.randomElement(using: &generator)! : Float.random(in: -2...2, using: &generator)
                    }
                })
            // Biases of few values, so that equal logits tie with their biases too.
            bias = DeviceArray((0..<router.experts).map { _ in Float(Int.random(in: -1...1, using: &generator)) / 4 })
            scales = DeviceArray((0..<router.experts).map { _ in Float.random(in: 0.5...2, using: &generator) })
            table = DeviceArray(
                (0..<RouterSelectTests.vocabulary * router.slots).map { _ in
                    Int32.random(in: 0..<Int32(router.experts), using: &generator)
                })
            ids = DeviceArray((0..<tokens).map { Int32($0 * 3 % RouterSelectTests.vocabulary) })
        }

        struct Result: Equatable {
            var experts: [Int32]
            var weights: [Float]
            var blockCounts: [Int32]
        }

        /// Runs the kernel into poisoned memory.
        func run(seed: UInt64, mistake: String = "") throws -> Result {
            let (pairs, blocks) = (tokens * router.slots, (tokens + chunk - 1) / chunk)
            let experts = DeviceArray([Int32](repeating: -9, count: pairs))
            let weights = DeviceArray([Float](repeating: .nan, count: pairs))
            let counts = DeviceArray([Int32](repeating: -9, count: blocks * router.experts))
            var parameters = mc_select_parameters()
            parameters.logits = UnsafePointer(logits.start)
            parameters.selection_bias = router.biased ? UnsafePointer(bias.start) : nil
            parameters.expert_scale = router.scaled ? UnsafePointer(scales.start) : nil
            parameters.table = UnsafePointer(table.start)
            parameters.token_ids = UnsafePointer(ids.start)
            parameters.chosen = experts.start
            parameters.weights = weights.start
            parameters.block_counts = router.selection == Int(MC_SELECT_EVERY) ? nil : counts.start
            parameters.tokens = Int32(tokens)
            parameters.stride = Int32(stride)
            parameters.experts = Int32(router.experts)
            parameters.slots = Int32(router.slots)
            parameters.chunk = Int32(chunk)
            parameters.score = Int32(router.score)
            parameters.selection = Int32(router.selection)
            parameters.groups = Int32(router.groups)
            parameters.kept_groups = Int32(router.keptGroups)
            parameters.group_column = Int32(groupColumn)
            parameters.vocabulary = Int32(RouterSelectTests.vocabulary)
            parameters.transform = Int32(router.transform)
            parameters.normalisation = Int32(router.normalisation)
            parameters.normalisation_number = router.number
            parameters.mixer_epsilon = RouterSelectTests.epsilon
            parameters.scale = router.scale
            let size = [8, 16, 32, 64, 128, 256, 512].first { $0 >= router.experts }!
            let name = "router_select_\(size)" + mistake
            try launch { ck_router_select(name, &parameters, seed, $0, $1) }
            return Result(experts: experts.elements, weights: weights.elements, blockCounts: counts.elements)
        }

        /// Checks experts exactly, weights by norm. Returns what is wrong, in words.
        func faults(_ result: Result) -> [String] {
            let k = router.slots
            let reference = Reference(router: router, bias: bias.elements, scales: scales.elements)
            let (logits, table, ids) = (logits.elements, table.elements, ids.elements)
            var faults: [String] = []
            var near = 0
            var counts = [Int32](repeating: 0, count: result.blockCounts.count)
            for token in 0..<tokens {
                let row = Array(logits[token * stride..<(token + 1) * stride])
                let id = Int(ids[token])
                let expected = reference.decide(
                    Array(row.prefix(router.experts)), groupRow: Array(row.suffix(router.groups)),
                    listed: table[id * k..<(id + 1) * k].map(Int.init))
                let pairs = token * k..<(token + 1) * k
                let experts = result.experts[pairs].map(Int.init)
                if experts.contains(where: { $0 < 0 || $0 >= router.experts }) {
                    faults.append("token \(token): experts \(experts)")
                    continue
                }
                for expert in experts { counts[token / chunk * router.experts + expert] += 1 }
                if expected.isNear {
                    near += 1
                    continue
                }
                if experts != expected.experts { faults.append("token \(token): \(experts), not \(expected.experts)") }
                let weights = result.weights[pairs].map(Double.init)
                if kind == .poisoned || kind == .large {
                    if weights.contains(where: { !$0.isFinite }) { faults.append("token \(token): weights \(weights)") }
                    continue
                }
                let error = Self.norm(zip(weights, expected.weights).map { $0 - $1 })
                let norm = Self.norm(expected.weights)
                if !(error <= bound(row) * norm) { faults.append("token \(token): weights off by \(error / norm)") }
            }
            // A check that skips most would be none.
            if near * 2 > tokens { faults.append("\(near) of \(tokens) tokens are too near to tell") }
            if router.selection != Int(MC_SELECT_EVERY), counts != result.blockCounts {
                faults.append("counts of blocks")
            }
            return faults
        }

        /// What each token's chosen scores add up to.
        var sums: [Double] {
            var plain = router
            plain.normalisation = Int(MC_NORMALISE_NONE)
            let reference = Reference(router: plain, bias: bias.elements, scales: scales.elements)
            let logits = logits.elements
            return (0..<tokens).map { token in
                let row = Array(logits[token * stride..<(token + 1) * stride])
                let decision = reference.decide(Array(row.prefix(router.experts)), groupRow: [], listed: [])
                return decision.weights.reduce(0, +)
            }
        }

        private static func norm(_ values: [Double]) -> Double {
            values.reduce(0.0) { $0 + $1 * $1 }.squareRoot()
        }

        /// How far weights may be off, relative to their norm. In units of 2⁻²⁴: an exponential 2 and what the rounding
        /// of its argument costs, as much as the argument's magnitude, at most the logits' spread; the sum of E of them
        /// E/16 + 4; a reciprocal, a product, a square root or a quotient 1 each; the same again where chosen scores
        /// are transformed; the sum of k and the division 6; two factors 2.
        private func bound(_ row: [Float]) -> Double {
            let spread = Double(row.max()! - row.min()!)
            return (2 * (2 + spread + Double(router.experts) / 16 + 4 + 4) + 6 + 2) * 0x1p-24
        }
    }

    static let scores = [
        Int(MC_SCORE_SOFTMAX), Int(MC_SCORE_SIGMOID), Int(MC_SCORE_SQRT_SOFTPLUS), Int(MC_SCORE_LOGITS),
    ]

    /// Every size of team and of registers; k as large as it gets.
    @Test(arguments: [
        (1, 1), (5, 3), (8, 8), (12, 12), (16, 4), (30, 6), (32, 32), (60, 4), (128, 8), (160, 6), (300, 9), (512, 32),
    ])
    func theBest(_ experts: Int, _ slots: Int) throws {
        for (index, score) in Self.scores.enumerated() {
            for biased in [false, true] {
                var router = Router(experts: experts, slots: slots, score: score, biased: biased)
                // Raw logits are no weights: something follows.
                router.transform = score == Int(MC_SCORE_LOGITS) ? 1 + (biased ? 1 : 0) : (biased ? index : 0)
                router.normalisation = (index + (biased ? 2 : 0)) % 4
                router.number = router.normalisation == Int(MC_NORMALISE_NORM) ? Float(1 + index % 3) : 1e-3
                router.scale = biased ? 2.5 : 1
                router.scaled = index % 2 == 0
                for kind in [Logits.real, .whole] {
                    let test = Case(router, kind, tokens: experts > 100 ? 5 : 19)
                    let faults = test.faults(try test.run(seed: UInt64(index)))
                    #expect(faults == [], "\(router), \(kind)")
                }
            }
        }
    }

    /// Divisors that are what they are in some tokens only, and norms that are neither of 1 nor of 2.
    @Test(arguments: [(8, 3), (40, 4), (128, 8)])
    func everyNormalisation(_ experts: Int, _ slots: Int) throws {
        var router = Router(experts: experts, slots: slots)
        router.normalisation = Int(MC_NORMALISE_CLAMPED_SUM)
        var test = Case(router, .real, tokens: 25)
        // The middle one of the sums is the least divisor: below it some sums are not used.
        let sums = test.sums.sorted()
        router.number = Float(sums[12])
        #expect(sums[0] < sums[12] && sums[12] < sums[24])
        test = Case(router, .real, tokens: 25)
        #expect(test.faults(try test.run(seed: 1)) == [], "clamped sum")
        router.normalisation = Int(MC_NORMALISE_NORM)
        for p in [0.5, 1, 1.5, 2, 2.75, 3] as [Float] {
            router.number = p
            test = Case(router, .real, tokens: 25)
            #expect(test.faults(try test.run(seed: 1)) == [], "norm of \(p)")
        }
    }

    /// Token ids and listed experts that do not exist count as the nearest that do.
    @Test func numbersFromOutsideStayInside() throws {
        var router = Router(experts: 12, slots: 4, selection: Int(MC_SELECT_TABLE))
        router.normalisation = Int(MC_NORMALISE_SUM)
        var test = Case(router, .real, tokens: 6)
        let (last, most) = (Int32(Self.vocabulary - 1), Int32(router.experts - 1))
        let (ids, table) = ([-1, 0, .min, last, last + 1, .max] as [Int32], test.table.elements)
        test.ids = DeviceArray(ids.map { min(max($0, 0), last) })
        let expected = try test.run(seed: 1)
        test.ids = DeviceArray(ids)
        #expect(try test.run(seed: 1) == expected)
        let listed = table.enumerated().map { [$1, most + 1, -1, .max][$0 % 4] }
        test.table = DeviceArray(listed.map { min(max($0, 0), most) })
        let inside = try test.run(seed: 1)
        test.table = DeviceArray(listed)
        #expect(try test.run(seed: 1) == inside)
    }

    /// Bad logits give valid experts and finite weights.
    @Test(arguments: scores)
    func poison(_ score: Int) throws {
        for (experts, slots) in [(7, 2), (16, 4), (100, 8)] {
            for kind in [Logits.poisoned, .large] {
                var router = Router(experts: experts, slots: slots, score: score)
                router.normalisation = Int(MC_NORMALISE_SUM)
                router.number = 1e-20
                router.scale = 3
                let test = Case(router, kind, tokens: 33)
                let faults = test.faults(try test.run(seed: 1))
                #expect(faults == [], "\(router), \(kind)")
            }
        }
    }

    @Test(arguments: [
        (8, 2, 2, 1), (12, 4, 3, 2), (16, 4, 4, 2), (60, 6, 4, 2), (64, 8, 8, 4), (128, 8, 64, 32), (160, 6, 8, 3),
        (256, 8, 8, 4),
    ])
    func theBestOfGroups(_ experts: Int, _ slots: Int, _ groups: Int, _ kept: Int) throws {
        for selection in [Int(MC_SELECT_GROUPS_BY_BEST), Int(MC_SELECT_GROUPS_BY_TOP_TWO)] {
            for biased in [false, true] {
                var router = Router(
                    experts: experts, slots: slots, score: biased ? Int(MC_SCORE_SIGMOID) : Int(MC_SCORE_SOFTMAX),
                    selection: selection, biased: biased, groups: groups, keptGroups: kept)
                router.normalisation = Int(MC_NORMALISE_SUM)
                router.number = 1e-20
                // A sum of two scores and their biases has no ties that survive rounding.
                let kinds: [Logits] =
                    biased && selection == Int(MC_SELECT_GROUPS_BY_TOP_TWO) ? [.real] : [.real, .whole]
                for kind in kinds {
                    let test = Case(router, kind, tokens: experts > 100 ? 4 : 19)
                    let faults = test.faults(try test.run(seed: 2))
                    #expect(faults == [], "\(router), \(kind)")
                }
            }
        }
    }

    @Test(arguments: [(8, 2, 2, 1), (16, 4, 4, 2), (60, 6, 4, 2), (64, 8, 8, 4), (256, 8, 8, 4)])
    func twoLevels(_ experts: Int, _ slots: Int, _ groups: Int, _ kept: Int) throws {
        for score in [Int(MC_SCORE_SOFTMAX), Int(MC_SCORE_SIGMOID), Int(MC_SCORE_SQRT_SOFTPLUS)] {
            var router = Router(
                experts: experts, slots: slots, score: score, selection: Int(MC_SELECT_HIERARCHICAL), groups: groups,
                keptGroups: kept)
            router.normalisation = Int(MC_NORMALISE_SUM)
            for kind in [Logits.real, .whole] {
                let test = Case(router, kind, tokens: 9)
                let faults = test.faults(try test.run(seed: 3))
                #expect(faults == [], "\(router), \(kind)")
            }
        }
    }

    @Test(arguments: [2, 8, 16, 40, 300])
    func sparseMixer(_ experts: Int) throws {
        let router = Router(
            experts: experts, slots: 2, score: Int(MC_SCORE_LOGITS), selection: Int(MC_SELECT_SPARSE_MIXER))
        for kind in [Logits.real, .whole] {
            let test = Case(router, kind, tokens: 13)
            let faults = test.faults(try test.run(seed: 4))
            #expect(faults == [], "\(kind)")
        }
    }

    @Test(arguments: [6, 16, 64, 200])
    func tablesAndEveryExpert(_ experts: Int) throws {
        for score in [Int(MC_SCORE_SOFTMAX), Int(MC_SCORE_SQRT_SOFTPLUS)] {
            var router = Router(experts: experts, slots: 4, score: score, selection: Int(MC_SELECT_TABLE))
            router.normalisation = Int(MC_NORMALISE_SUM)
            var test = Case(router, .real, tokens: 11)
            var faults = test.faults(try test.run(seed: 5))
            #expect(faults == [], "table")
            router = Router(experts: experts, slots: experts, score: score, selection: Int(MC_SELECT_EVERY))
            router.scale = 0.5
            router.scaled = true
            test = Case(router, .real, tokens: 11)
            faults = test.faults(try test.run(seed: 5))
            #expect(faults == [], "every expert")
        }
    }

    @Test func theScheduleDoesNotMatter() throws {
        let router = Router(
            experts: 64, slots: 6, score: Int(MC_SCORE_SIGMOID), selection: Int(MC_SELECT_GROUPS_BY_TOP_TWO),
            biased: true,
            groups: 8, keptGroups: 4)
        let test = Case(router, .whole, tokens: 21)
        let first = try test.run(seed: 0)
        for seed in 1...4 as ClosedRange<UInt64> { #expect(try test.run(seed: seed) == first) }
    }

    @Test(arguments: [(16, "drops_a_lane"), (64, "drops_a_lane"), (64, "missing_barrier")])
    func mistakesAreNoticed(_ experts: Int, _ mistake: String) throws {
        // The weights sum to 1 only if the softmax is whole.
        let test = Case(Router(experts: experts, slots: 4), .real, tokens: 40)
        for seed in 0..<4 as Range<UInt64> {
            let result = try? test.run(seed: seed, mistake: "+" + mistake)
            #expect(result.map { !test.faults($0).isEmpty } ?? true)
        }
    }
}
