/// The load-balancing loss of Switch Transformers, counted by sequence.
extension Routing {
    /// L = E² · mean over sequences b and experts e of f_be P_be of one layer, without unit: f_be is the share of the
    /// sequence's tokens whose largest logit is e's, P_be the mean softmax probability of e over the sequence.
    ///
    /// Perfect balance in every sequence gives 1. The argmax is that of the raw logits, before any capacity, the first of
    /// equals; k plays no part.
    ///
    /// Source: Fedus, Zoph, Shazeer, "Switch Transformers", 2021, as Hugging Face transformers computes it for Switch, which
    /// multiplies it with `router_aux_loss_coef` (0.001; the paper's α is 0.01).
    ///
    /// - Parameter sequenceLength: Tokens of each sequence.
    /// - Returns: The loss; 0 for no tokens, NaN where a logit is NaN or +∞.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for a length that does not divide the tokens.
    public func switchLoss(sequenceLength: Int) throws(MoEError) -> Double {
        try Self.switchLoss(ofLayers: CollectionOfOne(self), sequenceLength: sequenceLength)
    }

    /// The Switch loss of a model: the layers' tokens of each sequence are joined into one longer sequence, then
    /// ``switchLoss(sequenceLength:)``. An encoder's and a decoder's layers each have their own.
    ///
    /// - Parameters:
    ///   - layers: The routing of each MoE layer in one forward of the model.
    ///   - sequenceLength: Tokens of each sequence.
    /// - Returns: The loss; 0 for no layers or tokens.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for layers that differ in experts or tokens, or a length that
    ///   does not divide the tokens.
    public static func switchLoss(
        ofLayers layers: some Collection<Routing>, sequenceLength: Int
    ) throws(MoEError) -> Double {
        guard let first = layers.first else { return 0 }
        let sequences = try first.sequences(of: sequenceLength)
        for routing in layers {
            try routing.check(experts: first.experts)
            guard routing.tokens == first.tokens else {
                throw .input(
                    name: "routing", value: "of \(routing.tokens) tokens", expectation: "\(first.tokens), as the others"
                )
            }
        }
        guard sequences > 0 else { return 0 }
        let length = Double(sequenceLength) * Double(layers.count)
        var sum = 0.0
        var best: [Int] = []
        for sequence in 0..<sequences {
            var chosen = [Double](repeating: 0, count: first.experts)
            var probabilities = chosen
            for routing in layers {
                for token in sequence * sequenceLength..<(sequence + 1) * sequenceLength {
                    routing.addProbabilities(of: token, to: &probabilities)
                    routing.findBest(1, of: token, into: &best)
                    chosen[best[0]] += 1
                }
            }
            sum += zip(chosen, probabilities).reduce(0) { $0 + $1.0 * $1.1 } / (length * length)
        }
        // E² times a mean over E experts leaves one E.
        return Double(first.experts) * sum / Double(sequences)
    }
}
