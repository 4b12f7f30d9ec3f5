import CMoECUDA

/// The stages on an NVIDIA GPU. Each puts kernels into a stream and returns; nothing waits for the device, and what routing decides is read
/// there, so that a forward can be captured into a CUDA graph. Each stage has a file of its own.
final class CUDABackend: Backend {
    typealias Memory = CUDACall
    typealias Failure = MoEError

    /// Where y goes: [tokens, hidden].
    struct Output: @unchecked Sendable {
        let base: UnsafeMutableRawPointer
        let type: ElementType
    }

    let configuration: MoEConfiguration
    let device: CUDADevice
    let weights: CUDAWeights
    let kernels: CUDAKernels
    /// [choices], added to the scores for choosing, on the host and on the device; nil without one.
    let selectionBias: [Float]?
    let deviceSelectionBias: SelectionBias?
    let identity = LayerIdentity()

    /// A selection bias that came after the weights.
    final class SelectionBias: Sendable {
        let memory: DeviceMemory
        var address: UnsafeMutablePointer<Float> { memory.address.assumingMemoryBound(to: Float.self) }

        init(_ values: [Float], on stream: CUDAStream) throws(MoEError) {
            let memory = try DeviceMemory(bytes: values.count * 4, on: stream, purpose: "a selection bias")
            try values.span.withUnsafeBytes { bytes throws(MoEError) in
                try stream.copyToDevice(memory.address, from: bytes)
                try stream.synchronize()
            }
            self.memory = memory
        }

        /// Whose work reads it.
        let uses = StreamUses()

        deinit { uses.finish(before: memory.stream) }
    }

    init(
        _ configuration: MoEConfiguration, source: any WeightSource, pool: ThreadPool, device: CUDADevice
    ) throws(MoEError) {
        try Self.checkLimits(configuration)
        self.configuration = configuration
        self.device = device
        let library = try device.kernels()
        let stream = try CUDAStream(on: device)
        weights = try CUDAWeights(
            configuration, source: source, pool: pool, library: library, stream: stream)
        kernels = try CUDAKernels(configuration, weights, library)
        selectionBias = weights.vectors.selectionBias
        deviceSelectionBias = nil
    }

    /// The same layer with another selection bias; the weights are shared.
    init(_ other: CUDABackend, selectionBias: [Float]) throws(MoEError) {
        configuration = other.configuration
        device = other.device
        weights = other.weights
        kernels = other.kernels
        self.selectionBias = selectionBias
        deviceSelectionBias = try SelectionBias(selectionBias, on: CUDAStream(on: other.device))
    }

    /// What kernels can do and configurations may ask for in excess.
    private static func checkLimits(_ c: MoEConfiguration) throws(MoEError) {
        guard c.choices <= MC_MAXIMUM_EXPERTS else {
            throw .configuration(
                field: "experts", value: "\(c.choices)",
                expectation: "at most \(MC_MAXIMUM_EXPERTS) on a GPU, identity experts included")
        }
        guard c.router.isExpertChoice || c.topK <= MC_SELECT_SLOTS else {
            throw .configuration(
                field: "topK", value: "\(c.topK)", expectation: "at most \(MC_SELECT_SLOTS) on a GPU")
        }
    }

    /// Counts that kernels take as 32 bits.
    func checkBatch(tokens: Int) throws(MoEError) {
        let c = configuration
        _ = try kernelInteger(tokens, "the number of tokens")
        for (name, width) in [
            ("slots", c.slots), ("router outputs", weights.router.outputs),
            ("pieces of hidden", DeviceMatrices.padded(c.hidden) / 8),
            ("pieces of the experts' width", DeviceMatrices.padded(c.expertWidth) / 8),
        ] {
            let (product, overflow) = tokens.multipliedReportingOverflow(by: width)
            _ = try kernelInteger(overflow ? Int.max : product, "tokens · \(name), \(tokens) · \(width),")
        }
    }

    /// Blocks for `work` threads' worth of work of a kernel that takes any number of blocks.
    func grid(_ kernel: CUDAKernel, work: Int) -> CUDAKernel.Grid {
        CUDAKernel.Grid(x: max(1, min((work + kernel.threads - 1) / kernel.threads, kernel.residentBlocks)))
    }
}

/// One call: its buffers, its stream, and what there is to know of its tokens.
struct CUDACall: @unchecked Sendable {
    let buffers: CUDAStageBuffers
    let stream: CUDAStream
    let tokens: Int
    /// Tokens of a sequence.
    let sequenceLength: Int
    /// Choices that an expert accepts; nil takes the rule's.
    let capacity: Int?
    /// Tokens that are not padding.
    let realTokens: Int
    let hasMask: Bool
    let hasRouterInput: Bool
    let outputType: ElementType

    var mask: UnsafePointer<UInt8>? { hasMask ? UnsafePointer(buffers.mask) : nil }
}

extension CUDADevice {
    /// The kernels of the embedded image on this device, loaded once for all layers that use them.
    func kernels() throws(MoEError) -> KernelLibrary {
        try library.get { () throws(MoEError) in try KernelLibrary(.embedded(), on: self) }
    }
}

/// Something that several users share and that is made when the first of them comes.
final class SharedOnDemand<Value: AnyObject>: @unchecked Sendable {
    private let lock = PosixMutex()
    private weak var value: Value?

    func get<Failure: Error>(_ make: () throws(Failure) -> Value) throws(Failure) -> Value {
        lock.lock()
        defer { lock.unlock() }
        if let value { return value }
        let made = try make()
        value = made
        return made
    }
}
