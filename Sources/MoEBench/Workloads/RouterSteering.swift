import Dispatch
import MoEKernel
import Synchronization

/// Inputs from which a layer's router makes given choices.
///
/// The choices are the router's own: nothing in the layer is changed, and the oracle sees the same inputs. A token x becomes
/// x + Wᵀ(WWᵀ)⁻¹(z* - Wx), the nearest input whose logits are z*, W being the router's matrix. z* are the logits that x had, dealt out
/// anew: the k largest to the experts that are wished for, in their order, the others in theirs. So weights, and how far a choice is from
/// another, are what a random router makes of them. A router that keeps groups of experts has the next largest dealt to the groups of
/// the chosen ones, which are thereby kept.
struct RouterSteering {
    /// The least difference between the last chosen logit and the next, far above what rounding an input to bf16 can change.
    private static let gap = 0.02

    private let experts: Int
    private let hidden: Int
    /// [experts, hidden], and the same [hidden, experts].
    private let rows: [Double]
    private let columns: [Double]
    private let bias: [Double]
    /// WWᵀ = LLᵀ: [experts, experts], the lower half.
    private let lower: [Double]
    private let groupSize: Int?

    /// - Throws: ``MoEError/configuration(field:value:expectation:)`` where the router's rows do not leave inputs enough room.
    init(_ configuration: MoEConfiguration, _ source: any WeightSource) throws(MoEError) {
        experts = configuration.choices
        hidden = configuration.hidden
        try Self.check(configuration)
        let weights = try source.floats(.router, configuration)
        rows = weights.map { Double($0) }
        var columns = [Double](repeating: 0, count: weights.count)
        for e in 0..<experts {
            for h in 0..<hidden { columns[h * experts + e] = rows[e * hidden + h] }
        }
        self.columns = columns
        bias =
            configuration.router.hasBias
            ? try source.floats(.routerBias, configuration).map { Double($0) }
            : Array(repeating: 0, count: experts)
        groupSize =
            if case .grouped(let count, _, _) = configuration.router.selection { experts / count } else { nil }
        lower = try Self.factor(rows, columns, experts, hidden)
    }

    /// - Throws: ``MoEError/configuration(field:value:expectation:)`` where inputs are too short to have any logits.
    static func check(_ configuration: MoEConfiguration) throws(MoEError) {
        guard 2 * configuration.choices <= configuration.hidden else {
            throw .configuration(
                field: "hidden", value: "\(configuration.hidden)",
                expectation: "twice the experts, \(2 * configuration.choices), or more where routing is steered: "
                    + "shorter inputs cannot have any logits")
        }
    }

    /// Cholesky's factor of WWᵀ.
    private static func factor(
        _ rows: [Double], _ columns: [Double], _ experts: Int, _ hidden: Int
    ) throws(MoEError) -> [Double] {
        var gram = [Double](repeating: 0, count: experts * experts)
        for e in 0..<experts {
            for h in 0..<hidden {
                add(rows[e * hidden + h], columns, h * experts, to: &gram, e * experts, count: e + 1)
            }
        }
        for j in 0..<experts {
            for i in j..<experts {
                var sum = gram[i * experts + j]
                for p in 0..<j { sum -= gram[i * experts + p] * gram[j * experts + p] }
                if i == j {
                    guard sum > 1e-9 else {
                        throw .configuration(
                            field: "router", value: "row \(j) that depends on others", expectation: "independent rows")
                    }
                    gram[j * experts + j] = sum.squareRoot()
                } else {
                    gram[i * experts + j] = sum / gram[j * experts + j]
                }
            }
        }
        return gram
    }

    /// to[start…] += factor · from[begin…].
    private static func add(
        _ factor: Double, _ from: [Double], _ begin: Int, to: inout [Double], _ start: Int, count: Int
    ) {
        from.withUnsafeBufferPointer { from in
            to.withUnsafeMutableBufferPointer { to in
                for index in 0..<count { to[start + index] += factor * from[begin + index] }
            }
        }
    }

    /// The batch's tokens, changed so that each chooses its k of `choices`, [tokens · k].
    func steered(_ batch: [Float], to choices: [Int]) -> [Float] {
        let tokens = batch.count / hidden
        let k = choices.count / tokens
        let pieces = min(tokens, 16)
        let done = Mutex<[Int: [Float]]>([:])
        DispatchQueue.concurrentPerform(iterations: pieces) { piece in
            var part: [Float] = []
            for token in piece * tokens / pieces..<(piece + 1) * tokens / pieces {
                part += steered(
                    batch[token * hidden..<(token + 1) * hidden], to: choices[token * k..<(token + 1) * k])
            }
            done.withLock { $0[piece] = part }
        }
        let parts = done.withLock { $0 }
        return (0..<pieces).flatMap { parts[$0]! }
    }

    private func steered(_ token: ArraySlice<Float>, to chosen: ArraySlice<Int>) -> [Float] {
        var x = token.map { Double($0) }
        var logits = bias
        for h in 0..<hidden { Self.add(x[h], columns, h * experts, to: &logits, 0, count: experts) }
        var change = zip(dealt(logits, to: chosen), logits).map { $0 - $1 }
        // LLᵀ · a = change, in place.
        for i in 0..<experts {
            for j in 0..<i { change[i] -= lower[i * experts + j] * change[j] }
            change[i] /= lower[i * experts + i]
        }
        for i in (0..<experts).reversed() {
            change[i] /= lower[i * experts + i]
            for j in 0..<i { change[j] -= lower[i * experts + j] * change[i] }
        }
        for e in 0..<experts { Self.add(change[e], rows, e * hidden, to: &x, 0, count: hidden) }
        return x.map { Float($0) }
    }

    /// The same logits in another order: the largest to the chosen experts.
    private func dealt(_ logits: [Double], to chosen: ArraySlice<Int>) -> [Double] {
        let values = logits.sorted(by: >)
        let isChosen = Set(chosen)
        let keptGroups = groupSize.map { size in Set(chosen.map { $0 / size }) }
        func isKept(_ expert: Int) -> Bool { keptGroups?.contains(expert / groupSize!) ?? true }
        let others = logits.indices.filter { !isChosen.contains($0) }.sorted { a, b in
            isKept(a) != isKept(b) ? isKept(a) : (-logits[a], a) < (-logits[b], b)
        }
        let k = chosen.count
        let lift = k < values.count ? max(0, Self.gap - (values[k - 1] - values[k])) : 0
        var dealt = logits
        for (rank, expert) in chosen.enumerated() { dealt[expert] = values[rank] + lift }
        for (rank, expert) in others.enumerated() { dealt[expert] = values[k + rank] }
        return dealt
    }
}

extension Workload {
    /// What every implementation reads: random activations, steered where the routing is skewed.
    ///
    /// - Parameter source: The weights of the layer with that configuration.
    /// - Throws: ``MoEError/configuration(field:value:expectation:)`` where the layer cannot route so.
    package func inputs(_ configuration: MoEConfiguration, _ source: any WeightSource) throws(MoEError) -> Inputs {
        let inputs = Inputs(self)
        guard let skew else { return inputs }
        let choices = try skew.choices(self, configuration)
        let steering = try RouterSteering(configuration, source)
        return Inputs(
            tokens: inputs.tokens, hidden: inputs.hidden,
            batches: zip(inputs.batches, choices).map { steering.steered($0, to: $1) })
    }

    /// The layer's weights. Of a layer whose routing is steered the selection bias is zero, so that the largest logits are chosen.
    package func weights(for configuration: MoEConfiguration) throws(MoEError) -> MoEWeights {
        let random = MoEWeights.random(seed: seed)
        let plain =
            skew != nil && configuration.router.hasSelectionBias
            ? MoEWeights(ZeroSelectionBias(source: try random.source(configuration))) : random
        return form.map { plain.quantised(to: $0) } ?? plain
    }
}

/// Another source's weights with a selection bias of zero.
private struct ZeroSelectionBias: WeightSource {
    let source: any WeightSource

    func format(of name: WeightName) -> WeightFormat { source.format(of: name) }

    func read(_ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(MoEError) {
        try source.read(name, rows: rows, into: destination)
        guard case .selectionBias = name else { return }
        // Zero in every type of number.
        for index in destination.indices { destination[index] = 0 }
    }
}
