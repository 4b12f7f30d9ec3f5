import MicroKernels

extension CPUBackend {
    func route(_ x: Activations, _ memory: CPUStageBuffers) {
        computeLogits(x, memory)
        selectExperts(memory)
    }

    /// x → logits [T, E], by the same kernels and summation order as the experts.
    func computeLogits(_ x: Activations, _ memory: CPUStageBuffers) {
        let input = routerInput(x, memory)
        packTokens(input, depth: configuration.hidden, memory, tiles: memory.tokenTiles)
        multiply(
            weights.router, tokenTiles(input, depth: configuration.hidden, packed: memory.tokenTiles),
            into: memory.logits, memory)
    }

    /// Logits → experts and weights [T, k].
    func selectExperts(_ memory: CPUStageBuffers) {
        selectionBias.withOptionalPointer { bias in
            weights.vectors.expertScale.withOptionalPointer { expertScale in
                weights.vectors.expertTable.withOptionalPointer { table in
                    let work = SelectWork(
                        backend: self, memory: memory, rule: rule(memory, table: table), bias: bias,
                        expertScale: expertScale)
                    pool.run(work, tasks: work.count)
                }
            }
        }
        if configuration.router.isExpertChoice { chooseTokens(memory) }
        if let rule = configuration.capacity.rule { limitCapacity(rule, memory) }
    }

    private func rule(_ memory: CPUStageBuffers, table: UnsafePointer<Int32>?) -> SelectionRule {
        switch configuration.router.selection {
        case .topK: .topK
        case .grouped(let groups, let keep, let score):
            .grouped(groups: groups, keep: keep, topTwo: score == .topTwoSum)
        case .sparseMixer(let epsilon): .sparseMixer(epsilon: epsilon)
        // The layer checked that both are there.
        case .table: .table(table!, tokenIDs: memory.tokenIDs!)
        case .hierarchical(let groups, let keep): .hierarchical(groups: groups, keep: keep, offset: weights.groupColumn)
        case .expertChoice: .everyExpert
        }
    }

    /// What the router multiplies: x, what the caller gave in its place, or that normalised.
    private func routerInput(_ x: Activations, _ memory: CPUStageBuffers) -> Activations {
        guard let rows = memory.routerRows else { return x }
        if case .rootMeanSquareNormalised(let epsilon, let scale) = configuration.router.input {
            let source =
                memory.hasRouterInput
                ? Activations(base: UnsafeRawPointer(rows), type: .float32, tokens: memory.tokens) : x
            weights.vectors.routerInputScale!.withUnsafeBufferPointer { factors in
                let work = NormaliseWork(
                    x: source, hidden: configuration.hidden, epsilon: epsilon, scale: scale,
                    factors: factors.baseAddress!, rows: rows)
                pool.run(work, tasks: work.count)
            }
        }
        return Activations(base: UnsafeRawPointer(rows), type: .float32, tokens: memory.tokens)
    }

    private func chooseTokens(_ memory: CPUStageBuffers) {
        guard let kept = memory.kept, let order = memory.order else { return }
        let choice = ExpertChoice(
            tokens: memory.tokens, experts: configuration.choices, indices: memory.indices, weights: memory.weights,
            kept: kept)
        var real = memory.tokens
        if let mask = memory.mask { real = (0..<memory.tokens).count { mask[$0] != 0 } }
        let capacity = ExpertChoice.capacity(
            tokens: real, experts: configuration.choices, topK: configuration.topK)
        pool.run(
            ChooseTokensWork(choice: choice, capacity: capacity, mask: memory.mask, order: order),
            tasks: configuration.choices)
        let gather = GatherChoicesWork(choice: choice)
        pool.run(gather, tasks: gather.count)
    }

    private func limitCapacity(_ rule: CapacityRule, _ memory: CPUStageBuffers) {
        guard let kept = memory.kept, let applied = memory.applied, let order = memory.order,
            let served = memory.served
        else { return }
        CapacityQueue(
            tokens: memory.tokens, topK: configuration.topK, experts: configuration.experts,
            choices: configuration.choices, indices: memory.indices,
            weights: memory.weights, kept: kept, applied: applied, served: served, order: order
        ).serve(rule, limit: memory.capacity, sequenceLength: memory.sequenceLength, mask: memory.mask)
    }
}

extension Optional {
    /// Lends an optional array's elements, or nil.
    func withOptionalPointer<Element>(_ body: (UnsafePointer<Element>?) -> Void) where Wrapped == [Element] {
        switch self {
        case .none: body(nil)
        case .some(let array): array.withUnsafeBufferPointer { body($0.baseAddress) }
        }
    }
}

private struct SelectWork: ParallelWork {
    let backend: CPUBackend
    let memory: CPUStageBuffers
    let rule: SelectionRule
    let bias: UnsafePointer<Float>?
    let expertScale: UnsafePointer<Float>?

    // A token costs a few operations for each expert, more than copying a value does.
    private var tokensPerTask: Int { max(CPUBackend.valuesPerTask / (8 * backend.configuration.choices), 1) }
    var count: Int { (memory.tokens + tokensPerTask - 1) / tokensPerTask }

    func run(task: Int, worker: Int) {
        let c = backend.configuration
        backend.kernels.select(
            RouterSelection(
                logits: memory.logits, stride: backend.weights.router.columns, choices: c.choices, topK: c.slots,
                tokens: task * tokensPerTask..<min((task + 1) * tokensPerTask, memory.tokens), indices: memory.indices,
                weights: memory.weights, score: ScoreCode(c.router.score), bias: bias, rule: rule,
                transform: TransformCode(c.router.weightTransform),
                normalisation: NormalisationCode(c.router.normalisation), scale: c.router.scale,
                expertScale: expertScale,
                scratch: memory.selectScratch + worker * RouterSelection.scratchFloats(choices: c.choices)))
    }
}

/// Rows divided by their root mean square.
private struct NormaliseWork: ParallelWork {
    let x: Activations
    let hidden: Int
    let epsilon: Float
    let scale: Float
    let factors: UnsafePointer<Float>
    let rows: UnsafeMutablePointer<Float>

    private var tokensPerTask: Int { max(CPUBackend.valuesPerTask / (4 * hidden), 1) }
    var count: Int { (x.tokens + tokensPerTask - 1) / tokensPerTask }

    func run(task: Int, worker: Int) {
        for token in task * tokensPerTask..<min((task + 1) * tokensPerTask, x.tokens) {
            let row = rows + token * hidden
            // In Double the sum is exact to fp32 whatever its order, and the same everywhere.
            var squares = 0.0
            for h in 0..<hidden {
                let value = x.type.value(x.base, token * hidden + h)
                row[h] = value
                squares += Double(value) * Double(value)
            }
            let factor = Float(1 / (squares / Double(hidden) + Double(epsilon)).squareRoot())
            for h in 0..<hidden { row[h] = row[h] * factor * scale * factors[h] }
        }
    }
}

private struct ChooseTokensWork: ParallelWork {
    let choice: ExpertChoice
    let capacity: Int
    let mask: UnsafePointer<UInt8>?
    /// [tokens] for each worker.
    let order: UnsafeMutablePointer<Int32>

    func run(task expert: Int, worker: Int) {
        choice.choose(expert, capacity: capacity, mask: mask, order: order + worker * choice.tokens)
    }
}

private struct GatherChoicesWork: ParallelWork {
    let choice: ExpertChoice

    private var tokensPerTask: Int { max(CPUBackend.valuesPerTask / (4 * choice.experts), 1) }
    var count: Int { (choice.tokens + tokensPerTask - 1) / tokensPerTask }

    func run(task: Int, worker: Int) {
        for token in task * tokensPerTask..<min((task + 1) * tokensPerTask, choice.tokens) { choice.gather(token) }
    }
}

extension ScoreCode {
    init(_ score: RouterScore) {
        self =
            switch score {
            case .softmax: .softmax
            case .sigmoid: .sigmoid
            case .sqrtSoftplus: .sqrtSoftplus
            case .logits: .logits
            }
    }
}

extension TransformCode {
    init(_ transform: WeightTransform) {
        self =
            switch transform {
            case .none: .none
            case .softmaxOverSelected: .softmax
            case .sigmoid: .sigmoid
            }
    }
}

extension NormalisationCode {
    init(_ normalisation: RouterNormalisation) {
        self =
            switch normalisation {
            case .none: .none
            case .sum(let epsilon): .sum(epsilon: epsilon)
            case .clampedSum(let minimum): .clampedSum(minimum: minimum)
            case .norm(let p): .norm(p: p)
            }
    }
}
