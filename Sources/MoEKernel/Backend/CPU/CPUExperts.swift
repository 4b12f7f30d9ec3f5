import MicroKernels

extension CPUBackend {
    func computeExperts(_ x: Activations, _ memory: CPUStageBuffers) {
        let plan = dispatchPlan(memory)
        // The router left x packed, unless it saw something else.
        if memory.routerRows != nil,
            weights.sharedInner != nil && !weights.packsShared || weights.latentIn != nil || memory.tokens == 1
        {
            packTokens(x, depth: configuration.hidden, memory, tiles: memory.tokenTiles)
        }
        let input = latentInput(x, memory)
        let loneRows = loneRows(input, memory)
        var schedule = memory.schedule
        if weights.sharedInner != nil { schedule.add(expert: -1, firstRow: 0, rows: memory.tokens) }
        for expert in 0..<configuration.experts {
            let rows = plan.rows(of: expert)
            schedule.add(expert: expert, firstRow: rows.lowerBound, rows: rows.count)
        }
        schedule.cut(
            experts: configuration.experts,
            inner: .init(routed: weights.inner.panels, shared: weights.sharedInner?.panels ?? 0),
            down: .init(routed: weights.down.panels, shared: weights.sharedDown?.panels ?? 0),
            packsShared: weights.packsShared, packsLoneRows: loneRows == nil)
        let stage = ExpertStage(
            backend: self, x: input, tokens: x, loneRows: loneRows, plan: plan, memory: memory, schedule: schedule,
            inner: InnerFunction(configuration.expert))
        pool.run(byNode: stage)
        if configuration.identityExperts > 0 {
            let work = CopyRowsWork(
                x: x, hidden: configuration.hidden, plan: plan,
                rows: Int(memory.offsets[configuration.experts])..<plan.rows, target: memory.rows)
            pool.run(work, tasks: work.count)
        }
    }

    /// Where an expert that has but one row reads it, a tile for each token: in the input itself. Packing would copy it for each of a token's
    /// experts, into lines that another core had last; in decoding that is a fiftieth of a call. nil where rows have to be packed:
    /// weighted, rounded, or of bf16, but for a lone token, which the router left as a tile.
    private func loneRows(_ input: Activations, _ memory: CPUStageBuffers) -> ActivationTiles? {
        guard memory.rowWeights == nil, !weights.inner.format.roundsActivations else { return nil }
        let depth = weights.inner.depth
        if let floats = input.floats { return ActivationTiles(rows: floats, depth: depth) }
        return memory.tokens == 1 ? tokenTiles(input, depth: depth, packed: memory.tokenTiles) : nil
    }

    /// What the routed experts read: x, or x projected into the latent width.
    private func latentInput(_ x: Activations, _ memory: CPUStageBuffers) -> Activations {
        guard let latentIn = weights.latentIn, let rows = memory.latentRows else { return x }
        multiply(
            latentIn, tokenTiles(x, depth: configuration.hidden, packed: memory.tokenTiles), into: rows, memory)
        return Activations(base: UnsafeRawPointer(rows), type: .float32, tokens: memory.tokens)
    }
}

/// The rows of identity experts: x itself.
private struct CopyRowsWork: ParallelWork {
    let x: Activations
    let hidden: Int
    let plan: Dispatch
    let rows: Range<Int>
    let target: UnsafeMutablePointer<Float>

    private var rowsPerTask: Int { max(CPUBackend.valuesPerTask / hidden, 1) }
    var count: Int { (rows.count + rowsPerTask - 1) / rowsPerTask }

    func run(task: Int, worker: Int) {
        let first = rows.lowerBound + task * rowsPerTask
        for row in first..<min(first + rowsPerTask, rows.upperBound) {
            let source = Int(plan.rowTokens[row]) * hidden
            let to = target + row * hidden
            for h in 0..<hidden { to[h] = x.type.value(x.base, source + h) }
        }
    }
}
