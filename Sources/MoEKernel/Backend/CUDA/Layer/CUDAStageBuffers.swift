import CMoECUDA

/// The structs between the stages of one call, in a device's memory. Everything is row-major; nil where the layer has no use for it.
struct CUDAStageBuffers: @unchecked Sendable {
    // Router.
    /// [tokens, columns of the router]
    let logits: UnsafeMutablePointer<Float>
    /// [splits, tokens, columns]
    let logitParts: UnsafeMutablePointer<Float>
    /// [tokens]: logits of the shared gate where they need a product of their own.
    let gateLogits: UnsafeMutablePointer<Float>?
    /// [tokens, hidden], normalised, fp32
    let normalised: UnsafeMutablePointer<Float>?
    /// [tokens, padded hidden] in the router's type or fp32
    let routerOperand: UnsafeMutableRawPointer
    /// [tokens, hidden] fp32, from the host
    let routerInput: UnsafeMutablePointer<Float>?
    /// [tokens]
    let tokenIDs: UnsafeMutablePointer<Int32>?
    let mask: UnsafeMutablePointer<UInt8>

    // Routing, [tokens, slots].
    let chosen: UnsafeMutablePointer<Int32>
    let weights: UnsafeMutablePointer<Float>
    /// What is left of the weights under a capacity.
    let applied: UnsafeMutablePointer<Float>?
    let kept: UnsafeMutablePointer<UInt8>?

    // Dispatch.
    /// [blocks, choices]
    let blockCounts: UnsafeMutablePointer<Int32>
    /// [choices]
    let counts: UnsafeMutablePointer<Int32>
    /// [choices + 1]
    let offsets: UnsafeMutablePointer<Int32>
    /// [rows]
    let rowToken: UnsafeMutablePointer<Int32>
    let rowPair: UnsafeMutablePointer<Int32>?
    let rowScale: UnsafeMutablePointer<Float>?
    /// [tokens, slots]
    let rowOf: UnsafeMutablePointer<Int32>
    /// [2]: 0 and the number of tokens: the offsets of a single expert that all tokens visit.
    let single: UnsafeMutablePointer<Int32>?

    // Experts, in the type of the weights but where said.
    /// [tokens, padded hidden]
    let operand: UnsafeMutableRawPointer
    /// [tokens, padded latent]
    let latent: UnsafeMutableRawPointer?
    /// [rows, padded inner width]
    let inner: UnsafeMutableRawPointer
    /// [rows, padded width], fp32 or the weights' type
    let rows: UnsafeMutableRawPointer
    /// [splits, rows, height], fp32
    let parts: UnsafeMutablePointer<Float>
    /// [tokens, padded shared width]
    let sharedInner: UnsafeMutableRawPointer?
    /// [tokens, padded hidden], as `rows`
    let sharedRows: UnsafeMutableRawPointer?
    /// [tokens]
    let sharedScale: UnsafeMutablePointer<Float>?

    // Combine.
    /// [tokens, padded latent] in the weights' type
    let latentSums: UnsafeMutableRawPointer?
    /// [tokens, padded hidden], as `rows`
    let latentRows: UnsafeMutableRawPointer?
    /// [tokens, padded hidden] in the output's type, where hidden is no multiple of what kernels write at once
    let paddedOutput: UnsafeMutableRawPointer?
}

/// How much a workspace holds.
struct CUDACapacity: Hashable {
    var tokens: Int
    /// Whether rows of many tokens are kept in fp32, as outputs of another type than the weights want them.
    var wideRows: Bool
    var routerInput: Bool

    func covers(_ other: Self) -> Bool {
        tokens >= other.tokens && (wideRows || !other.wideRows) && (routerInput || !other.routerInput)
    }

    func union(_ other: Self) -> Self {
        Self(
            tokens: max(tokens, other.tokens), wideRows: wideRows || other.wideRows,
            routerInput: routerInput || other.routerInput)
    }
}

extension CUDABackend {
    /// Lays out the buffers of a batch of at most so many tokens; what is returned places them.
    func planBuffers(
        _ capacity: CUDACapacity, layout: inout RegionLayout
    ) -> (UnsafeMutableRawPointer) -> CUDAStageBuffers {
        let c = configuration
        let tokens = max(capacity.tokens, 1)
        let pairs = tokens * c.slots
        let most = c.mostRows(tokens: tokens, slots: c.slots)
        let columns = weights.router.outputs
        let hidden = DeviceMatrices.padded(c.hidden)
        let width = DeviceMatrices.padded(c.expertWidth)
        let small = weights.type.byteCount
        let properties = device.properties
        // Decode kernels write rows in fp32, others what the output wants.
        let fewTokens = min(tokens, ProjectionKernels.DecodeKernels.mostTokens)
        let rowBytes = capacity.wideRows ? 4 : small
        func rowsBytes(_ width: Int, rows: Int, few: Int) -> Int { max(rows * rowBytes, few * 4) * width }
        let fewRows = c.mostRows(tokens: fewTokens, slots: c.slots)
        func reserve<Element>(_ type: Element.Type, _ count: Int) -> Int { layout.reserve(type, count) }
        func optional<Element>(_ type: Element.Type, _ count: Int, if wanted: Bool) -> Int? {
            wanted ? layout.reserve(type, count) : nil
        }
        let hasShared = c.shared != .none
        let isLimited = c.capacity != .unlimited
        let isChoice = c.router.isExpertChoice

        let logits = reserve(Float.self, tokens * columns)
        // There are at most as many tiles as multiprocessors where parts are made, and the largest of those has 64 · 64 logits.
        let logitParts = reserve(Float.self, properties.multiprocessors * 64 * 64)
        let gateLogits = optional(Float.self, tokens, if: c.shared.isGated)
        let normalised = optional(Float.self, tokens * c.hidden, if: c.router.input != .identity)
        let routerOperand = reserve(Float.self, tokens * hidden)
        let routerInput = optional(Float.self, tokens * c.hidden, if: capacity.routerInput)
        let usesIDs = c.router.usesTokenIDs
        let tokenIDs = optional(Int32.self, tokens, if: usesIDs)
        let mask = reserve(UInt8.self, tokens)
        let chosen = reserve(Int32.self, pairs)
        let weightsOfPairs = reserve(Float.self, pairs)
        let applied = optional(Float.self, pairs, if: isLimited)
        let kept = optional(UInt8.self, pairs, if: isLimited || isChoice)
        let blocks = min((tokens + MC_DISPATCH_THREADS / 32 - 1) / (MC_DISPATCH_THREADS / 32), MC_DISPATCH_BLOCKS)
        let blockCounts = reserve(Int32.self, blocks * c.choices)
        let counts = reserve(Int32.self, c.choices)
        let offsets = reserve(Int32.self, c.choices + 1)
        let rowToken = reserve(Int32.self, most)
        let rowPair = optional(Int32.self, most, if: isLimited)
        let rowScale = optional(Float.self, most, if: c.weightSide == .input)
        let rowOf = reserve(Int32.self, pairs)
        let single = optional(Int32.self, 2, if: hasShared || c.latent != nil)
        let operand = reserve(UInt8.self, tokens * hidden * small)
        let latent = optional(UInt8.self, tokens * width * small, if: c.latent != nil)
        let inner = reserve(UInt8.self, most * weights.inner.innerWidth * small)
        let rows = reserve(UInt8.self, rowsBytes(width, rows: most, few: fewRows))
        let parts = reserve(Float.self, mostParts(fewRows: fewRows, fewTokens: fewTokens))
        let sharedInner = weights.sharedInner.map { layout.reserve(UInt8.self, tokens * $0.innerWidth * small) }
        let sharedRows = optional(UInt8.self, rowsBytes(hidden, rows: tokens, few: fewTokens), if: hasShared)
        let sharedScale = optional(Float.self, tokens, if: c.shared.isGated)
        let latentSums = optional(UInt8.self, tokens * width * small, if: c.latent != nil)
        let latentRows = optional(UInt8.self, rowsBytes(hidden, rows: tokens, few: fewTokens), if: c.latent != nil)
        let paddedOutput = optional(Float.self, tokens * hidden, if: hidden != c.hidden)
        return { base in
            CUDAStageBuffers(
                logits: base.array(Float.self, at: logits), logitParts: base.array(Float.self, at: logitParts),
                gateLogits: gateLogits.map { base.array(Float.self, at: $0) },
                normalised: normalised.map { base.array(Float.self, at: $0) }, routerOperand: base + routerOperand,
                routerInput: routerInput.map { base.array(Float.self, at: $0) },
                tokenIDs: tokenIDs.map { base.array(Int32.self, at: $0) }, mask: base.array(UInt8.self, at: mask),
                chosen: base.array(Int32.self, at: chosen), weights: base.array(Float.self, at: weightsOfPairs),
                applied: applied.map { base.array(Float.self, at: $0) },
                kept: kept.map { base.array(UInt8.self, at: $0) },
                blockCounts: base.array(Int32.self, at: blockCounts), counts: base.array(Int32.self, at: counts),
                offsets: base.array(Int32.self, at: offsets), rowToken: base.array(Int32.self, at: rowToken),
                rowPair: rowPair.map { base.array(Int32.self, at: $0) },
                rowScale: rowScale.map { base.array(Float.self, at: $0) }, rowOf: base.array(Int32.self, at: rowOf),
                single: single.map { base.array(Int32.self, at: $0) }, operand: base + operand,
                latent: latent.map { base + $0 }, inner: base + inner, rows: base + rows,
                parts: base.array(Float.self, at: parts), sharedInner: sharedInner.map { base + $0 },
                sharedRows: sharedRows.map { base + $0 },
                sharedScale: sharedScale.map { base.array(Float.self, at: $0) },
                latentSums: latentSums.map { base + $0 }, latentRows: latentRows.map { base + $0 },
                paddedOutput: paddedOutput.map { base + $0 })
        }
    }

    /// Numbers of split sums, at most, of any projection that few tokens take.
    private func mostParts(fewRows: Int, fewTokens: Int) -> Int {
        func parts(_ matrices: DeviceMatrices?, rows: Int) -> Int {
            guard let matrices else { return 0 }
            let splits = mc_decode_splits(
                Int32(leastTouched(matrices)), Int32(matrices.height), Int32(matrices.depth),
                Int32(device.properties.multiprocessors))
            return splits > 1 ? Int(splits) * rows * matrices.height : 0
        }
        return max(
            parts(weights.inner, rows: fewRows), parts(weights.down, rows: fewRows),
            parts(weights.sharedInner, rows: fewTokens), parts(weights.sharedDown, rows: fewTokens),
            parts(weights.latentIn, rows: fewTokens), parts(weights.latentOut, rows: fewTokens))
    }

    /// The fewest groups of matrices that a token that visits any can touch.
    func leastTouched(_ matrices: DeviceMatrices) -> Int {
        matrices.groups == 1 || configuration.router.isExpertChoice ? 1 : min(configuration.slots, matrices.groups)
    }
}
