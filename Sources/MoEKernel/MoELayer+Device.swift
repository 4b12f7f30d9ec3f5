/// Layers on an NVIDIA GPU.
///
/// ```swift
/// let layer = try MoELayer(configuration, weights: weights, device: .best)
/// let output = try layer.forward(x)                       // host arrays, copied
///
/// let stream = try CUDAStream(on: .numbered(0))
/// let x = try DeviceTensor(hostTensor, on: stream)         // or a tensor that borrows the caller's memory
/// let y = try DeviceTensor(shape: x.shape, .bfloat16, on: stream)
/// var workspace = CUDAWorkspace()
/// try layer.forward(x, into: y, workspace: &workspace, on: stream)
/// ```
extension MoELayer {
    /// Reads the weights and packs them for a device.
    ///
    /// On a GPU the experts multiply in the type that their weights are kept in
    /// (``MoEConfiguration/weightType``, else as stored): bf16 and fp16 on tensor cores, activations rounded to that type, sums in fp32;
    /// fp32 exactly, without tensor cores. Codes of 4 and 8 bits are refused unless a weightType says what to keep them as. The router
    /// computes logits in fp32 either way. Kernels are deterministic: the same batch gives the same bits in every run.
    ///
    /// - Parameters:
    ///   - configuration: What the layer is.
    ///   - weights: Where its weights come from.
    ///   - device: Where it runs; see ``Device/available`` and ``Device/best``.
    ///   - pool: Threads that pack weights and, on the CPU, compute; nil starts a pool.
    /// - Throws: ``MoEError``: as ``init(_:weights:pool:instructionSet:arithmetic:tuning:)``; ``MoEError/cuda(_:)`` where the GPU cannot be used
    ///   or has no memory; ``MoEError/configuration(field:value:expectation:)`` for more experts (512) or experts a token (32) than the
    ///   kernels take.
    public convenience init(
        _ configuration: MoEConfiguration, weights: MoEWeights, device: Device, pool: ThreadPool? = nil
    ) throws(MoEError) {
        switch device {
        case .cpu: try self.init(configuration, weights: weights, pool: pool)
        case .cuda(let index):
            try self.init(configuration, weights: weights, on: try CUDADevice.numbered(index), pool: pool)
        }
    }

    /// As ``init(_:weights:device:pool:)``, on a device that the caller holds.
    public convenience init(
        _ configuration: MoEConfiguration, weights: MoEWeights, on device: CUDADevice, pool: ThreadPool? = nil
    ) throws(MoEError) {
        let threads = if let pool { pool } else { try ThreadPool() }
        self.init(
            .cuda(
                try CUDABackend(
                    configuration, source: try weights.source(configuration), pool: threads, device: device)))
    }

    /// The whole layer on tensors in the device's memory. Puts the work into the stream and returns; once the workspace has seen a batch as
    /// large, it neither allocates nor waits, unless the context has arrays, which are copied from the host.
    ///
    /// It can be captured into a ``CUDAGraph`` after ``prepare(_:tokens:output:routerInput:on:)``, if the context has no arrays.
    ///
    /// - Parameters:
    ///   - x: Any shape that ends in `hidden`, of any type. Activations of another type than the experts' weights are rounded to that.
    ///   - y: Of x's shape, overwritten; its type may be another.
    ///   - workspace: Scratch memory; one a concurrent call.
    ///   - stream: Whose order the work is in. Layer and workspace may go before it is done, tensors if they were made on this stream.
    ///   - context: As for ``forward(_:context:)``.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` when a shape, a device or the context does not fit,
    ///   ``MoEError/unavailable(what:reason:)`` on the CPU, ``MoEError/cuda(_:)``.
    public func forward(
        _ x: DeviceTensor, into y: DeviceTensor, workspace: inout CUDAWorkspace, on stream: CUDAStream,
        context: TokenContext = TokenContext()
    ) throws(MoEError) {
        let cuda = try backend.cuda()
        guard x.columns == configuration.hidden else {
            throw .input(
                name: "x", value: "of shape \(x.shape)", expectation: "a last dimension of \(configuration.hidden)")
        }
        guard y.shape == x.shape else {
            throw .input(name: "y", value: "of shape \(y.shape)", expectation: "\(x.shape), x's")
        }
        for (name, tensor) in [("x", x), ("y", y)] where tensor.device !== cuda.device {
            throw .input(
                name: name, value: "on device \(tensor.device.index)",
                expectation: "on device \(cuda.device.index), the layer's")
        }
        try stream.check(cuda.device, "layer")
        var context = context
        if context.sequenceLength == nil, x.shape.count >= 3, x.rows > 0 {
            context.sequenceLength = x.shape[x.shape.count - 2]
        }
        try context.check(for: configuration, tokens: x.rows)
        try cuda.forward(
            Activations(base: UnsafeRawPointer(x.address), type: x.elementType, tokens: x.rows),
            into: CUDABackend.Output(base: y.address, type: y.elementType), &workspace, on: stream, context: context)
        stream.keep(x)
        stream.keep(y)
        stream.keep(cuda, uses: cuda.weights.uses)
        workspace.keepMemory(with: stream)
    }

    /// Makes room for batches of up to so many tokens, so that no later call has to.
    ///
    /// - Parameters:
    ///   - workspace: Grown where it is too small, which waits for the stream.
    ///   - tokens: The most that a batch will have.
    ///   - output: Type of y.
    ///   - routerInput: Whether contexts will have one.
    ///   - stream: Whose order the memory is had in.
    /// - Throws: ``MoEError/unavailable(what:reason:)`` on the CPU, ``MoEError/cuda(_:)``.
    public func prepare(
        _ workspace: inout CUDAWorkspace, tokens: Int, output: ElementType, routerInput: Bool = false,
        on stream: CUDAStream
    ) throws(MoEError) {
        let cuda = try backend.cuda()
        guard tokens >= 0 else {
            throw .input(name: "tokens", value: "\(tokens)", expectation: "0 or more")
        }
        try cuda.checkBatch(tokens: tokens)
        try workspace.prepare(cuda, cuda.capacity(tokens: tokens, output: output, routerInput: routerInput), on: stream)
    }
}

extension LayerBackend {
    /// - Throws: ``MoEError/unavailable(what:reason:)`` on the CPU.
    func cuda() throws(MoEError) -> CUDABackend {
        switch self {
        case .cuda(let cuda): return cuda
        case .cpu:
            throw .unavailable(what: "a forward on device tensors", reason: "this layer runs on the CPU")
        }
    }
}

extension CUDAWorkspace {
    /// The routing of the last call, copied to the host, after what `stream` was given to do before; nil before the first call. A launch of a
    /// graph is no call: it leaves a routing of as many tokens as its recording had, which is read if that was the last call.
    ///
    /// - Parameter stream: The last call's; it is waited for.
    /// - Throws: ``MoEError/cuda(_:)``.
    public func routing(on stream: CUDAStream) throws(MoEError) -> Routing? {
        guard let last, let buffers else { return nil }
        var layout = RegionLayout()
        let plan = CUDARoutingPlan(
            last.configuration, tokens: last.tokens, logitStride: last.logitStride, layout: &layout)
        let region = try MemoryRegion(bytes: layout.byteCount, purpose: "a routing of \(last.tokens) tokens")
        let arrays = plan.arrays(at: region.base, logitStride: last.logitStride)
        try arrays.copy(from: buffers, on: stream)
        try stream.synchronize()
        return withExtendedLifetime(region) { arrays.routing }
    }
}
