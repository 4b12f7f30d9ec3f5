import MicroKernels

extension CPUBackend {
    func computeExperts(_ x: Activations, _ memory: CPUStageBuffers) {
        let plan = dispatchPlan(memory)
        // The router left x packed, unless it saw something else.
        if memory.routerRows != nil,
            weights.sharedInner != nil && !weights.packsShared || weights.latentIn != nil
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

    /// Where an expert that has but one row reads it, a tile for each token: in the input itself, or, rounded or of bf16, packed once. Packing
    /// it for each of a token's experts would be as many copies, into lines that another core had last; in decoding that is a fiftieth of a
    /// call. nil where each expert's rows are its own, weighted, or tokens are many.
    private func loneRows(_ input: Activations, _ memory: CPUStageBuffers) -> ActivationTiles? {
        guard memory.rowWeights == nil else { return nil }
        let depth = weights.inner.depth
        let rounds = weights.inner.format.roundsActivations
        if !rounds, let floats = input.floats { return ActivationTiles(rows: floats, depth: depth) }
        guard let tiles = memory.loneTiles, memory.tokens <= Self.mostLoneTokens else { return nil }
        let packed = ActivationTiles(rows: tiles, depth: PanelLayout.tileFloats(depth: depth, tileRows: 1))
        let work = PackLoneRowsWork(
            kernels: rounds ? roundingKernels : kernels, x: input, depth: depth, tiles: tiles,
            tileFloats: packed.tileStride)
        pool.run(work, tasks: memory.tokens)
        return packed
    }

    /// Tokens of which experts' lone rows are packed once; with more, few experts have but one row.
    static let mostLoneTokens = 16

    /// What the routed experts read: x, or x projected into the latent width.
    private func latentInput(_ x: Activations, _ memory: CPUStageBuffers) -> Activations {
        guard let latentIn = weights.latentIn, let rows = memory.latentRows else { return x }
        multiply(
            latentIn, tokenTiles(x, depth: configuration.hidden, packed: memory.tokenTiles), into: rows, memory)
        return Activations(base: UnsafeRawPointer(rows), type: .float32, tokens: memory.tokens)
    }
}

/// Each token packed as a tile of its own.
private struct PackLoneRowsWork: ParallelWork {
    let kernels: any SweepKernels
    let x: Activations
    let depth: Int
    let tiles: UnsafeMutablePointer<Float>
    let tileFloats: Int

    func run(task token: Int, worker: Int) {
        kernels.pack(
            PackRows(
                source: x.base, bfloat16: x.type == .bfloat16, depth: depth, tokens: nil, firstToken: token, rows: 1,
                tile: tiles + token * tileFloats, blockStride: PanelLayout.block))
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
