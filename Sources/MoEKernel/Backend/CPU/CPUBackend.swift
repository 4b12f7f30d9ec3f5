import CPlatform
import MicroKernels

/// The stages on the CPU: packed weights, the kernels of one instruction set, and the threads they run on.
final class CPUBackend: Backend {
    typealias Memory = CPUStageBuffers

    /// Where y goes: [tokens, hidden] in fp32 or bf16.
    struct Output: @unchecked Sendable {
        let base: UnsafeMutableRawPointer
        let type: ElementType
    }

    let configuration: MoEConfiguration
    let weights: CPUWeights
    let pool: ThreadPool
    let instructionSet: CPUInstructionSet
    let kernels: any KernelSet
    private let planner: SweepPlanner

    init(
        _ configuration: MoEConfiguration, source: any WeightSource, pool: ThreadPool,
        instructionSet: CPUInstructionSet
    ) throws(MoEError) {
        self.configuration = configuration
        self.pool = pool
        self.instructionSet = instructionSet
        kernels = instructionSet.kernels
        weights = try CPUWeights(configuration, source: source, pool: pool)
        let secondLevel = Int(cp_cache_bytes(2))
        planner = SweepPlanner(
            tileRows: kernels.tileRows, threads: pool.threads,
            activationBytes: max(secondLevel, Self.assumedSecondLevelBytes) / 2)
    }

    /// What a core has at least where the system does not tell.
    private static let assumedSecondLevelBytes = 256 << 10

    // MARK: Router

    func route(_ x: Activations, _ memory: CPUStageBuffers) {
        computeLogits(x, memory)
        selectExperts(memory)
    }

    /// x → logits [T, E], by the same kernels and summation order as the experts.
    func computeLogits(_ x: Activations, _ memory: CPUStageBuffers) {
        packTokens(x, memory)
        sweep(
            weights.router, rows: { _ in memory.tokens }, memory, activations: memory.tokenTiles, groupTiles: nil,
            result: .store(memory.logits, groupRows: nil))
    }

    /// Logits → experts and weights [T, k].
    func selectExperts(_ memory: CPUStageBuffers) {
        let work = SelectWork(backend: self, memory: memory)
        pool.run(work, tasks: work.count)
    }

    // MARK: Dispatch

    func dispatch(_ memory: CPUStageBuffers) {
        group(memory, indices: memory.indices)
    }

    /// The dense baseline's plan: every expert for every token, with the router's weight or 0.
    func dispatchToEveryExpert(_ memory: CPUStageBuffers) {
        let experts = configuration.experts
        guard let indices = memory.denseIndices, let weights = memory.denseWeights else { return }
        for token in 0..<memory.tokens {
            for expert in 0..<experts {
                indices[token * experts + expert] = Int32(expert)
                weights[token * experts + expert] = 0
            }
            for slot in 0..<configuration.topK {
                let choice = token * configuration.topK + slot
                weights[token * experts + Int(memory.indices[choice])] = memory.weights[choice]
            }
        }
        group(memory, indices: indices)
    }

    private func group(_ memory: CPUStageBuffers, indices: UnsafePointer<Int32>) {
        let plan = dispatchPlan(memory)
        plan.group(indices)
        tileExperts(plan, memory)
    }

    func dispatchPlan(_ memory: CPUStageBuffers) -> Dispatch {
        Dispatch(
            tokens: memory.tokens, topK: memory.slots, experts: configuration.experts, offsets: memory.offsets,
            rowTokens: memory.rowTokens, slotRows: memory.slotRows)
    }

    /// Numbers the row tiles: those of expert e are expertTiles[e]..<expertTiles[e + 1].
    func tileExperts(_ plan: Dispatch, _ memory: CPUStageBuffers) {
        var tile: Int32 = 0
        for expert in 0..<configuration.experts {
            memory.expertTiles[expert] = tile
            tile += Int32(TileSplit(rows: plan.rows(of: expert).count, tileRows: kernels.tileRows).count)
        }
        memory.expertTiles[configuration.experts] = tile
    }

    // MARK: Experts

    func computeExperts(_ x: Activations, _ memory: CPUStageBuffers) {
        let plan = dispatchPlan(memory)
        let activation = ActivationCode(configuration.expert.activation)
        gather(x, plan, memory)
        sweep(
            weights.inner, rows: { plan.rows(of: $0).count }, memory, activations: memory.rowTiles,
            groupTiles: memory.expertTiles,
            result: .activate(
                activation, tiles: memory.innerTiles, tileFloats: weights.down.tileFloats(kernels.tileRows)))
        sweep(
            weights.down, rows: { plan.rows(of: $0).count }, memory, activations: memory.innerTiles,
            groupTiles: memory.expertTiles, result: .store(memory.rows, groupRows: memory.offsets))
        guard let sharedInner = weights.sharedInner, let sharedDown = weights.sharedDown else { return }
        // The tokens were packed for the router.
        sweep(
            sharedInner, rows: { _ in memory.tokens }, memory, activations: memory.tokenTiles, groupTiles: nil,
            result: .activate(
                activation, tiles: memory.sharedTiles, tileFloats: sharedDown.tileFloats(kernels.tileRows)))
        sweep(
            sharedDown, rows: { _ in memory.tokens }, memory, activations: memory.sharedTiles, groupTiles: nil,
            result: .store(memory.sharedRows, groupRows: nil))
    }

    // MARK: Combine

    func combine(_ memory: CPUStageBuffers, into y: Output) {
        let work = CombineWork(backend: self, memory: memory, y: y)
        pool.run(work, tasks: work.count)
    }

    // MARK: Helpers

    /// All tokens in order, for the router and the shared expert.
    func packTokens(_ x: Activations, _ memory: CPUStageBuffers) {
        let split = TileSplit(rows: memory.tokens, tileRows: kernels.tileRows)
        let work = PackTokensWork(backend: self, x: x, split: split, tiles: memory.tokenTiles)
        pool.run(work, tasks: work.tasks)
    }

    private func gather(_ x: Activations, _ plan: Dispatch, _ memory: CPUStageBuffers) {
        let work = GatherWork(backend: self, x: x, plan: plan, memory: memory)
        pool.run(work, tasks: work.tasks)
    }

    private func sweep(
        _ matrices: PackedMatrices, rows: (Int) -> Int, _ memory: CPUStageBuffers,
        activations: UnsafePointer<Float>, groupTiles: UnsafePointer<Int32>?, result: GroupedSweep.Result
    ) {
        let count = planner.plan(rows: rows, matrices: matrices, into: memory.tasks)
        pool.run(
            GroupedSweep(
                kernels: kernels, tasks: memory.tasks, matrices: matrices, activations: activations,
                groupTiles: groupTiles, result: result, scratch: memory.scratch, scratchFloats: memory.scratchFloats),
            tasks: count)
    }

    /// The memory of a batch: reserves every array in `layout`, and returns what builds the pointers once there is a region.
    func planBuffers(
        _ capacity: BatchCapacity, layout: inout RegionLayout
    ) throws(MoEError) -> (UnsafeMutableRawPointer) -> CPUStageBuffers {
        let c = configuration
        let tileRows = kernels.tileRows
        let (tokens, slots) = (capacity.tokens, capacity.slots)
        let rows = tokens * slots
        let widest = max(c.hidden, c.expertHidden, c.shared.width ?? 0)
        // Int32 row numbers, and room to multiply sizes without overflow below.
        guard rows < Int(Int32.max), rows.multipliedReportingOverflow(by: widest * 64).overflow == false else {
            throw .input(
                name: "tokens", value: "\(tokens)", expectation: "tokens · topK below 2^31; split the batch")
        }
        let tokenTiles = TileSplit(rows: tokens, tileRows: tileRows).count
        // Every expert may end in a tile that is not full.
        let rowTiles = min(rows, rows / tileRows + c.experts)
        let dense = slots > c.topK
        let scratchFloats = GroupedSweep.scratchFloats(
            rows: min(max(tokens, tileRows), planner.largestBlockRows(weights)), kernels: kernels)
        let o = (
            tokenTiles: layout.reserve(Float.self, tokenTiles * weights.router.tileFloats(tileRows)),
            logits: layout.reserve(Float.self, tokens * weights.router.columns),
            indices: layout.reserve(Int32.self, tokens * c.topK),
            weights: layout.reserve(Float.self, tokens * c.topK),
            denseIndices: layout.reserve(Int32.self, dense ? rows : 0),
            denseWeights: layout.reserve(Float.self, dense ? rows : 0),
            offsets: layout.reserve(Int32.self, 2 * c.experts + 1),
            rowTokens: layout.reserve(Int32.self, rows),
            slotRows: layout.reserve(Int32.self, rows),
            expertTiles: layout.reserve(Int32.self, c.experts + 1),
            rowTiles: layout.reserve(Float.self, rowTiles * weights.inner.tileFloats(tileRows)),
            innerTiles: layout.reserve(Float.self, rowTiles * weights.down.tileFloats(tileRows)),
            rows: layout.reserve(Float.self, rows * c.hidden),
            sharedTiles: layout.reserve(
                Float.self, weights.sharedDown.map { tokenTiles * $0.tileFloats(tileRows) } ?? 0),
            sharedRows: layout.reserve(Float.self, weights.sharedDown == nil ? 0 : tokens * c.hidden),
            tasks: layout.reserve(
                SweepTask.self,
                SweepPlanner.capacity(
                    tiles: max(rowTiles, tokenTiles), groups: c.experts, threads: pool.threads)),
            scratch: layout.reserve(Float.self, pool.threads * scratchFloats)
        )
        return { base in
            CPUStageBuffers(
                tokens: tokens, slots: slots, tokenTiles: base.array(Float.self, at: o.tokenTiles),
                logits: base.array(Float.self, at: o.logits), indices: base.array(Int32.self, at: o.indices),
                weights: base.array(Float.self, at: o.weights),
                denseIndices: dense ? base.array(Int32.self, at: o.denseIndices) : nil,
                denseWeights: dense ? base.array(Float.self, at: o.denseWeights) : nil,
                offsets: base.array(Int32.self, at: o.offsets), rowTokens: base.array(Int32.self, at: o.rowTokens),
                slotRows: base.array(Int32.self, at: o.slotRows),
                expertTiles: base.array(Int32.self, at: o.expertTiles),
                rowTiles: base.array(Float.self, at: o.rowTiles), innerTiles: base.array(Float.self, at: o.innerTiles),
                rows: base.array(Float.self, at: o.rows), sharedTiles: base.array(Float.self, at: o.sharedTiles),
                sharedRows: base.array(Float.self, at: o.sharedRows), tasks: base.array(SweepTask.self, at: o.tasks),
                scratch: base.array(Float.self, at: o.scratch), scratchFloats: scratchFloats)
        }
    }
}

/// Work that does not stream weights is dealt in pieces of about this many values, so that a single token's share is done by the
/// caller alone rather than paid for in wake-ups.
private let valuesPerTask = 32_768

private struct PackTokensWork: ParallelWork {
    let backend: CPUBackend
    let x: Activations
    let split: TileSplit
    let tiles: UnsafeMutablePointer<Float>

    private var tilesPerTask: Int {
        max(valuesPerTask / (backend.kernels.tileRows * backend.configuration.hidden), 1)
    }
    var tasks: Int { (split.count + tilesPerTask - 1) / tilesPerTask }

    func run(task: Int, worker: Int) {
        let tileFloats = backend.weights.router.tileFloats(backend.kernels.tileRows)
        for tile in task * tilesPerTask..<min((task + 1) * tilesPerTask, split.count) {
            let first = split.start(tile)
            backend.kernels.pack(
                PackRows(
                    source: x.base, bfloat16: x.type == .bfloat16, depth: backend.configuration.hidden, tokens: nil,
                    firstToken: first, rows: split.start(tile + 1) - first, tile: tiles + tile * tileFloats))
        }
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
        return max(valuesPerTask / (rows * backend.configuration.hidden), 1)
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
                        source: x.base, bfloat16: x.type == .bfloat16, depth: backend.configuration.hidden,
                        tokens: memory.rowTokens + rows.lowerBound + first, firstToken: 0,
                        rows: split.start(tile + 1) - first,
                        tile: memory.rowTiles + (Int(memory.expertTiles[expert]) + tile) * tileFloats))
            }
        }
    }
}

private struct SelectWork: ParallelWork {
    let backend: CPUBackend
    let memory: CPUStageBuffers

    // A token costs a few operations for each expert, more than copying a value does.
    private var tokensPerTask: Int { max(valuesPerTask / (8 * backend.configuration.experts), 1) }
    var count: Int { (memory.tokens + tokensPerTask - 1) / tokensPerTask }

    func run(task: Int, worker: Int) {
        let c = backend.configuration
        let epsilon: Float? = if case .sum(let epsilon) = c.router.normalisation { epsilon } else { nil }
        backend.kernels.select(
            RouterSelection(
                logits: memory.logits, stride: backend.weights.router.columns, experts: c.experts, topK: c.topK,
                tokens: task * tokensPerTask..<min((task + 1) * tokensPerTask, memory.tokens), indices: memory.indices,
                weights: memory.weights, normalise: epsilon != nil, epsilon: epsilon ?? 0, scale: c.router.scale))
    }
}

private struct CombineWork: ParallelWork {
    let backend: CPUBackend
    let memory: CPUStageBuffers
    let y: CPUBackend.Output

    private var tokensPerTask: Int {
        max(valuesPerTask / (memory.slots * backend.configuration.hidden), 1)
    }
    var count: Int { (memory.tokens + tokensPerTask - 1) / tokensPerTask }

    func run(task: Int, worker: Int) {
        let c = backend.configuration
        let gated = backend.weights.router.columns > c.experts
        backend.kernels.combine(
            CombineRows(
                tokens: task * tokensPerTask..<min((task + 1) * tokensPerTask, memory.tokens), hidden: c.hidden,
                topK: memory.slots, rows: memory.rows, rowOfSlot: memory.slotRows,
                weights: memory.slots > c.topK ? memory.denseWeights! : memory.weights,
                shared: backend.weights.sharedDown == nil ? nil : UnsafePointer(memory.sharedRows),
                sharedGate: gated ? UnsafePointer(memory.logits + c.experts) : nil,
                sharedGateStride: backend.weights.router.columns, output: y.base, bfloat16: y.type == .bfloat16))
    }
}
