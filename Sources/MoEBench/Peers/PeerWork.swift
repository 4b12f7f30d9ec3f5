import MoEKernel

/// The arithmetic and traffic of a call of each kind of peer: that of ours.
struct PeerWork {
    let iso: MoEConfiguration
    let isoCopies: Int
    private let layer: Work
    private let everyone: Work
    private let dense: Work

    init(
        _ workload: Workload, _ configuration: MoEConfiguration, inputs: Inputs, _ runner: WorkloadRunner
    ) throws(MoEError) {
        iso = try workload.isoActiveConfiguration()
        // Where tokens go the router alone says: a layer of small experts sends them alike.
        var small = workload
        small.expertHidden = 1
        small.quantisation = nil
        small.activations = nil
        let router = try MoELayer(
            try small.configuration(), weights: small.weights, pool: runner.pool,
            instructionSet: runner.instructionSet, tuning: runner.tuning)
        let routed = try WorkloadRunner.tokensPerExpert(router, inputs)
        let gating = Work.gating(configuration, tokens: workload.tokens)
        let experts = Work.experts(
            configuration, form: workload.form, arithmetic: workload.arithmetic, tokensPerExpert: routed)
        layer = gating + experts
        everyone =
            gating
            + .experts(
                configuration, form: workload.form, arithmetic: workload.arithmetic,
                tokensPerExpert: routed.map { $0.map { _ in workload.tokens } })
        let one = Work.experts(
            iso, form: workload.form, arithmetic: workload.arithmetic,
            tokensPerExpert: routed.map { _ in [workload.tokens] })
        isoCopies = DenseIsoActive.copies(
            of: one.bytes, toCover: experts.workingSet, batches: inputs.batches.count)
        dense = Work(
            flops: one.flops, byteOperations: one.byteOperations, pairOperations: one.pairOperations, bytes: one.bytes,
            workingSet: one.bytes * isoCopies)
    }

    func of(_ kind: Peer.Kind) -> Work {
        switch kind {
        case .layer: layer
        case .denseAllExperts: everyone
        case .denseIsoActive: dense
        }
    }

    /// Refuses to start a library that, with our own layer, would not find room for its weights. Where the system does not tell how much is
    /// free, nothing is refused.
    func checkMemory(for library: Peer.Library) throws(PeerFailure) {
        guard let free = Machine.availableBytes else { return }
        let weights = everyone.bytes + dense.workingSet
        // Ours, the peer's, and room to arrange its own; ONNX Runtime packs them once more and keeps both, and codes on their way to ggml's
        // blocks are bytes.
        let needed = weights + (library == .onnxruntime || library == .ggml ? 5 : 3) * weights / 2 + 512 << 20
        guard needed <= free else { throw .noMemory(needed: needed, free: free) }
    }
}
