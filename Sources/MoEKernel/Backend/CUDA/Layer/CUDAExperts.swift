import CMoECUDA

extension CUDABackend {
    func computeExperts(_ x: Activations, _ call: CUDACall) throws(MoEError) {
        let memory = call.buffers
        let c = configuration
        let operand = try padded(x, width: c.hidden, to: weights.type, in: memory.operand, call)
        var experts = ProjectionInput(
            rows: operand, token: UnsafePointer(memory.rowToken), offsets: UnsafePointer(memory.offsets),
            scale: memory.rowScale.map { UnsafePointer($0) }, count: c.mostRows(tokens: call.tokens, slots: c.slots))
        if let latentIn = weights.latentIn, let latent = memory.latent {
            try project(latentIn, single(operand, call), into: latent, weights.type, call)
            experts.rows = UnsafeRawPointer(latent)
        }
        try activate(weights.inner, experts, into: memory.inner, call)
        experts.rows = UnsafeRawPointer(memory.inner)
        experts.token = nil
        experts.scale = nil
        try project(weights.down, experts, into: memory.rows, rowType(call), call)
        if c.identityExperts > 0 { try copyIdentityRows(x, call) }
        if let sharedInner = weights.sharedInner, let sharedDown = weights.sharedDown, let inner = memory.sharedInner,
            let rows = memory.sharedRows
        {
            try activate(sharedInner, single(operand, call), into: inner, call)
            try project(sharedDown, single(UnsafeRawPointer(inner), call), into: rows, rowType(call), call)
        }
    }

    /// What experts' outputs are kept in: decode kernels write fp32; else the output's own type, where weights are of that type, so that
    /// the combine reads half as much.
    func rowType(_ call: CUDACall) -> ElementType {
        guard weights.type != .float32, !isDecode(call) else { return .float32 }
        return call.outputType == weights.type ? weights.type : .float32
    }

    private func isDecode(_ call: CUDACall) -> Bool { call.tokens <= ProjectionKernels.DecodeKernels.mostTokens }

    /// All tokens, for the one expert that all visit.
    private func single(_ rows: UnsafeRawPointer, _ call: CUDACall) -> ProjectionInput {
        ProjectionInput(
            rows: rows, token: nil, offsets: UnsafePointer(call.buffers.single!), scale: nil,
            count: call.tokens)
    }

    /// The rows that a projection multiplies.
    struct ProjectionInput {
        var rows: UnsafeRawPointer
        /// Which of them each row of the output takes; nil: one after the other.
        var token: UnsafePointer<Int32>?
        var offsets: UnsafePointer<Int32>
        var scale: UnsafePointer<Float>?
        /// Rows of all groups together, at most.
        var count: Int
    }

    /// Gate and up with the activation: [rows, inner width].
    private func activate(
        _ matrices: DeviceMatrices, _ input: ProjectionInput, into output: UnsafeMutableRawPointer, _ call: CUDACall
    ) throws(MoEError) {
        var p = parameters(matrices, input, output)
        p.activation = activation
        switch kernels.experts {
        case .tensorCores(let decode, _) where isDecode(call):
            try self.decode(decode.gateUp, p, matrices, input, call)
        case .tensorCores(_, let grouped):
            try grouped.inner.launch(p, rows: input.count, isShared: isShared(p), on: call.stream)
        case .exact(let exact):
            try exact.gateUp.launch(p, rows: input.count, on: call.stream)
        }
    }

    /// A projection without an activation: [rows, height].
    func project(
        _ matrices: DeviceMatrices, _ input: ProjectionInput, into output: UnsafeMutableRawPointer,
        _ type: ElementType, _ call: CUDACall
    ) throws(MoEError) {
        let p = parameters(matrices, input, output)
        switch kernels.experts {
        case .tensorCores(let decode, _) where isDecode(call) && type == .float32:
            try self.decode(decode.down, p, matrices, input, call)
        case .tensorCores(_, let grouped):
            try grouped.down[type]!.launch(p, rows: input.count, isShared: isShared(p), on: call.stream)
        case .exact(let exact):
            try exact.down.launch(p, rows: input.count, on: call.stream)
        }
    }

    private func parameters(
        _ matrices: DeviceMatrices, _ input: ProjectionInput, _ output: UnsafeMutableRawPointer
    ) -> mc_projection_parameters {
        var p = mc_projection_parameters()
        p.input = input.rows
        p.row_token = input.token
        p.offsets = input.offsets
        p.weights = UnsafeRawPointer(matrices.weights)
        p.bias = matrices.bias.map { UnsafePointer($0) }
        p.row_scale = input.scale
        p.output = output
        p.experts = Int32(matrices.groups)
        p.height = Int32(matrices.height)
        p.depth = Int32(matrices.depth)
        return p
    }

    private var activation: mc_activation_parameters {
        var a = mc_activation_parameters()
        a.gated = configuration.expert.isGated ? 1 : 0
        switch configuration.expert {
        case .gatedClamped(let clamp, _):
            a.kind = Int32(MC_ACTIVATION_CLAMPED)
            a.limit = clamp.limit
            a.alpha = clamp.alpha
            a.up_offset = clamp.upOffset
        case .gated(let function, _), .plain(let function, _):
            switch function {
            case .silu: a.kind = Int32(MC_ACTIVATION_SILU)
            case .gelu: a.kind = Int32(MC_ACTIVATION_GELU)
            case .geluTanh: a.kind = Int32(MC_ACTIVATION_GELU_TANH)
            case .quickGelu: a.kind = Int32(MC_ACTIVATION_QUICK_GELU)
            case .relu: a.kind = Int32(MC_ACTIVATION_RELU)
            case .reluSquared: a.kind = Int32(MC_ACTIVATION_RELU_SQUARED)
            }
        }
        return a
    }

    private func decode(
        _ kernels: ProjectionKernels.DecodeKernels.Widths, _ projection: mc_projection_parameters,
        _ matrices: DeviceMatrices, _ input: ProjectionInput, _ call: CUDACall
    ) throws(MoEError) {
        let multiprocessors = device.properties.multiprocessors
        var p = mc_decode_parameters()
        p.projection = projection
        p.splits = mc_decode_splits(
            Int32(leastTouched(matrices)), projection.height, projection.depth, Int32(multiprocessors))
        p.partial = p.splits > 1 ? call.buffers.parts : nil
        p.rows = Int32(input.count)
        try kernels.rows(call.tokens).launch(
            p, grid: .init(x: multiprocessors * MC_DECODE_BLOCKS_PER_MULTIPROCESSOR), on: call.stream)
        guard p.splits > 1 else { return }
        try kernels.finish.launch(
            p, grid: .init(x: max(1, min(input.count, kernels.finish.residentBlocks))), on: call.stream)
    }

    /// Whether a projection is of the one matrix that all tokens visit, beside experts.
    private func isShared(_ p: mc_projection_parameters) -> Bool { p.experts == 1 && configuration.experts > 1 }

    /// Rows of experts that return their input.
    private func copyIdentityRows(_ x: Activations, _ call: CUDACall) throws(MoEError) {
        let memory = call.buffers
        let c = configuration
        try convert(
            x.base, x.type, UnsafeMutableRawPointer(memory.rows), rowType(call), call,
            rows: c.mostRows(tokens: call.tokens, slots: c.slots),
            width: c.hidden, fromPitch: c.hidden, toPitch: DeviceMatrices.padded(c.hidden)
        ) { p in
            p.row_token = UnsafePointer(memory.rowToken)
            p.range = UnsafePointer(memory.offsets + c.experts)
            p.range_end = UnsafePointer(memory.offsets + c.choices)
        }
    }

    // MARK: Conversion

    /// Activations in a type and with rows that kernels read, converted if they are not so.
    func padded(
        _ x: Activations, width: Int, to type: ElementType, in buffer: UnsafeMutableRawPointer, _ call: CUDACall
    ) throws(MoEError) -> UnsafeRawPointer {
        let pitch = DeviceMatrices.padded(width)
        if x.type == type, pitch == width { return x.base }
        try convert(
            x.base, x.type, buffer, type, call, rows: call.tokens, width: width, fromPitch: width, toPitch: pitch)
        return UnsafeRawPointer(buffer)
    }

    func convert(
        _ source: UnsafeRawPointer, _ from: ElementType, _ target: UnsafeMutableRawPointer, _ to: ElementType,
        _ call: CUDACall, rows: Int, width: Int, fromPitch: Int, toPitch: Int,
        _ change: (inout mc_convert_parameters) -> Void = { _ in }
    ) throws(MoEError) {
        var p = mc_convert_parameters()
        p.source = source
        p.destination = target
        p.rows = Int32(rows)
        p.width = Int32(width)
        p.source_pitch = Int32(fromPitch)
        p.destination_pitch = Int32(toPitch)
        change(&p)
        let kernel = kernels.convert[.init(from: from, to: to)]!
        try kernel.launch(p, grid: grid(kernel, work: rows * ((toPitch + 7) / 8)), on: call.stream)
    }
}
