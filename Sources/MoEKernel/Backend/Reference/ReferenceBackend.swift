import CPlatform

/// Plain scalar float64 arithmetic on rows read straight from a weight source: the oracle for the fast backends.
///
/// It shares no code with them beyond the counting sort: neither the packed layout nor the order of summation.
package struct ReferenceBackend: Backend {
    package let configuration: MoEConfiguration
    package let source: any WeightSource

    package init(_ configuration: MoEConfiguration, source: any WeightSource) {
        self.configuration = configuration
        self.source = source
    }

    /// What a forward gives, in float64.
    package struct Forward: Sendable {
        /// [tokens, hidden]
        package var y: [Double]
        /// [tokens, experts]
        package var logits: [Double]
        /// [tokens, topK]
        package var expertIndices: [Int]
        package var weights: [Double]
    }

    /// The structs between the stages.
    final class Memory {
        var tokens = 0
        var logits: [Double] = []
        var sharedGate: [Double] = []
        var indices: [Int32] = []
        var weights: [Double] = []
        var offsets: [Int32] = []
        var rowTokens: [Int32] = []
        var slotRows: [Int32] = []
        var rows: [Double] = []
        var shared: [Double]?
        var failure: MoEError?
    }

    /// The result, filled by the last stage.
    final class Output {
        var y: [Double] = []
    }

    /// x is [tokens, hidden].
    package func forward(_ x: [Float]) throws(MoEError) -> Forward {
        guard x.count % configuration.hidden == 0 else {
            throw .input(name: "x", value: "\(x.count) values", expectation: "a multiple of \(configuration.hidden)")
        }
        let memory = Memory()
        let result = Output()
        let tokens = x.count / configuration.hidden
        x.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress, tokens > 0 else { return }
            forward(Activations(base: base, type: .float32, tokens: tokens), into: result, memory)
        }
        if let failure = memory.failure { throw failure }
        return Forward(
            y: result.y, logits: memory.logits, expertIndices: memory.indices.map(Int.init), weights: memory.weights)
    }

    func route(_ x: Activations, _ memory: Memory) {
        let c = configuration
        memory.tokens = x.tokens
        memory.logits = attempt(memory) { () throws(MoEError) in
            try multiply(values(x), rows: x.tokens, by: .router)
        }
        if case .sigmoidGated = c.shared {
            memory.sharedGate = attempt(memory) { () throws(MoEError) in
                try multiply(values(x), rows: x.tokens, by: .sharedGate)
            }
        }
        guard memory.failure == nil else { return }
        for token in 0..<x.tokens {
            let z = Array(memory.logits[token * c.experts..<(token + 1) * c.experts])
            // Largest first, ties to the lower index: a stable order.
            let order = z.indices.sorted { z[$0] != z[$1] ? z[$0] > z[$1] : $0 < $1 }
            let highest = z[order[0]]
            let sum = z.reduce(0) { $0 + exp($1 - highest) }
            var chosen = order.prefix(c.topK).map { exp(z[$0] - highest) / sum }
            if case .sum(let epsilon) = c.router.normalisation {
                let total = chosen.reduce(0, +) + Double(epsilon)
                chosen = chosen.map { $0 / total }
            }
            memory.indices += order.prefix(c.topK).map(Int32.init)
            memory.weights += chosen.map { $0 * Double(c.router.scale) }
        }
    }

    func dispatch(_ memory: Memory) {
        guard memory.failure == nil else { return }
        let rows = memory.indices.count
        memory.offsets = Array(repeating: 0, count: configuration.experts + 1)
        memory.rowTokens = Array(repeating: 0, count: rows)
        memory.slotRows = Array(repeating: 0, count: rows)
        memory.offsets.withUnsafeMutableBufferPointer { offsets in
            memory.rowTokens.withUnsafeMutableBufferPointer { rowTokens in
                memory.slotRows.withUnsafeMutableBufferPointer { slotRows in
                    Dispatch(
                        tokens: memory.tokens, topK: configuration.topK, experts: configuration.experts,
                        offsets: offsets.baseAddress!, rowTokens: rowTokens.baseAddress!,
                        slotRows: slotRows.baseAddress!
                    ).group(memory.indices)
                }
            }
        }
    }

    func computeExperts(_ x: Activations, _ memory: Memory) {
        guard memory.failure == nil else { return }
        let hidden = configuration.hidden
        let all = values(x)
        memory.rows = Array(repeating: 0, count: memory.rowTokens.count * hidden)
        for expert in 0..<configuration.experts {
            let rows = Int(memory.offsets[expert])..<Int(memory.offsets[expert + 1])
            if rows.isEmpty { continue }
            let gathered = rows.flatMap { row in
                let token = Int(memory.rowTokens[row])
                return all[token * hidden..<(token + 1) * hidden]
            }
            let output = attempt(memory) { () throws(MoEError) in
                try mlp(
                    gathered, rows: rows.count, matrix: { .expert(expert, $0) },
                    bias: configuration.expert.hasBiases ? { .expertBias(expert, $0) } : nil)
            }
            if memory.failure != nil { return }
            memory.rows.replaceSubrange(rows.lowerBound * hidden..<rows.upperBound * hidden, with: output)
        }
        if configuration.shared != .none {
            memory.shared = attempt(memory) { () throws(MoEError) in
                try mlp(all, rows: memory.tokens, matrix: { .shared($0) }, bias: nil)
            }
        }
    }

    func combine(_ memory: Memory, into y: Output) {
        guard memory.failure == nil else { return }
        let hidden = configuration.hidden
        y.y = Array(repeating: 0, count: memory.tokens * hidden)
        for token in 0..<memory.tokens {
            for slot in 0..<configuration.topK {
                let pair = token * configuration.topK + slot
                let row = Int(memory.slotRows[pair])
                for h in 0..<hidden { y.y[token * hidden + h] += memory.weights[pair] * memory.rows[row * hidden + h] }
            }
            if let shared = memory.shared {
                let gate = memory.sharedGate.isEmpty ? 1 : 1 / (1 + exp(-memory.sharedGate[token]))
                for h in 0..<hidden { y.y[token * hidden + h] += gate * shared[token * hidden + h] }
            }
        }
    }

    /// down( act(gate x) ∘ up x ), or down( act(up x) ).
    private func mlp(
        _ x: [Double], rows: Int, matrix: (Projection) -> WeightName, bias: ((Projection) -> WeightName)?
    ) throws(MoEError) -> [Double] {
        func project(_ input: [Double], _ projection: Projection) throws(MoEError) -> [Double] {
            try multiply(input, rows: rows, by: matrix(projection), bias: bias?(projection))
        }
        var inner = try project(x, .up)
        let activation = configuration.expert.activation
        if configuration.expert.isGated {
            let gate = try project(x, .gate)
            for index in inner.indices { inner[index] *= activation.reference(gate[index]) }
        } else {
            for index in inner.indices { inner[index] = activation.reference(inner[index]) }
        }
        return try project(inner, .down)
    }

    /// x [rows, K] times the transpose of a weight [N, K], plus its bias: [rows, N].
    private func multiply(
        _ x: [Double], rows: Int, by name: WeightName, bias: WeightName? = nil
    ) throws(MoEError) -> [Double] {
        let (outputs, depth) = configuration.shape(of: name)
        var biases: [Float]?
        if let bias { biases = try source.floats(bias, configuration) }
        var result = [Double](repeating: 0, count: rows * outputs)
        let chunk = max(1 << 18 / depth, 1)
        for first in stride(from: 0, to: outputs, by: chunk) {
            let part = first..<min(first + chunk, outputs)
            let weights = try source.floats(name, rows: part, configuration)
            x.withUnsafeBufferPointer { x in
                weights.withUnsafeBufferPointer { weights in
                    for row in 0..<rows {
                        for output in part {
                            var sum = Double(biases?[output] ?? 0)
                            let w = (output - first) * depth
                            for k in 0..<depth { sum += x[row * depth + k] * Double(weights[w + k]) }
                            result[row * outputs + output] = sum
                        }
                    }
                }
            }
        }
        return result
    }

    private func values(_ x: Activations) -> [Double] {
        let count = x.tokens * configuration.hidden
        return switch x.type {
        case .bfloat16:
            (0..<count).map {
                Double(Float(BFloat16(bitPattern: x.base.load(fromByteOffset: $0 * 2, as: UInt16.self))))
            }
        default: (0..<count).map { Double(x.base.load(fromByteOffset: $0 * 4, as: Float.self)) }
        }
    }

    /// Stages do not throw: a source that fails is remembered, and the stages after it do nothing.
    private func attempt(_ memory: Memory, _ body: () throws(MoEError) -> [Double]) -> [Double] {
        if memory.failure != nil { return [] }
        do throws(MoEError) { return try body() } catch {
            memory.failure = error
            return []
        }
    }
}

extension Activation {
    /// The function in float64, by the C library.
    package func reference(_ a: Double) -> Double {
        switch self {
        case .silu: a / (1 + exp(-a))
        case .gelu: 0.5 * a * erfc(-a / 2.0.squareRoot())
        // As a · σ(2u): the published form ½ a (1 + tanh u) cancels in the negative tail.
        case .geluTanh: a / (1 + exp(-2 * (2 / Double.pi).squareRoot() * (a + 0.044715 * a * a * a)))
        case .quickGelu: a / (1 + exp(-1.702 * a))
        case .relu: max(a, 0)
        case .reluSquared: max(a, 0) * max(a, 0)
        }
    }
}
