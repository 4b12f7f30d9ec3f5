import MicroKernels

extension CPUBackend {
    func computeExperts(_ x: Activations, _ memory: CPUStageBuffers) {
        let plan = dispatchPlan(memory)
        let inner = InnerFunction(configuration.expert)
        // The router left x packed, unless it saw something else.
        if memory.routerRows != nil, weights.sharedInner != nil || weights.latentIn != nil {
            packTokens(x, depth: configuration.hidden, memory, tiles: memory.tokenTiles)
        }
        let input = latentInput(x, memory)
        let work = GatherWork(backend: self, x: input, plan: plan, memory: memory)
        pool.run(work, tasks: work.tasks)
        sweep(
            weights.inner, rows: { plan.rows(of: $0).count }, memory, activations: memory.rowTiles,
            groupTiles: memory.expertTiles,
            result: .activate(inner, tiles: memory.innerTiles, tileFloats: weights.down.tileFloats(kernels.tileRows)))
        sweep(
            weights.down, rows: { plan.rows(of: $0).count }, memory, activations: memory.innerTiles,
            groupTiles: memory.expertTiles, result: .store(memory.rows, groupRows: memory.offsets))
        if configuration.identityExperts > 0 {
            let work = CopyRowsWork(
                x: x, hidden: configuration.hidden, plan: plan,
                rows: Int(memory.offsets[configuration.experts])..<plan.rows, target: memory.rows)
            pool.run(work, tasks: work.count)
        }
        guard let sharedInner = weights.sharedInner, let sharedDown = weights.sharedDown else { return }
        sweep(
            sharedInner, rows: { _ in memory.tokens }, memory, activations: memory.tokenTiles, groupTiles: nil,
            result: .activate(
                inner, tiles: memory.sharedTiles, tileFloats: sharedDown.tileFloats(kernels.tileRows)))
        sweep(
            sharedDown, rows: { _ in memory.tokens }, memory, activations: memory.sharedTiles, groupTiles: nil,
            result: .store(memory.sharedRows, groupRows: nil))
    }

    /// What the routed experts read: x, or x projected into the latent width.
    private func latentInput(_ x: Activations, _ memory: CPUStageBuffers) -> Activations {
        guard let latentIn = weights.latentIn, let rows = memory.latentRows else { return x }
        sweep(
            latentIn, rows: { _ in memory.tokens }, memory, activations: memory.tokenTiles, groupTiles: nil,
            result: .store(rows, groupRows: nil))
        return Activations(base: UnsafeRawPointer(rows), type: .float32, tokens: memory.tokens)
    }
}

/// Gathers each expert's token rows while packing them; no other copy of the activations is made.
private struct GatherWork: ParallelWork {
    let backend: CPUBackend
    let x: Activations
    let plan: Dispatch
    let memory: CPUStageBuffers

    private var expertsPerTask: Int {
        let rows = max(plan.rows / backend.configuration.experts, 1)
        return max(CPUBackend.valuesPerTask / (rows * backend.configuration.expertWidth), 1)
    }
    var tasks: Int { (backend.configuration.experts + expertsPerTask - 1) / expertsPerTask }

    func run(task: Int, worker: Int) {
        let tileFloats = backend.weights.inner.tileFloats(backend.kernels.tileRows)
        let experts = task * expertsPerTask..<min((task + 1) * expertsPerTask, backend.configuration.experts)
        for expert in experts {
            let rows = plan.rows(of: expert)
            if rows.isEmpty { continue }
            let split = TileSplit(rows: rows.count, tileRows: backend.kernels.tileRows)
            for tile in 0..<split.count {
                let first = split.start(tile)
                backend.kernels.pack(
                    PackRows(
                        source: x.base, bfloat16: x.type == .bfloat16, depth: backend.configuration.expertWidth,
                        tokens: memory.rowTokens + rows.lowerBound + first, firstToken: 0,
                        rows: split.start(tile + 1) - first,
                        factors: memory.rowWeights.map { UnsafePointer($0 + rows.lowerBound + first) },
                        tile: memory.rowTiles + (Int(memory.expertTiles[expert]) + tile) * tileFloats))
            }
        }
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
