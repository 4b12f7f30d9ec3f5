import MoEKernel

/// Compares a peer's output with the oracle.
///
/// In fp32 the bound is that of ``LayerCheck`` with one long chain of additions, since how another library sums is its own affair. Others
/// may round more than weights: inner values, rows and outputs to bf16, activations to eight bits. What is wrong is off by more than that.
struct PeerCheck {
    let oracle: LayerOracle
    let workload: Workload

    /// Bound of a token's error relative to its output, in the L2 norm; nil where ``LayerCheck`` says.
    private var limit: Double? {
        workload.quantisation != nil ? 0.05 : workload.weightType == .float32 ? nil : 0.01
    }

    /// - Returns: The largest error of a checked token relative to its output, both in the L2 norm; nil where every choice of experts of
    ///   the batch is too near another to be compared.
    func error(of y: [Float], batch: Int) throws(WrongResult) -> Double? {
        let exact = LayerCheck(oracle, tolerance: Tolerance(chain: Tolerance.singleChain))
        let tokens = oracle.batches[batch].filter { !exact.isAmbiguous($0) && $0.margin >= DeviceCheck.nearest }
        if let odd = y.firstIndex(where: { !$0.isFinite }) { throw WrongResult("output element \(odd) is \(y[odd])") }
        guard let limit else {
            if !tokens.isEmpty { try exact.verify(.activations(y), batch: batch) }
            return Self.worst(tokens, y)
        }
        guard y.count == oracle.tokensPerBatch * workload.hidden else {
            throw WrongResult("output of \(y.count) values, expected \(oracle.tokensPerBatch * workload.hidden)")
        }
        let worst = Self.worst(tokens, y)
        if let worst, worst > limit {
            throw WrongResult("relative error \(Format.scientific(worst)), allowed \(Format.scientific(limit))")
        }
        return worst
    }

    private static func worst(_ tokens: [LayerOracle.Token], _ y: [Float]) -> Double? {
        tokens.map { token in
            var error = 0.0, norm = 0.0
            for (column, right) in token.y.enumerated() {
                let difference = Double(y[token.index * token.y.count + column]) - right
                error += difference * difference
                norm += right * right
            }
            return norm > 0 ? (error / norm).squareRoot() : 0
        }.max()
    }
}

/// The references that peers' outputs are compared with.
struct PeerChecks {
    private let layer: PeerCheck
    private let dense: PeerCheck

    init(
        _ workload: Workload, _ configuration: MoEConfiguration, _ iso: MoEConfiguration, _ inputs: Inputs
    ) throws(MoEError) {
        let checked = WorkloadRunner.checkedTokens(workload)
        func check(_ configuration: MoEConfiguration, sample: Int) throws(MoEError) -> PeerCheck {
            let oracle = try LayerOracle(
                configuration, source: try workload.weights.source(configuration), inputs: inputs, sample: sample,
                seed: workload.seed)
            return PeerCheck(oracle: oracle, workload: workload)
        }
        layer = try check(configuration, sample: checked)
        dense = try check(iso, sample: min(checked, 4))
    }

    func of(_ kind: Peer.Kind) -> PeerCheck { kind == .denseIsoActive ? dense : layer }
}
