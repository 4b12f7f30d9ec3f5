import Foundation

@testable import MoEKernel

/// A layer of any published family as its definition reads, token by token and in Double: what a configuration means and what
/// a weight source hands out, without anything of the library's own stages.
struct PlainModelLayer {
    let configuration: MoEConfiguration
    let source: any WeightSource

    struct Input {
        /// A token's activations each.
        var x: [[Double]]
        var sequences = 1
        var tokenIDs: [Int]?
        /// False for padding.
        var isReal: [Bool]?
    }

    struct Output {
        var y: [[Double]]
        var logits: [[Double]]
        /// A token's experts, best first.
        var chosen: [[Int]]
        /// Weights by expert, as applied.
        var combine: [[Double]]
    }

    func forward(_ input: Input) throws -> Output {
        let c = configuration
        let weights = Weights(configuration: c, source: source)
        let tokens = input.x.count
        let router = try weights[.router]
        let table = try expertTable()
        var logits: [[Double]] = []
        var chosen: [[Int]] = []
        var chosenWeights: [[Double]] = []
        for token in 0..<tokens {
            let z = plus(
                product(router, try routerInput(input.x[token], weights)),
                c.router.hasBias ? try weights[.routerBias].elements : nil)
            logits.append(z)
            let (experts, values) = try route(z, weights, table.map { row(of: $0, input.tokenIDs![token]) })
            chosen.append(experts)
            chosenWeights.append(values)
        }
        let kept = capacityKept(chosen, chosenWeights, input)
        if let rule = c.capacity.rule {
            for token in 0..<tokens {
                let keptWeights = zip(chosenWeights[token], kept[token]).map { $1 ? $0 : 0 }
                switch rule.renormalisation {
                case .none: chosenWeights[token] = keptWeights
                case .allChoices(let minimum):
                    let sum = max(chosenWeights[token].reduce(0, +), Double(minimum))
                    chosenWeights[token] = keptWeights.map { $0 / sum }
                case .keptChoices(let minimum):
                    let sum = max(keptWeights.reduce(0, +), Double(minimum))
                    chosenWeights[token] = keptWeights.map { $0 / sum }
                }
            }
        }

        let latentIn = c.latent == nil ? nil : try weights[.latentIn]
        let latentOut = c.latent == nil ? nil : try weights[.latentOut]
        let outputBias = c.hasOutputBias ? try weights[.outputBias].elements : nil
        var output = Output(y: [], logits: logits, chosen: chosen, combine: [])
        for token in 0..<tokens {
            let x = input.x[token]
            let inner = latentIn.map { product($0, x) } ?? x
            var sum = [Double](repeating: 0, count: inner.count)
            var combine = [Double](repeating: 0, count: c.choices)
            for (expert, weight) in zip(chosen[token], chosenWeights[token]) where weight != 0 {
                combine[expert] = weight
                if expert >= c.experts {
                    for index in sum.indices { sum[index] += weight * inner[index] }
                    continue
                }
                let isInput = c.weightSide == .input
                let output = try run(isInput ? inner.map { $0 * weight } : inner, weights, .expert(expert))
                let factor = (isInput ? 1 : weight) * Double(c.expertOutputScale)
                for index in sum.indices { sum[index] += factor * output[index] }
            }
            var y = latentOut.map { product($0, sum) } ?? sum
            if c.shared != .none {
                let gate = c.shared.isGated ? sigmoid(product(try weights[.sharedGate], x)[0]) : 1
                let shared = try run(x, weights, .shared).map { $0 * gate }
                y = zip(y, shared).map { c.sharedCombine == .average ? ($0 + $1) / 2 : $0 + $1 }
            }
            output.y.append(plus(y, outputBias))
            output.combine.append(combine)
        }
        return output
    }

    // MARK: Router

    private func routerInput(_ x: [Double], _ weights: Weights) throws -> [Double] {
        guard case .rootMeanSquareNormalised(let epsilon, let scale) = configuration.router.input else { return x }
        let mean = x.reduce(0) { $0 + $1 * $1 } / Double(x.count)
        let factor = Double(scale) / (mean + Double(epsilon)).squareRoot()
        return zip(x, try weights[.routerInputScale].elements).map { $0 * $1 * factor }
    }

    private func route(_ z: [Double], _ weights: Weights, _ listed: [Int]?) throws -> ([Int], [Double]) {
        let router = configuration.router
        let k = configuration.topK
        if case .sparseMixer(let epsilon) = router.selection { return sparseMixer(z, Double(epsilon)) }
        let scores: [Double] =
            switch router.score {
            case .softmax: softmax(z)
            case .sigmoid: z.map(sigmoid)
            case .sqrtSoftplus: z.map { log1p(exp($0)).squareRoot() }
            case .logits: z
            }
        var keys = plus(scores, router.hasSelectionBias ? try weights[.selectionBias].elements : nil)
        if case .grouped(let groups, let keep, let rank) = router.selection {
            let size = keys.count / groups
            let ranks = (0..<groups).map { group in
                let sorted = keys[group * size..<(group + 1) * size].sorted(by: >)
                return rank == .max ? sorted[0] : sorted[0] + sorted[1]
            }
            let best = Set(top(keep, ranks))
            for index in keys.indices where !best.contains(index / size) { keys[index] = -.infinity }
        }
        let experts = listed ?? top(k, keys)
        var values = experts.map { scores[$0] }
        switch router.weightTransform {
        case .none: break
        case .softmaxOverSelected: values = softmax(values)
        case .sigmoid: values = values.map(sigmoid)
        }
        switch router.normalisation {
        case .none: break
        case .sum(let epsilon):
            let sum = values.reduce(0, +) + Double(epsilon)
            values = values.map { $0 / sum }
        case .clampedSum(let minimum):
            let sum = max(values.reduce(0, +), Double(minimum))
            values = values.map { $0 / sum }
        case .norm(let p):
            let norm = pow(values.reduce(0) { $0 + pow(abs($1), Double(p)) }, 1 / Double(p))
            values = values.map { $0 / norm }
        }
        values = values.map { $0 * Double(router.scale) }
        if router.hasExpertScale {
            let scale = try weights[.expertScale].elements
            values = zip(experts, values).map { scale[$0] * $1 }
        }
        return (experts, values)
    }

    private func sparseMixer(_ z: [Double], _ epsilon: Double) -> ([Int], [Double]) {
        var experts: [Int] = []
        var values: [Double] = []
        for _ in 0..<2 {
            var left = z
            for expert in experts { left[expert] = -.infinity }
            let expert = top(1, left)[0]
            let highest = left[expert]
            let survivors = z.indices.filter { index in
                left[index].isFinite
                    && !((highest - z[index]) / max(abs(z[index]), highest) > 2 * epsilon)
            }
            values.append(1 / survivors.reduce(0) { $0 + exp(left[$1] - highest) })
            experts.append(expert)
        }
        return (experts, values)
    }

    private func expertTable() throws -> [Int32]? {
        guard case .table(let vocabulary) = configuration.router.selection else { return nil }
        var table = [Int32](repeating: -1, count: vocabulary * configuration.topK)
        try table.withUnsafeMutableBufferPointer { try source.readIndices(.expertTable, into: $0) }
        return table
    }

    private func row(of table: [Int32], _ index: Int) -> [Int] {
        table[index * configuration.topK..<(index + 1) * configuration.topK].map(Int.init)
    }

    /// Which choices find room.
    private func capacityKept(_ chosen: [[Int]], _ weights: [[Double]], _ input: Input) -> [[Bool]] {
        var kept = chosen.map { $0.map { _ in true } }
        guard let rule = configuration.capacity.rule else { return kept }
        let tokens = chosen.count
        let length = rule.scope == .sequence ? tokens / input.sequences : tokens
        for start in stride(from: 0, to: tokens, by: length) {
            let limit = rule.limit.choices(tokens: length, experts: configuration.choices, topK: configuration.topK)
            var order = Array(start..<start + length)
            if rule.order == .tokenPriority {
                order.sort { weights[$0].max()! > weights[$1].max()! }
            }
            var taken = [Int](repeating: 0, count: configuration.choices)
            func queue(_ token: Int, _ slot: Int) {
                if rule.dropsPadding, input.isReal?[token] == false {
                    kept[token][slot] = false
                    return
                }
                kept[token][slot] = taken[chosen[token][slot]] < limit
                taken[chosen[token][slot]] += 1
            }
            if rule.order == .position {
                for token in order { for slot in chosen[token].indices { queue(token, slot) } }
            } else {
                for slot in 0..<configuration.topK { for token in order { queue(token, slot) } }
            }
        }
        return kept
    }

    // MARK: Experts

    private enum Which {
        case expert(Int)
        case shared
    }

    private func run(_ x: [Double], _ weights: Weights, _ which: Which) throws -> [Double] {
        func linear(_ projection: Projection, _ x: [Double]) throws -> [Double] {
            switch which {
            case .expert(let expert):
                plus(
                    product(try weights[.expert(expert, projection)], x),
                    configuration.expert.hasBiases ? try weights[.expertBias(expert, projection)].elements : nil)
            case .shared:
                plus(
                    product(try weights[.shared(projection)], x),
                    configuration.hasSharedBiases ? try weights[.sharedBias(projection)].elements : nil)
            }
        }
        let up = try linear(.up, x)
        switch configuration.expert {
        case .plain(let activation, _):
            return try linear(.down, up.map { act(activation, $0) })
        case .gated(let activation, _):
            return try linear(.down, zip(linear(.gate, x), up).map { act(activation, $0) * $1 })
        case .gatedClamped(let clamp, _):
            let limit = Double(clamp.limit)
            return try linear(
                .down,
                zip(linear(.gate, x), up).map { gate, up in
                    let g = min(gate, limit)
                    return g * sigmoid(Double(clamp.alpha) * g)
                        * (max(min(up, limit), -limit) + Double(clamp.upOffset))
                })
        }
    }

    private func act(_ activation: Activation, _ a: Double) -> Double {
        switch activation {
        case .silu: a * sigmoid(a)
        case .gelu: a * erfc(-a / 2.squareRoot()) / 2
        case .geluTanh: a * (1 + tanh((2 / Double.pi).squareRoot() * (a + 0.044715 * a * a * a))) / 2
        case .quickGelu: a * sigmoid(1.702 * a)
        case .relu: max(a, 0)
        case .reluSquared: max(a, 0) * max(a, 0)
        }
    }

    // MARK: Arithmetic

    private struct Matrix {
        let columns: Int
        let elements: [Double]
    }

    private final class Weights {
        let configuration: MoEConfiguration
        let source: any WeightSource
        private var held: [WeightName: Matrix] = [:]

        init(configuration: MoEConfiguration, source: any WeightSource) {
            (self.configuration, self.source) = (configuration, source)
        }

        subscript(name: WeightName) -> Matrix {
            get throws {
                if let matrix = held[name] { return matrix }
                let matrix = Matrix(
                    columns: configuration.shape(of: name).columns,
                    elements: try source.floats(name, configuration).map(Double.init))
                held[name] = matrix
                return matrix
            }
        }
    }

    private func product(_ matrix: Matrix, _ x: [Double]) -> [Double] {
        precondition(matrix.columns == x.count)
        return stride(from: 0, to: matrix.elements.count, by: max(x.count, 1)).map { start in
            x.indices.reduce(0) { $0 + matrix.elements[start + $1] * x[$1] }
        }
    }

    private func plus(_ a: [Double], _ b: [Double]?) -> [Double] { b.map { zip(a, $0).map(+) } ?? a }

    private func sigmoid(_ a: Double) -> Double { 1 / (1 + exp(-a)) }

    private func softmax(_ z: [Double]) -> [Double] {
        let highest = z.max()!
        let powers = z.map { exp($0 - highest) }
        let sum = powers.reduce(0, +)
        return powers.map { $0 / sum }
    }

    /// The indices of the largest, ties to the lower index.
    private func top(_ count: Int, _ values: [Double]) -> [Int] {
        Array(values.indices.sorted { (values[$0], -$0) > (values[$1], -$1) }.prefix(count))
    }
}
