import CMoECUDA

extension CUDABackend {
    /// The whole layer on a batch in the device's memory: puts it into the stream and returns.
    ///
    /// - Parameters:
    ///   - x: [tokens, hidden], at a multiple of 16 bytes.
    ///   - y: [tokens, hidden], at a multiple of 16 bytes.
    ///   - context: Checked by the layer.
    func forward(
        _ x: Activations, into y: Output, _ workspace: inout CUDAWorkspace, on stream: CUDAStream,
        context: TokenContext
    ) throws(MoEError) {
        try checkBatch(tokens: x.tokens)
        weights.uses.note(stream)
        deviceSelectionBias?.uses.note(stream)
        try workspace.prepare(
            self, capacity(tokens: x.tokens, output: y.type, routerInput: !context.routerInput.isEmpty), on: stream)
        let call = try call(context, tokens: x.tokens, workspace.buffers!, y.type, stream)
        if x.tokens == 0 {
            // Nothing but the loads, which are none.
            try dispatch(call)
        } else {
            try forward(x, into: y, call)
        }
        workspace.last = CUDAWorkspace.LastCall(
            configuration: configuration, owner: identity, tokens: x.tokens, logitStride: logitStride(call))
    }

    func capacity(tokens: Int, output: ElementType, routerInput: Bool) -> CUDACapacity {
        CUDACapacity(
            tokens: tokens, wideRows: weights.type == .float32 || output != weights.type, routerInput: routerInput)
    }

    /// Takes over what a call says of its tokens.
    private func call(
        _ context: TokenContext, tokens: Int, _ memory: CUDAStageBuffers, _ output: ElementType, _ stream: CUDAStream
    ) throws(MoEError) -> CUDACall {
        let usesMask =
            !context.attentionMask.isEmpty
            && (configuration.router.isExpertChoice || configuration.capacity.rule?.dropsPadding ?? false)
        let usesIDs = memory.tokenIDs != nil && tokens > 0
        let usesRouterInput = !context.routerInput.isEmpty
        if usesMask || usesIDs || usesRouterInput, try stream.isCapturing() {
            throw .cuda(
                CUDAFailure(
                    .captureFailed, call: "MoELayer.forward",
                    problem: "a context's mask, token ids and router input are copied from the host, which a graph "
                        + "would do from where they no longer are",
                    remedy: "capture layers that need none of these"))
        }
        func bring<Element: BitwiseCopyable>(
            _ values: [Element], to target: UnsafeMutablePointer<Element>
        ) throws(MoEError) {
            try values.span.withUnsafeBytes { bytes throws(MoEError) in
                try stream.copyToDevice(UnsafeMutableRawPointer(target), from: bytes)
            }
        }
        if usesMask { try bring(context.attentionMask.map { $0 ? 1 : 0 }, to: memory.mask) }
        if usesIDs, let ids = memory.tokenIDs { try bring(context.tokenIDs, to: ids) }
        if usesRouterInput, let rows = memory.routerInput { try bring(context.routerInput, to: rows) }
        // Until then the host's arrays may be read.
        if usesMask || usesIDs || usesRouterInput { try stream.synchronize() }
        return CUDACall(
            buffers: memory, stream: stream, tokens: tokens,
            sequenceLength: max(context.sequenceLength ?? tokens, 1), capacity: context.capacity,
            realTokens: usesMask ? context.attentionMask.count { $0 } : tokens, hasMask: usesMask,
            hasRouterInput: usesRouterInput, outputType: output)
    }
}

/// What calls with arrays in the host's memory need of a device: a stream, device tensors, and page-locked memory for copies.
final class CUDAHostMemory {
    let device: CUDADevice
    private let stream: CUDAStream
    private var workspace = CUDAWorkspace()
    private var activations: DeviceMemory?
    private var staging: PinnedMemory?
    private(set) var routing: RoutingArrays?

    init(on device: CUDADevice) throws(MoEError) {
        self.device = device
        stream = try CUDAStream(on: device)
    }

    var byteCount: Int { workspace.byteCount + deviceBytes + stagingBytes }

    private var deviceBytes: Int {
        switch activations {
        case .some(let memory): memory.byteCount
        case .none: 0
        }
    }
    private var stagingBytes: Int {
        switch staging {
        case .some(let memory): memory.bytes.count
        case .none: 0
        }
    }

    /// Copies x to the device, computes, copies y and the routing back, and waits for it.
    func forward(
        _ backend: CUDABackend, _ x: UnsafeRawBufferPointer, _ xType: ElementType,
        into y: UnsafeMutableRawBufferPointer, _ yType: ElementType, tokens: Int, context: TokenContext
    ) throws(MoEError) {
        routing = nil
        let c = backend.configuration
        try backend.checkBatch(tokens: tokens)
        // The same bytes lie on the device and in page-locked memory, and the routing behind them.
        var layout = RegionLayout()
        let xPlace = layout.reserve(UInt8.self, tokens * c.hidden * xType.byteCount)
        let yPlace = layout.reserve(UInt8.self, tokens * c.hidden * yType.byteCount)
        let onDevice = layout.byteCount
        let routingPlan = CUDARoutingPlan(
            c, tokens: tokens, logitStride: backend.weights.router.outputs, layout: &layout)
        try grow(onDevice: onDevice, pinned: layout.byteCount)
        let onDeviceStart = deviceAddress!
        let host = pinnedAddress!

        // Page-locked memory that a copy still uses must not be filled or given back.
        var isDone = false
        defer {
            if !isDone {
                device.context.release("cudaStreamSynchronize") { $0.pointee.cudaStreamSynchronize(stream.handle) }
            }
        }
        let from = UnsafeMutableRawBufferPointer(start: host + xPlace, count: x.count)
        from.copyMemory(from: x)
        try stream.copyToDevice(onDeviceStart + xPlace, from: UnsafeRawBufferPointer(from))
        try backend.forward(
            Activations(base: UnsafeRawPointer(onDeviceStart + xPlace), type: xType, tokens: tokens),
            into: CUDABackend.Output(base: onDeviceStart + yPlace, type: yType), &workspace, on: stream,
            context: context)
        let to = UnsafeMutableRawBufferPointer(start: host + yPlace, count: y.count)
        try stream.copyToHost(to, from: onDeviceStart + yPlace)
        let arrays = routingPlan.arrays(at: host, logitStride: workspace.last!.logitStride)
        try arrays.copy(from: workspace.buffers!, on: stream)
        isDone = true
        try stream.synchronize()
        y.copyMemory(from: UnsafeRawBufferPointer(to))
        routing = arrays
    }

    private func grow(onDevice: Int, pinned: Int) throws(MoEError) {
        if deviceBytes < onDevice || deviceAddress == nil {
            activations = nil
            activations = try DeviceMemory(bytes: onDevice, on: stream, purpose: "activations from the host")
        }
        if stagingBytes < pinned {
            staging = nil
            staging = try PinnedMemory(bytes: pinned, on: device, purpose: "copies of activations")
        }
    }

    private var deviceAddress: UnsafeMutableRawPointer? {
        switch activations {
        case .some(let memory): memory.address
        case .none: nil
        }
    }
    private var pinnedAddress: UnsafeMutableRawPointer? {
        switch staging {
        case .some(let memory): memory.bytes.baseAddress
        case .none: nil
        }
    }
}

/// Where a call's routing goes in the host's memory.
struct CUDARoutingPlan {
    private let configuration: MoEConfiguration
    private let tokens: Int
    private let logits: Int
    private let indices: Int
    private let weights: Int
    private let applied: Int?
    private let kept: Int?
    private let offsets: Int

    /// - Parameter logitStride: Columns of a row of logits, at most.
    init(_ configuration: MoEConfiguration, tokens: Int, logitStride: Int, layout: inout RegionLayout) {
        let c = configuration
        self.configuration = c
        self.tokens = tokens
        let pairs = tokens * c.slots
        let isLimited = c.capacity != .unlimited
        logits = layout.reserve(Float.self, tokens * logitStride)
        indices = layout.reserve(Int32.self, pairs)
        weights = layout.reserve(Float.self, pairs)
        applied = isLimited ? layout.reserve(Float.self, pairs) : nil
        kept = isLimited || c.router.isExpertChoice ? layout.reserve(UInt8.self, pairs) : nil
        offsets = layout.reserve(Int32.self, 2 * (c.choices + 1))
    }

    func arrays(at base: UnsafeMutableRawPointer, logitStride: Int) -> RoutingArrays {
        let c = configuration
        return RoutingArrays(
            tokens: tokens, slots: c.slots, choices: c.choices, chosenByExperts: c.router.isExpertChoice,
            logits: base.array(Float.self, at: logits), logitStride: logitStride,
            indices: base.array(Int32.self, at: indices), weights: base.array(Float.self, at: weights),
            kept: kept.map { base.array(UInt8.self, at: $0) }, applied: applied.map { base.array(Float.self, at: $0) },
            offsets: base.array(Int32.self, at: offsets))
    }
}

extension RoutingArrays {
    /// Copies a call's routing from the device, in stream order.
    func copy(from memory: CUDAStageBuffers, on stream: CUDAStream) throws(MoEError) {
        func bring<Element>(
            _ target: UnsafePointer<Element>, _ source: UnsafeMutablePointer<Element>, _ count: Int
        ) throws(MoEError) {
            try stream.copyToHost(
                UnsafeMutableRawBufferPointer(
                    start: UnsafeMutableRawPointer(mutating: target), count: count * MemoryLayout<Element>.stride),
                from: UnsafeRawPointer(source))
        }
        try bring(logits, memory.logits, tokens * logitStride)
        try bring(indices, memory.chosen, tokens * slots)
        try bring(weights, memory.weights, tokens * slots)
        if let kept, let source = memory.kept { try bring(kept, source, tokens * slots) }
        if let applied, let source = memory.applied { try bring(applied, source, tokens * slots) }
        try bring(UnsafePointer(offsets), memory.offsets, choices + 1)
    }
}
