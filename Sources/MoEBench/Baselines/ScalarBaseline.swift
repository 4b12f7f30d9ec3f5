import MoEKernel

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// The layer as ordinary Swift: fp32 arrays, nested loops, one thread, compiled like everything else here. What somebody
/// writes who has the formulas and an afternoon.
package final class ScalarBaseline: Implementation {
    package static let name = "scalar"

    package let subject: Subject
    package let work: Work
    private let configuration: MoEConfiguration
    private let inputs: Inputs
    private let router: [Float]
    /// By expert; gate is empty for plain experts.
    private let gate: [[Float]], up: [[Float]], down: [[Float]]
    private var y: [Float]

    package init(
        _ configuration: MoEConfiguration, source: any WeightSource, subject: Subject, work: Work, inputs: Inputs
    ) throws(MoEError) {
        if let lack = Self.lack(for: configuration) { throw .unavailable(what: "the scalar baseline", reason: lack) }
        self.configuration = configuration
        self.subject = subject
        self.work = work
        self.inputs = inputs
        func read(_ name: WeightName) throws(MoEError) -> [Float] {
            try source.floats(name, configuration)
        }
        router = try read(.router)
        var matrices: [Projection: [[Float]]] = [:]
        for projection in configuration.expert.projections {
            for expert in 0..<configuration.experts {
                matrices[projection, default: []].append(try read(.expert(expert, projection)))
            }
        }
        gate = matrices[.gate] ?? []
        up = matrices[.up] ?? []
        down = matrices[.down] ?? []
        y = Array(repeating: .nan, count: inputs.tokens * inputs.hidden)
    }

    /// Why it cannot compute such a layer; nil where it can.
    package static func lack(for c: MoEConfiguration) -> String? {
        let router = c.router
        let isPlain: Bool =
            switch router.normalisation {
            case .none, .sum: router.weightTransform == .none && !router.hasBias && !router.hasSelectionBias
            default: false
            }
        if router.score != .softmax || router.selection != .topK || !isPlain { return "it routes by softmax" }
        if c.shared != .none { return "it has no shared expert" }
        if c.weightSide != .output { return "its weights act on outputs" }
        if case .gatedClamped = c.expert { return "it does not clamp" }
        return c.expert.hasBiases ? "it has no biases" : nil
    }

    package func run(_ batch: Int) {
        let x = inputs.batches[batch]
        let H = configuration.hidden
        for token in 0..<inputs.tokens {
            let row = x[token * H..<(token + 1) * H]
            for column in 0..<H { y[token * H + column] = 0 }
            for (expert, weight) in route(row) { add(expert, weight, row, to: token * H) }
        }
    }

    /// The chosen experts of one token with their weights.
    private func route(_ x: ArraySlice<Float>) -> [(expert: Int, weight: Float)] {
        let logits = (0..<configuration.experts).map { dot(router, $0 * configuration.hidden, x) }
        let largest = logits.max() ?? 0
        let exponentials = logits.map { exp($0 - largest) }
        let total = exponentials.reduce(0, +)
        var chosen: [(expert: Int, weight: Float)] = []
        var remaining = Array(logits.indices)
        for _ in 0..<configuration.topK {
            var best = 0
            for index in remaining.indices where logits[remaining[index]] > logits[remaining[best]] { best = index }
            let expert = remaining.remove(at: best)
            chosen.append((expert, exponentials[expert] / total))
        }
        if case .sum(let epsilon) = configuration.router.normalisation {
            let sum = chosen.reduce(epsilon) { $0 + $1.weight }
            chosen = chosen.map { ($0.expert, $0.weight / sum) }
        }
        return chosen.map { ($0.expert, $0.weight * configuration.router.scale) }
    }

    private func add(_ expert: Int, _ weight: Float, _ x: ArraySlice<Float>, to offset: Int) {
        let H = configuration.hidden, F = configuration.expertHidden
        let activation = configuration.expert.activation
        var inner = [Float](repeating: 0, count: F)
        for f in 0..<F {
            let value = dot(up[expert], f * H, x)
            inner[f] =
                configuration.expert.isGated
                ? Self.apply(activation, dot(gate[expert], f * H, x)) * value : Self.apply(activation, value)
        }
        for h in 0..<H { y[offset + h] += weight * dot(down[expert], h * F, inner[...]) }
    }

    private func dot(_ matrix: [Float], _ start: Int, _ x: ArraySlice<Float>) -> Float {
        var sum: Float = 0
        for index in 0..<x.count { sum += matrix[start + index] * x[x.startIndex + index] }
        return sum
    }

    private static func apply(_ activation: Activation, _ a: Float) -> Float {
        switch activation {
        case .silu: a / (1 + exp(-a))
        case .gelu: 0.5 * a * (1 + erf(a * Float(0.5).squareRoot()))
        case .geluTanh: 0.5 * a * (1 + tanh((2 / Float.pi).squareRoot() * (a + 0.044715 * a * a * a)))
        case .quickGelu: a / (1 + exp(-1.702 * a))
        case .relu: max(a, 0)
        case .reluSquared: max(a, 0) * max(a, 0)
        }
    }

    package func poison(_ batch: Int) {
        for index in y.indices { y[index] = .nan }
    }

    package func output(_ batch: Int) -> StageOutput { .activations(y) }
}
