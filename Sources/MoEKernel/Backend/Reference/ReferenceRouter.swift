import CPlatform

/// What the reference router decides, in float64.
struct ReferenceRouting {
    /// [tokens, slots]
    var indices: [Int32] = []
    var weights: [Double] = []
    var kept: [Bool] = []
    var applied: [Double] = []
    /// [tokens]
    var margins: [Double] = []
}

/// Routing as its definitions read: every score, then sorting.
struct ReferenceRouter {
    struct Vectors {
        var bias: [Double]?
        var expertScale: [Double]?
        var table: [Int32] = []
    }

    let configuration: MoEConfiguration
    let vectors: Vectors

    private typealias Choice = (experts: [Int], weights: [Double], margin: Double)

    /// - Parameters:
    ///   - logits: [tokens, choices]
    ///   - groups: [tokens, groups], logits of a hierarchical router's upper level.
    func route(_ logits: [Double], groups: [Double], tokens: Int, _ context: TokenContext) -> ReferenceRouting {
        let c = configuration
        var routing = ReferenceRouting()
        func row(_ values: [Double], _ token: Int, _ width: Int) -> [Double] {
            Array(values[token * width..<(token + 1) * width])
        }
        if c.router.isExpertChoice {
            return expertChoice((0..<tokens).map { scores(row(logits, $0, c.choices)) }, context)
        }
        for token in 0..<tokens {
            let z = row(logits, token, c.choices)
            var choice: Choice =
                switch c.router.selection {
                case .sparseMixer(let epsilon): sparseMixer(z, Double(epsilon))
                case .hierarchical(let count, let keep): hierarchical(z, row(groups, token, count), keep)
                case .table:
                    tabled(z, (0..<c.topK).map { Int(vectors.table[Int(context.tokenIDs[token]) * c.topK + $0]) })
                default: best(z)
                }
            choice.weights = normalised(transformed(choice.weights))
            for slot in choice.weights.indices {
                choice.weights[slot] *= Double(c.router.scale) * (vectors.expertScale?[choice.experts[slot]] ?? 1)
            }
            routing.indices += choice.experts.map(Int32.init)
            routing.weights += choice.weights
            routing.margins.append(choice.margin)
        }
        routing.kept = Array(repeating: true, count: routing.weights.count)
        routing.applied = routing.weights
        if let rule = c.capacity.rule { drop(rule, context, tokens, &routing) }
        return routing
    }

    // MARK: Choosing

    private func scores(_ z: [Double]) -> [Double] {
        switch configuration.router.score {
        case .softmax:
            let highest = z.max()!
            let exponentials = z.map { exp($0 - highest) }
            let sum = exponentials.reduce(0, +)
            return exponentials.map { $0 / sum }
        case .sigmoid: return z.map { 1 / (1 + exp(-$0)) }
        case .sqrtSoftplus: return z.map { (max($0, 0) + log1p(exp(-abs($0)))).squareRoot() }
        case .logits: return z
        }
    }

    /// Indices by descending key, ties to the lower index.
    private func ordered(_ keys: [Double], _ indices: some Sequence<Int>) -> [Int] {
        indices.sorted { keys[$0] != keys[$1] ? keys[$0] > keys[$1] : $0 < $1 }
    }

    private func margin(_ keys: [Double], _ order: [Int], _ k: Int) -> Double {
        k < order.count ? keys[order[k - 1]] - keys[order[k]] : .infinity
    }

    private func best(_ z: [Double]) -> Choice {
        let c = configuration
        let all = scores(z)
        let keys = vectors.bias.map { zip(all, $0).map(+) } ?? z
        var eligible = Array(keys.indices)
        var groupMargin = Double.infinity
        if case .grouped(let count, let keep, let score) = c.router.selection {
            let size = c.choices / count
            let groupKeys = vectors.bias == nil && score == .topTwoSum ? all : keys
            let ranks = (0..<count).map { group in
                let members = groupKeys[group * size..<(group + 1) * size].sorted(by: >)
                return score == .max ? members[0] : members[0] + members[1]
            }
            let order = ordered(ranks, 0..<count)
            groupMargin = margin(ranks, order, keep)
            let chosen = Set(order.prefix(keep))
            eligible = eligible.filter { chosen.contains($0 / size) }
        }
        let order = ordered(keys, eligible)
        let chosen = Array(order.prefix(c.topK))
        return (chosen, chosen.map { all[$0] }, min(groupMargin, margin(keys, order, c.topK)))
    }

    private func tabled(_ z: [Double], _ experts: [Int]) -> Choice {
        let all = scores(z)
        return (experts, experts.map { all[$0] }, .infinity)
    }

    private func sparseMixer(_ z: [Double], _ epsilon: Double) -> Choice {
        let order = ordered(z, z.indices)
        let weights = (0..<2).map { round in
            let top = z[order[round]]
            let survivors = z.indices.filter { index in
                let distance = (top - z[index]) / max(abs(z[index]), top)
                return !(distance > 2 * epsilon) && !(round == 1 && index == order[0])
            }
            return 1 / survivors.reduce(0) { $0 + exp(z[$1] - top) }
        }
        return (Array(order.prefix(2)), weights, min(margin(z, order, 1), margin(z, order, 2)))
    }

    private func hierarchical(_ z: [Double], _ groupLogits: [Double], _ keep: Int) -> Choice {
        let size = z.count / groupLogits.count
        let each = configuration.topK / keep
        let order = ordered(groupLogits, groupLogits.indices)
        let groupScores = scores(groupLogits)
        var choice: Choice = ([], [], margin(groupLogits, order, keep))
        for group in order.prefix(keep) {
            let members = group * size..<(group + 1) * size
            let inner = scores(Array(z[members]))
            let best = ordered(z, members)
            choice.margin = min(choice.margin, margin(z, best, each))
            for expert in best.prefix(each) {
                choice.experts.append(expert)
                choice.weights.append(groupScores[group] * inner[expert - members.lowerBound])
            }
        }
        return choice
    }

    private func expertChoice(_ scores: [[Double]], _ context: TokenContext) -> ReferenceRouting {
        let c = configuration
        let real = scores.indices.filter { context.attentionMask.isEmpty || context.attentionMask[$0] }
        let capacity = min((real.count * c.topK + c.choices - 1) / c.choices, real.count)
        var routing = ReferenceRouting()
        routing.margins = Array(repeating: .infinity, count: scores.count)
        var chosen = Array(repeating: [Int](), count: scores.count)
        for expert in 0..<c.choices {
            let order = real.sorted {
                let (a, b) = (scores[$0][expert], scores[$1][expert])
                return a != b ? a > b : $0 < $1
            }
            for token in order.prefix(capacity) { chosen[token].append(expert) }
            guard capacity > 0, capacity < order.count else { continue }
            // Either side of the line may swap.
            let (last, next) = (order[capacity - 1], order[capacity])
            for token in [last, next] {
                routing.margins[token] = min(routing.margins[token], scores[last][expert] - scores[next][expert])
            }
        }
        for (token, experts) in chosen.enumerated() {
            let others = (0..<c.choices).filter { !experts.contains($0) }
            routing.indices += (experts + others).map(Int32.init)
            routing.weights += experts.map {
                scores[token][$0] * Double(c.router.scale) * (vectors.expertScale?[$0] ?? 1)
            }
            routing.weights += others.map { _ in 0 }
            routing.kept += experts.map { _ in true } + others.map { _ in false }
        }
        routing.applied = routing.weights
        return routing
    }

    // MARK: Weighing

    private func transformed(_ weights: [Double]) -> [Double] {
        switch configuration.router.weightTransform {
        case .none: return weights
        case .softmaxOverSelected:
            let highest = weights.max()!
            let exponentials = weights.map { exp($0 - highest) }
            let sum = exponentials.reduce(0, +)
            return exponentials.map { $0 / sum }
        case .sigmoid: return weights.map { 1 / (1 + exp(-$0)) }
        }
    }

    private func normalised(_ weights: [Double]) -> [Double] {
        let sum = weights.reduce(0, +)
        let divisor: Double =
            switch configuration.router.normalisation {
            case .none: 1
            case .sum(let epsilon): sum + Double(epsilon)
            case .clampedSum(let minimum): max(sum, Double(minimum))
            case .norm(let p): pow(weights.reduce(0) { $0 + pow(abs($1), Double(p)) }, 1 / Double(p))
            }
        return divisor == 0 ? weights : weights.map { $0 / divisor }
    }

    // MARK: Dropping

    private func capacity(_ limit: CapacityLimit, tokens: Int) -> Int {
        let evenShare = Double(tokens) / Double(configuration.choices)
        return switch limit {
        case .fixed(let count): count
        case .factor(let factor): max(Int(ceil(factor * evenShare * Double(configuration.topK) - 1e-9)), 1)
        case .tokenFraction(let fraction): Int(ceil(fraction * Double(tokens)))
        case .twiceEvenShare: 2 * Int(ceil(evenShare))
        }
    }

    private func drop(_ rule: CapacityRule, _ context: TokenContext, _ tokens: Int, _ routing: inout ReferenceRouting) {
        let c = configuration
        let k = c.topK
        let span = rule.scope == .sequence ? context.sequenceLength ?? tokens : tokens
        for first in stride(from: 0, to: tokens, by: max(span, 1)) {
            let range = first..<min(first + span, tokens)
            let limit = context.capacity ?? capacity(rule.limit, tokens: range.count)
            let pairs = range.flatMap { token in (0..<k).map { (token: token, slot: $0) } }
            let weights = routing.weights
            func best(_ token: Int) -> Double { weights[token * k..<(token + 1) * k].max()! }
            func pair(_ choice: (token: Int, slot: Int)) -> Int { choice.token * k + choice.slot }
            let queue =
                switch rule.order {
                case .position: pairs
                case .choiceRank: pairs.sorted { ($0.slot, $0.token) < ($1.slot, $1.token) }
                case .tokenPriority:
                    pairs.sorted { ($0.slot, -best($0.token), $0.token) < ($1.slot, -best($1.token), $1.token) }
                case .weight: pairs.sorted { (-weights[pair($0)], pair($0)) < (-weights[pair($1)], pair($1)) }
                }
            var served = [Int](repeating: 0, count: c.choices)
            for choice in queue {
                let index = pair(choice)
                let expert = Int(routing.indices[index])
                if rule.dropsPadding, !context.attentionMask.isEmpty, !context.attentionMask[choice.token] {
                    routing.kept[index] = false
                    continue
                }
                routing.kept[index] = expert >= c.experts || served[expert] < limit
                served[expert] += 1
            }
        }
        for token in 0..<tokens {
            let pairs = token * k..<(token + 1) * k
            let divisor: Double =
                switch rule.renormalisation {
                case .none: 1
                case .allChoices(let minimum): max(routing.weights[pairs].reduce(0, +), Double(minimum))
                case .keptChoices(let minimum):
                    max(pairs.reduce(0) { $0 + (routing.kept[$1] ? routing.weights[$1] : 0) }, Double(minimum))
                }
            for pair in pairs {
                routing.applied[pair] = routing.kept[pair] && divisor != 0 ? routing.weights[pair] / divisor : 0
            }
        }
    }
}
