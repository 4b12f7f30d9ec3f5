import MoEKernel

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
    }

    package let configuration: MoEConfiguration
    package let tokensPerBatch: Int
    /// The checked tokens of each batch.
    package let batches: [[Token]]

    /// Computes the reference for `sample` tokens of every batch, all of them where a batch has no more. Which ones follows
    /// from the seed, which no implementation sees.
    package init(
        _ configuration: MoEConfiguration, source: any WeightSource, inputs: Inputs, sample: Int, seed: UInt64
    ) throws(MoEError) {
        self.configuration = configuration
        tokensPerBatch = inputs.tokens
        let reference = ReferenceBackend(configuration, source: source)
        let router = try Self.router(configuration, source)
        var generator = SplitMix64(seed: seed ^ 0x0c5a_11e5_0c5a_11e5)
        var batches: [[Token]] = []
        for batch in inputs.batches {
            let chosen = Array((0..<inputs.tokens).shuffled(using: &generator).prefix(sample).sorted())
            let rows = chosen.map { Array(batch[$0 * inputs.hidden..<($0 + 1) * inputs.hidden]) }
            let output = try reference.forward(rows.flatMap { $0 })
            let E = configuration.experts, H = configuration.hidden, k = configuration.topK
            batches.append(
                chosen.indices.map { i in
                    Token(
                        index: chosen[i], y: Array(output.y[i * H..<(i + 1) * H]),
                        logits: Array(output.logits[i * E..<(i + 1) * E]),
                        logitScales: (0..<E).map { Self.scale(rows[i], router[$0 * H..<($0 + 1) * H]) },
                        experts: Array(output.expertIndices[i * k..<(i + 1) * k]),
                        weights: Array(output.weights[i * k..<(i + 1) * k]))
                })
        }
        self.batches = batches
    }

    private static func scale(_ x: [Float], _ row: ArraySlice<Float>) -> Double {
        zip(x, row).reduce(0) { $0 + Double($1.0 * $1.1) * Double($1.0 * $1.1) }.squareRoot()
    }

    private static func router(
        _ configuration: MoEConfiguration, _ source: any WeightSource
    ) throws(MoEError) -> [Float] {
        try WeightRows.read(.router, rows: 0..<configuration.experts, configuration, source)
    }
}
