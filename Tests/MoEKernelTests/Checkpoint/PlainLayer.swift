import Foundation

@testable import MoEKernel

/// A layer as its definition reads, one token at a time.
struct PlainLayer {
    let configuration: MoEConfiguration
    let source: any WeightSource

    func forward(_ x: [Double]) throws -> (y: [Double], logits: [Double]) {
        let logits = try product(.router, x)
        let highest = logits.max()!
        let sum = logits.reduce(0) { $0 + exp($1 - highest) }
        let chosen = logits.indices.sorted { logits[$0] > logits[$1] }.prefix(configuration.topK)
        var weights = chosen.map { exp(logits[$0] - highest) / sum }
        if configuration.router.normalisation != .none {
            let total = weights.reduce(0, +)
            weights = weights.map { $0 / total }
        }
        var y = [Double](repeating: 0, count: x.count)
        for (expert, weight) in zip(chosen, weights) {
            let output = try gated(x) { .expert(expert, $0) }
            for index in y.indices { y[index] += weight * output[index] }
        }
        if configuration.shared != .none {
            let gate = 1 / (1 + exp(-(try product(.sharedGate, x)[0])))
            let output = try gated(x) { .shared($0) }
            for index in y.indices { y[index] += gate * output[index] }
        }
        return (y, logits)
    }

    private func gated(_ x: [Double], _ name: (Projection) -> WeightName) throws -> [Double] {
        let gate = try product(name(.gate), x).map(activation)
        let up = try product(name(.up), x)
        return try product(name(.down), zip(gate, up).map { $0 * $1 })
    }

    private func activation(_ a: Double) -> Double {
        switch configuration.expert.activation {
        case .silu: a / (1 + exp(-a))
        case .gelu: a * erfc(-a / 2.squareRoot()) / 2
        case .geluTanh: a * (1 + tanh((2 / Double.pi).squareRoot() * (a + 0.044715 * a * a * a))) / 2
        case .quickGelu: a / (1 + exp(-1.702 * a))
        case .relu: max(a, 0)
        case .reluSquared: max(a, 0) * max(a, 0)
        }
    }

    private func product(_ name: WeightName, _ x: [Double]) throws -> [Double] {
        let (rows, columns) = configuration.shape(of: name)
        let elements = try source.floats(name, configuration).map { Double($0) }
        return (0..<rows).map { row in (0..<columns).reduce(0) { $0 + elements[row * columns + $1] * x[$1] } }
    }
}
