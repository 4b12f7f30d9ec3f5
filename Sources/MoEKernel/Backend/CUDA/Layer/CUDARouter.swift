import CMoECUDA

extension CUDABackend {
    func route(_ x: Activations, _ call: CUDACall) throws(MoEError) {
        try computeLogits(x, call)
        try selectExperts(call)
    }

    // MARK: Logits

    /// Whether the router sees something else than the layer's input, so that the shared expert's gate needs a product of its own.
    func splitsGate(_ call: CUDACall) -> Bool {
        weights.gateColumn != nil && (configuration.router.input != .identity || call.hasRouterInput)
    }

    /// Columns of a row of logits.
    func logitStride(_ call: CUDACall) -> Int { weights.router.outputs - (splitsGate(call) ? 1 : 0) }

    private func computeLogits(_ x: Activations, _ call: CUDACall) throws(MoEError) {
        let memory = call.buffers
        var input = x
        if call.hasRouterInput, let rows = memory.routerInput {
            input = Activations(base: UnsafeRawPointer(rows), type: .float32, tokens: x.tokens)
        }
        if case .rootMeanSquareNormalised(let epsilon, let scale) = configuration.router.input {
            input = try normalise(input, epsilon, scale, call)
        }
        let columns = logitStride(call)
        try multiply(input, columns: 0..<columns, into: memory.logits, call)
        if splitsGate(call), let gateColumn = weights.gateColumn, let gates = memory.gateLogits {
            try multiply(x, columns: gateColumn..<gateColumn + 1, into: gates, call)
        }
    }

    private func normalise(
        _ x: Activations, _ epsilon: Float, _ scale: Float, _ call: CUDACall
    ) throws(MoEError) -> Activations {
        let kernel = kernels.router.normalise[x.type]!
        var p = mc_normalise_parameters()
        p.x = x.base
        p.factors = UnsafePointer(weights.routerInputScale!.address)
        p.rows = call.buffers.normalised
        p.tokens = Int32(call.tokens)
        p.width = Int32(configuration.hidden)
        p.epsilon = epsilon
        p.scale = scale
        try kernel.launch(p, grid: grid(kernel, work: call.tokens * kernel.threads), on: call.stream)
        return Activations(base: UnsafeRawPointer(call.buffers.normalised!), type: .float32, tokens: x.tokens)
    }

    /// Logits of some columns of the router, [tokens, columns].
    private func multiply(
        _ input: Activations, columns: Range<Int>, into logits: UnsafeMutablePointer<Float>, _ call: CUDACall
    ) throws(MoEError) {
        let memory = call.buffers
        // What the router's type does not hold exactly is multiplied in fp32.
        let matrices = input.type == weights.router.type ? weights.router : weights.wideRouter
        let tiles = input.type == weights.router.type ? kernels.router.logits : kernels.router.wideLogits
        let operand = try padded(input, width: configuration.hidden, to: matrices.type, in: memory.routerOperand, call)
        let multiprocessors = Int32(device.properties.multiprocessors)
        let rows = mc_logits_tile_rows(
            Int64(call.tokens), Int64(columns.count), Int32(matrices.type.byteCount), multiprocessors)
        let tileCount = mc_logits_tiles(
            Int64(call.tokens), Int64(columns.count), rows, mc_logits_tile_columns(rows))
        let splits = mc_logits_splits(tileCount, Int64(matrices.rowBytes), multiprocessors)
        let bias = matrices.bias.map { UnsafePointer($0 + columns.lowerBound) }
        var p = mc_logits_parameters()
        p.x = operand
        p.weights = UnsafeRawPointer(matrices.weights + columns.lowerBound * matrices.rowBytes)
        p.bias = splits == 1 ? bias : nil
        p.output = splits == 1 ? logits : memory.logitParts
        p.tokens = Int32(call.tokens)
        p.columns = Int32(columns.count)
        p.depth = Int32(matrices.depth)
        try tiles.tile(rows: rows).launch(p, grid: .init(x: Int(tileCount), y: Int(splits)), on: call.stream)
        guard splits > 1 else { return }
        var join = mc_join_parameters()
        join.partial = UnsafePointer(memory.logitParts)
        join.bias = bias
        join.logits = logits
        join.tokens = p.tokens
        join.columns = p.columns
        join.splits = splits
        let kernel = kernels.router.join
        try kernel.launch(join, grid: grid(kernel, work: call.tokens * columns.count), on: call.stream)
    }

    // MARK: Selection

    private func selectExperts(_ call: CUDACall) throws(MoEError) {
        let memory = call.buffers
        let c = configuration
        var p = mc_select_parameters()
        p.logits = UnsafePointer(memory.logits)
        p.selection_bias = (deviceSelectionBias?.address ?? weights.selectionBias?.address).map { UnsafePointer($0) }
        p.expert_scale = weights.expertScale.map { UnsafePointer($0.address) }
        p.table = weights.expertTable.map { UnsafePointer($0.address) }
        p.token_ids = memory.tokenIDs.map { UnsafePointer($0) }
        p.chosen = memory.chosen
        p.weights = memory.weights
        p.tokens = Int32(call.tokens)
        p.stride = Int32(logitStride(call))
        p.experts = Int32(c.choices)
        p.slots = Int32(c.slots)
        p.chunk = mc_dispatch_chunk(Int64(call.tokens))
        p.groups = 1
        p.kept_groups = 1
        p.vocabulary = 1
        p.group_column = Int32(weights.groupColumn)
        p.scale = c.router.scale
        switch c.router.score {
        case .softmax: p.score = Int32(MC_SCORE_SOFTMAX)
        case .sigmoid: p.score = Int32(MC_SCORE_SIGMOID)
        case .sqrtSoftplus: p.score = Int32(MC_SCORE_SQRT_SOFTPLUS)
        case .logits: p.score = Int32(MC_SCORE_LOGITS)
        }
        switch c.router.selection {
        case .topK: p.selection = Int32(MC_SELECT_TOP)
        case .grouped(let groups, let keep, let score):
            p.selection = Int32(score == .max ? MC_SELECT_GROUPS_BY_BEST : MC_SELECT_GROUPS_BY_TOP_TWO)
            p.groups = Int32(groups)
            p.kept_groups = Int32(keep)
        case .sparseMixer(let epsilon):
            p.selection = Int32(MC_SELECT_SPARSE_MIXER)
            p.mixer_epsilon = epsilon
        case .table(let vocabulary):
            p.selection = Int32(MC_SELECT_TABLE)
            p.vocabulary = Int32(vocabulary)
        case .hierarchical(let groups, let keep):
            p.selection = Int32(MC_SELECT_HIERARCHICAL)
            p.groups = Int32(groups)
            p.kept_groups = Int32(keep)
        case .expertChoice: p.selection = Int32(MC_SELECT_EVERY)
        }
        switch c.router.weightTransform {
        case .none: p.transform = Int32(MC_TRANSFORM_NONE)
        case .softmaxOverSelected: p.transform = Int32(MC_TRANSFORM_SOFTMAX)
        case .sigmoid: p.transform = Int32(MC_TRANSFORM_SIGMOID)
        }
        switch c.router.normalisation {
        case .none: p.normalisation = Int32(MC_NORMALISE_NONE)
        case .sum(let epsilon):
            p.normalisation = Int32(MC_NORMALISE_SUM)
            p.normalisation_number = epsilon
        case .clampedSum(let minimum):
            p.normalisation = Int32(MC_NORMALISE_CLAMPED_SUM)
            p.normalisation_number = minimum
        case .norm(let power):
            p.normalisation = Int32(MC_NORMALISE_NORM)
            p.normalisation_number = power
        }
        let counts = selectionCounts(call)
        if counts { p.block_counts = memory.blockCounts }
        let blocks = (call.tokens + Int(p.chunk) - 1) / Int(p.chunk)
        let kernel = counts ? kernels.router.countingSelect : kernels.router.select
        try kernel.launch(p, grid: .init(x: blocks), on: call.stream)
        if c.router.isExpertChoice { try chooseTokens(call) }
        if let rule = c.capacity.rule { try limitCapacity(rule, call) }
    }

    /// Whether selection counts the choices for dispatch, which holds where every choice is computed.
    func selectionCounts(_ call: CUDACall) -> Bool {
        configuration.capacity == .unlimited && !configuration.router.isExpertChoice && !takesOneBlock(call)
    }

    private func chooseTokens(_ call: CUDACall) throws(MoEError) {
        let memory = call.buffers
        guard let kernels = kernels.choice else { return }
        var p = mc_choose_parameters()
        p.mask = call.mask
        p.weights = memory.weights
        p.chosen = memory.chosen
        p.kept = memory.kept
        p.tokens = Int32(call.tokens)
        p.experts = Int32(configuration.choices)
        p.limit = Int32(
            ExpertChoice.capacity(
                tokens: call.realTokens, experts: configuration.choices, topK: configuration.topK))
        try kernels.choose.launch(p, grid: .init(x: configuration.choices), on: call.stream)
        try kernels.gather.launch(
            p, grid: grid(kernels.gather, work: call.tokens * 32), on: call.stream)
    }

    private func limitCapacity(_ rule: CapacityRule, _ call: CUDACall) throws(MoEError) {
        let memory = call.buffers
        let c = configuration
        guard let kernels = kernels.capacity, let kept = memory.kept, let applied = memory.applied else { return }
        // Who queues for whom.
        try group(call, kept: nil, mask: rule.dropsPadding ? call.mask : nil, rowPair: memory.rowPair, weights: nil)
        let sequence = rule.scope == .sequence ? call.sequenceLength : call.tokens
        let limit = call.capacity ?? rule.limit.choices(tokens: sequence, experts: c.choices, topK: c.topK)
        var p = mc_admit_parameters()
        p.offsets = UnsafePointer(memory.offsets)
        p.row_pair = memory.rowPair.map { UnsafePointer($0) }
        p.row_of = UnsafePointer(memory.rowOf)
        p.weights = UnsafePointer(memory.weights)
        p.kept = kept
        p.tokens = Int32(call.tokens)
        p.slots = Int32(c.slots)
        p.experts = Int32(c.choices)
        p.limited = Int32(c.experts)
        p.sequence = Int32(sequence)
        p.limit = Int32(clamping: limit)
        switch rule.order {
        case .position: p.order = Int32(MC_QUEUE_POSITION)
        case .choiceRank: p.order = Int32(MC_QUEUE_CHOICE_RANK)
        case .tokenPriority: p.order = Int32(MC_QUEUE_TOKEN_PRIORITY)
        case .weight: p.order = Int32(MC_QUEUE_WEIGHT)
        }
        let queues = c.choices * (call.tokens / sequence)
        try kernels.admit.launch(p, grid: .init(x: min(queues, 64 * kernels.admit.residentBlocks)), on: call.stream)
        var weigh = mc_weigh_parameters()
        weigh.weights = UnsafePointer(memory.weights)
        weigh.kept = UnsafePointer(kept)
        weigh.applied = applied
        weigh.tokens = p.tokens
        weigh.slots = p.slots
        switch rule.renormalisation {
        case .none: weigh.rule = Int32(MC_RENORMALISE_NONE)
        case .allChoices(let minimum):
            weigh.rule = Int32(MC_RENORMALISE_ALL)
            weigh.minimum = minimum
        case .keptChoices(let minimum):
            weigh.rule = Int32(MC_RENORMALISE_KEPT)
            weigh.minimum = minimum
        }
        try kernels.weigh.launch(weigh, grid: grid(kernels.weigh, work: call.tokens), on: call.stream)
    }
}
