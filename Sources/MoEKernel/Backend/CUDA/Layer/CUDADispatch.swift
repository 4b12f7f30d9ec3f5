import CMoECUDA

extension CUDABackend {
    func dispatch(_ call: CUDACall) throws(MoEError) {
        let memory = call.buffers
        try group(
            call, kept: memory.kept.map { UnsafePointer($0) }, mask: nil, rowPair: nil,
            weights: memory.rowScale == nil ? nil : UnsafePointer(memory.applied ?? memory.weights))
    }

    /// Whether one block groups all pairs.
    func takesOneBlock(_ call: CUDACall) -> Bool { call.tokens * configuration.slots <= MC_DISPATCH_BLOCK_PAIRS }

    /// Groups the pairs that `kept` and `mask` leave by expert.
    ///
    /// - Parameters:
    ///   - rowPair: Filled with the pair of each row where given.
    ///   - weights: Of pairs, for the scale of each row.
    func group(
        _ call: CUDACall, kept: UnsafePointer<UInt8>?, mask: UnsafePointer<UInt8>?,
        rowPair: UnsafeMutablePointer<Int32>?, weights: UnsafePointer<Float>?
    ) throws(MoEError) {
        let memory = call.buffers
        let c = configuration
        var p = mc_dispatch_parameters()
        p.chosen = UnsafePointer(memory.chosen)
        p.kept = kept
        p.mask = mask
        p.weights = weights
        p.block_counts = memory.blockCounts
        p.counts = memory.counts
        p.offsets = memory.offsets
        p.row_token = memory.rowToken
        p.row_of = memory.rowOf
        p.row_pair = rowPair
        p.row_scale = weights == nil ? nil : memory.rowScale
        p.all = memory.single
        p.tokens = Int32(call.tokens)
        p.slots = Int32(c.slots)
        p.experts = Int32(c.choices)
        p.chunk = mc_dispatch_chunk(Int64(call.tokens))
        p.blocks = Int32((call.tokens + Int(p.chunk) - 1) / Int(p.chunk))
        let kernels = kernels.dispatch
        if takesOneBlock(call) { return try kernels.block.launch(p, grid: .init(x: 1), on: call.stream) }
        if !selectionCounts(call) { try kernels.count.launch(p, grid: .init(x: Int(p.blocks)), on: call.stream) }
        try kernels.scan.launch(p, grid: .init(x: (c.choices + 31) / 32), on: call.stream)
        try kernels.place.launch(p, grid: .init(x: Int(p.blocks)), on: call.stream)
    }
}
