import Dispatch
import MoEKernel
import Synchronization

/// What the float64 reference says about some tokens of every batch.
package struct LayerOracle: Sendable {
    /// One token with its true result.
    package struct Token: Sendable {
        package let index: Int
        /// [hidden]
        package let y: [Double]
        /// [experts]
        package let logits: [Double]
        /// √Σ(x·w)² for every expert: the size of the random walk that a logit's partial sums make.
        package let logitScales: [Double]
        /// [topK], best first
        package let experts: [Int]
        /// [topK]
        package let weights: [Double]
        /// The least difference of choice keys that would have chosen otherwise.
        package let margin: Double
    }

    package let configuration: MoEConfiguration
    package let arithmetic: ExpertArithmetic
    package let tokensPerBatch: Int
    /// The checked tokens of each batch.
    package let batches: [[Token]]

    /// Computes the reference for `sample` tokens of every batch, all of them where a batch has no more. Which ones follows
    /// from the seed, which no implementation sees.
    package init(
        _ configuration: MoEConfiguration, source: any WeightSource, inputs: Inputs, sample: Int, seed: UInt64,
        arithmetic: ExpertArithmetic = .exact
    ) throws(MoEError) {
        self.configuration = configuration
        self.arithmetic = arithmetic
        tokensPerBatch = inputs.tokens
        let router = try Self.router(configuration, source)
        var generator = SplitMix64(seed: seed ^ 0x0c5a_11e5_0c5a_11e5)
        let chosen = inputs.batches.map { _ in
            Array((0..<inputs.tokens).shuffled(using: &generator).prefix(sample).sorted())
        }
        // Half a batch at a time, so that even one batch keeps two processors busy.
        let pieces = chosen.enumerated().flatMap { batch, tokens in
            let half = (tokens.count + 1) / 2
            return [(batch, Array(tokens.prefix(half))), (batch, Array(tokens.dropFirst(half)))]
        }
        let done = Mutex<[Int: Result<[Token], MoEError>]>([:])
        DispatchQueue.concurrentPerform(iterations: pieces.count) { index in
            let (batch, tokens) = pieces[index]
            let result = Result { () throws(MoEError) in
                try Self.reference(
                    ReferenceBackend(configuration, source: source, arithmetic: arithmetic), inputs.batches[batch],
                    tokens,
                    router)
            }
            done.withLock { $0[index] = result }
        }
        let results = done.withLock { $0 }
        var batches = [[Token]](repeating: [], count: chosen.count)
        for (index, piece) in pieces.enumerated() { batches[piece.0] += try results[index]!.get() }
        self.batches = batches
    }

    private static func reference(
        _ backend: ReferenceBackend, _ x: [Float], _ tokens: [Int], _ router: [Float]
    ) throws(MoEError) -> [Token] {
        if tokens.isEmpty { return [] }
        let configuration = backend.configuration
        let E = configuration.choices, H = configuration.hidden, k = configuration.slots
        let rows = tokens.map { Array(x[$0 * H..<($0 + 1) * H]) }
        let output = try backend.forward(rows.flatMap { $0 })
        return tokens.indices.map { i in
            Token(
                index: tokens[i], y: Array(output.y[i * H..<(i + 1) * H]),
                logits: Array(output.logits[i * E..<(i + 1) * E]),
                logitScales: (0..<E).map { scale(rows[i], router[$0 * H..<($0 + 1) * H]) },
                experts: Array(output.expertIndices[i * k..<(i + 1) * k]),
                weights: Array(output.weights[i * k..<(i + 1) * k]), margin: output.margins[i])
        }
    }

    private static func scale(_ x: [Float], _ row: ArraySlice<Float>) -> Double {
        zip(x, row).reduce(0) { $0 + Double($1.0 * $1.1) * Double($1.0 * $1.1) }.squareRoot()
    }

    private static func router(
        _ configuration: MoEConfiguration, _ source: any WeightSource
    ) throws(MoEError) -> [Float] {
        try source.floats(.router, configuration)
    }
}
