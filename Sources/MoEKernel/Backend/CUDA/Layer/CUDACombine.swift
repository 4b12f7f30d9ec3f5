import CMoECUDA

extension CUDABackend {
    func combine(_ call: CUDACall, into y: Output) throws(MoEError) {
        let memory = call.buffers
        let c = configuration
        let hidden = DeviceMatrices.padded(c.hidden)
        let width = DeviceMatrices.padded(c.expertWidth)
        let type = rowType(call)
        if let gate = kernels.gate { try computeGate(gate, call) }

        // Kernels write whole rows, padding included.
        let target = memory.paddedOutput ?? y.base
        var routed = mc_combine_parameters()
        routed.rows = UnsafeRawPointer(memory.rows)
        // Weights that acted on the inputs are in the rows.
        routed.weights = c.weightSide == .input ? nil : UnsafePointer(memory.applied ?? memory.weights)
        routed.row_of = UnsafePointer(memory.rowOf)
        routed.tokens = Int32(call.tokens)
        routed.slots = Int32(c.slots)
        routed.width = Int32(width)
        routed.row_factor = c.expertOutputScale
        routed.output_factor = 1

        var last = routed
        var lastType = type
        if let latentOut = weights.latentOut, let sums = memory.latentSums, let rows = memory.latentRows {
            routed.output = sums
            try launch(routed, type, weights.type, call)
            let input = ProjectionInput(
                rows: UnsafeRawPointer(sums), token: nil, offsets: UnsafePointer(memory.single!),
                scale: nil, count: call.tokens)
            try project(latentOut, input, into: rows, type, call)
            last = mc_combine_parameters()
            last.rows = UnsafeRawPointer(rows)
            last.tokens = routed.tokens
            last.slots = 1
            last.row_factor = 1
            lastType = type
        }
        last.width = Int32(hidden)
        if let rows = memory.sharedRows {
            last.shared = UnsafeRawPointer(rows)
            last.shared_scale = memory.sharedScale.map { UnsafePointer($0) }
        }
        last.bias = weights.outputBias.map { UnsafePointer($0.address) }
        last.output_factor = c.shared != .none && c.sharedCombine == .average ? 0.5 : 1
        last.output = target
        try launch(last, lastType, y.type, call)
        if let padded = memory.paddedOutput {
            try convert(
                padded, y.type, y.base, y.type, call, rows: call.tokens, width: c.hidden, fromPitch: hidden,
                toPitch: c.hidden)
        }
    }

    private func launch(
        _ p: mc_combine_parameters, _ rows: ElementType, _ output: ElementType, _ call: CUDACall
    ) throws(MoEError) {
        let kernel = kernels.combine[.init(from: rows, to: output)]!
        try kernel.launch(p, grid: grid(kernel, work: call.tokens * (Int(p.width) / 8)), on: call.stream)
    }

    /// σ of the shared gate's logits.
    private func computeGate(_ kernel: CUDAKernel, _ call: CUDACall) throws(MoEError) {
        let memory = call.buffers
        var p = mc_gate_parameters()
        if splitsGate(call) {
            p.logits = memory.gateLogits.map { UnsafePointer($0) }
            p.stride = 1
        } else {
            p.logits = UnsafePointer(memory.logits + weights.gateColumn!)
            p.stride = Int32(logitStride(call))
        }
        p.scale = memory.sharedScale
        p.tokens = Int32(call.tokens)
        try kernel.launch(p, grid: grid(kernel, work: call.tokens), on: call.stream)
    }
}
