import CPlatform

/// Plain scalar float64 arithmetic on rows read straight from a weight source: the oracle for the fast backends.
///
/// It shares no code with them beyond the counting sort: neither the packed layout nor the order of summation, nor how experts
/// are chosen or dropped.
package struct ReferenceBackend: Backend {
    package let configuration: MoEConfiguration
    package let source: any WeightSource
    package let arithmetic: ExpertArithmetic

    package init(
        _ configuration: MoEConfiguration, source: any WeightSource, arithmetic: ExpertArithmetic = .exact
    ) {
        self.configuration = configuration
        self.source = source
        self.arithmetic = arithmetic
    }

    /// What a forward gives, in float64.
    package struct Forward: Sendable {
        /// [tokens, hidden]
        package var y: [Double]
        /// [tokens, experts]
        package var logits: [Double]
        /// [tokens, slots]; where experts choose, a token's experts in ascending order, then the others.
        package var expertIndices: [Int]
        package var weights: [Double]
        package var kept: [Bool]
        package var appliedWeights: [Double]
        /// How near each token's choice was, [tokens]: the least difference that would have changed it, in the keys that were
        /// compared; infinite where there was no choice.
        package var margins: [Double]
    }

    /// The structs between the stages.
    final class Memory {
        var context = TokenContext()
        var tokens = 0
        var logits: [Double] = []
        var sharedGate: [Double] = []
        var routing = ReferenceRouting()
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
    package func forward(_ x: [Float], context: TokenContext = TokenContext()) throws(MoEError) -> Forward {
        guard x.count % configuration.hidden == 0 else {
            throw .input(name: "x", value: "\(x.count) values", expectation: "a multiple of \(configuration.hidden)")
        }
        let memory = Memory()
        memory.context = context
        let result = Output()
        let tokens = x.count / configuration.hidden
        x.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress, tokens > 0 else { return }
            forward(Activations(base: base, type: .float32, tokens: tokens), into: result, memory)
        }
        if let failure = memory.failure { throw failure }
        let routing = memory.routing
        return Forward(
            y: result.y, logits: memory.logits, expertIndices: routing.indices.map(Int.init), weights: routing.weights,
            kept: routing.kept, appliedWeights: routing.applied, margins: routing.margins)
    }

    func route(_ x: Activations, _ memory: Memory) {
        let c = configuration
        memory.tokens = x.tokens
        var groups: [Double] = []
        var vectors = ReferenceRouter.Vectors()
        attempt(memory) { () throws(MoEError) in
            let all = values(x)
            let input = try routerInput(all, memory.context)
            let bias: WeightName? = c.router.hasBias ? .routerBias : nil
            memory.logits = try multiply(input, rows: x.tokens, by: .router, bias: bias)
            if case .hierarchical = c.router.selection {
                groups = try multiply(input, rows: x.tokens, by: .groupRouter)
            }
            if c.shared.isGated { memory.sharedGate = try multiply(all, rows: x.tokens, by: .sharedGate) }
            if c.router.hasSelectionBias { vectors.bias = try source.floats(.selectionBias, c).map { Double($0) } }
            if c.router.hasExpertScale { vectors.expertScale = try source.floats(.expertScale, c).map { Double($0) } }
            if case .table(let vocabulary) = c.router.selection {
                vectors.table = Array(repeating: 0, count: vocabulary * c.topK)
                try vectors.table.withUnsafeMutableBufferPointer { (table) throws(MoEError) in
                    try source.readIndices(.expertTable, into: table)
                }
            }
        }
        guard memory.failure == nil else { return }
        memory.routing = ReferenceRouter(configuration: c, vectors: vectors).route(
            memory.logits, groups: groups, tokens: x.tokens, memory.context)
    }

    private func routerInput(_ x: [Double], _ context: TokenContext) throws(MoEError) -> [Double] {
        let rows = context.routerInput.isEmpty ? x : context.routerInput.map { Double($0) }
        guard case .rootMeanSquareNormalised(let epsilon, let scale) = configuration.router.input else { return rows }
        let hidden = configuration.hidden
        let factors = try source.floats(.routerInputScale, configuration)
        return stride(from: 0, to: rows.count, by: hidden).flatMap { start in
            let row = rows[start..<start + hidden]
            let meanSquare = row.reduce(0) { $0 + $1 * $1 } / Double(hidden)
            return zip(row, factors).map {
                $0 / (meanSquare + Double(epsilon)).squareRoot() * Double(scale) * Double($1)
            }
        }
    }

    func dispatch(_ memory: Memory) {
        guard memory.failure == nil else { return }
        let kept = memory.routing.kept.map { $0 ? 1 : 0 as UInt8 }
        memory.offsets = Array(repeating: 0, count: configuration.choices + 1)
        memory.rowTokens = Array(repeating: 0, count: kept.count)
        memory.slotRows = Array(repeating: 0, count: kept.count)
        memory.offsets.withUnsafeMutableBufferPointer { offsets in
            memory.rowTokens.withUnsafeMutableBufferPointer { rowTokens in
                memory.slotRows.withUnsafeMutableBufferPointer { slotRows in
                    Dispatch(
                        tokens: memory.tokens, topK: configuration.slots, experts: configuration.choices,
                        offsets: offsets.baseAddress!, rowTokens: rowTokens.baseAddress!,
                        slotRows: slotRows.baseAddress!
                    ).group(memory.routing.indices, kept: kept)
                }
            }
        }
    }

    func computeExperts(_ x: Activations, _ memory: Memory) {
        guard memory.failure == nil else { return }
        attempt(memory) { () throws(MoEError) in
            let c = configuration
            let all = values(x)
            let input = c.latent == nil ? all : try multiply(all, rows: x.tokens, by: .latentIn)
            let width = c.expertWidth
            var rowWeights = [Double](repeating: 1, count: memory.rowTokens.count)
            if c.weightSide == .input {
                for (pair, row) in memory.slotRows.enumerated() where row >= 0 {
                    rowWeights[Int(row)] = memory.routing.applied[pair]
                }
            }
            memory.rows = Array(repeating: 0, count: memory.rowTokens.count * width)
            for expert in 0..<c.choices {
                let rows = Int(memory.offsets[expert])..<Int(memory.offsets[expert + 1])
                if rows.isEmpty { continue }
                let gathered = rows.flatMap { row in
                    let token = Int(memory.rowTokens[row])
                    return input[token * width..<(token + 1) * width].map { $0 * rowWeights[row] }
                }
                let output =
                    expert >= c.experts
                    ? gathered
                    : try mlp(
                        gathered, rows: rows.count, matrix: { .expert(expert, $0) },
                        bias: c.expert.hasBiases ? { .expertBias(expert, $0) } : nil)
                memory.rows.replaceSubrange(rows.lowerBound * width..<rows.upperBound * width, with: output)
            }
            if c.shared != .none {
                memory.shared = try mlp(
                    all, rows: memory.tokens, matrix: { .shared($0) },
                    bias: c.hasSharedBiases ? { .sharedBias($0) } : nil)
            }
        }
    }

    func combine(_ memory: Memory, into y: Output) {
        guard memory.failure == nil else { return }
        attempt(memory) { () throws(MoEError) in
            let c = configuration
            let width = c.expertWidth
            var sums = [Double](repeating: 0, count: memory.tokens * width)
            for pair in memory.slotRows.indices where memory.slotRows[pair] >= 0 {
                let (token, row) = (pair / c.slots, Int(memory.slotRows[pair]))
                let weight = (c.weightSide == .input ? 1 : memory.routing.applied[pair]) * Double(c.expertOutputScale)
                for h in 0..<width { sums[token * width + h] += weight * memory.rows[row * width + h] }
            }
            y.y = c.latent == nil ? sums : try multiply(sums, rows: memory.tokens, by: .latentOut)
            let outputBias = c.hasOutputBias ? try source.floats(.outputBias, c) : nil
            for token in 0..<memory.tokens {
                let gate = memory.sharedGate.isEmpty ? 1 : 1 / (1 + exp(-memory.sharedGate[token]))
                for index in token * c.hidden..<(token + 1) * c.hidden {
                    if let shared = memory.shared { y.y[index] += gate * shared[index] }
                    if let outputBias { y.y[index] += Double(outputBias[index % c.hidden]) }
                    if c.shared != .none, c.sharedCombine == .average { y.y[index] /= 2 }
                }
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
        let rounds =
            switch arithmetic {
            case .exact: false
            case .int8Activations: takesBytes(matrix)
            // Layers refuse it unless all experts take it.
            case .bfloat16Activations: true
            }
        let x = rounds ? rounded(x, rows: rows) : x
        var inner = try project(x, .up)
        switch configuration.expert {
        case .plain(let activation, _):
            for index in inner.indices { inner[index] = activation.reference(inner[index]) }
        case .gated(let activation, _):
            let gate = try project(x, .gate)
            for index in inner.indices { inner[index] *= activation.reference(gate[index]) }
        case .gatedClamped(let clamp, _):
            let gate = try project(x, .gate)
            let limit = Double(clamp.limit)
            for index in inner.indices {
                let g = min(gate[index], limit)
                let u = min(max(inner[index], -limit), limit)
                inner[index] = g / (1 + exp(-Double(clamp.alpha) * g)) * (u + Double(clamp.upOffset))
            }
        }
        return try project(rounds ? rounded(inner, rows: rows) : inner, .down)
    }

    /// Whether an expert's matrices all take bytes.
    private func takesBytes(_ matrix: (Projection) -> WeightName) -> Bool {
        configuration.expert.projections.allSatisfy { projection in
            let name = matrix(projection)
            // Gate and up share panels, so they must be stored alike.
            return projection == .gate && source.format(of: name) != source.format(of: matrix(.up))
                ? false
                : source.format(of: name).takesInt8Activations(depth: configuration.shape(of: name).columns)
        }
    }

    /// Activations as experts read them.
    private func rounded(_ values: [Double], rows: Int) -> [Double] {
        arithmetic == .bfloat16Activations
            ? values.map { Double(Float(BFloat16(Float($0)))) } : roundedToBytes(values, rows: rows)
    }

    /// Each 32 neighbours of a row rounded to -127 … 127 times their largest magnitude / 127, in fp32 as the rule says.
    private func roundedToBytes(_ values: [Double], rows: Int) -> [Double] {
        let depth = values.count / rows
        var result = values
        for start in stride(from: 0, to: values.count, by: depth) {
            for first in stride(from: start, to: start + depth, by: 32) {
                let group = first..<min(first + 32, start + depth)
                let largest = group.map { abs(Float(values[$0])) }.max() ?? 0
                let isZero = largest < 0x1p-100
                let scale: Float = isZero ? 0 : largest / 127
                let inverse: Float = isZero ? 0 : 127 / largest
                for index in group {
                    let whole = (Float(values[index]) * inverse).rounded(.toNearestOrEven)
                    result[index] = Double(whole) * Double(scale)
                }
            }
        }
        return result
    }

    /// x [rows, K] times the transpose of a weight [N, K], plus its bias: [rows, N].
    private func multiply(
        _ x: [Double], rows: Int, by name: WeightName, bias: WeightName? = nil
    ) throws(MoEError) -> [Double] {
        let (outputs, depth) = configuration.shape(of: name)
        var biases: [Float]?
        if let bias { biases = try source.floats(bias, configuration) }
        var result = [Double](repeating: 0, count: rows * outputs)
        let isTransposed = if case .transposed = source.format(of: name) { true } else { false }
        // A transposed tensor is read whole for any of its outputs.
        let chunk = isTransposed ? outputs : max(1 << 18 / depth, 1)
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
        (0..<x.tokens * configuration.hidden).map { Double(x.type.value(x.base, $0)) }
    }

    /// Stages do not throw: a source that fails is remembered, and the stages after it do nothing.
    private func attempt(_ memory: Memory, _ body: () throws(MoEError) -> Void) {
        if memory.failure != nil { return }
        do throws(MoEError) { try body() } catch { memory.failure = error }
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
