import CMoECUDA

/// A layer's weights in a device's memory, packed once from a source. They go when the work that reads them is done.
final class CUDAWeights: Sendable {
    /// What the experts' numbers are, and so what the tensor cores multiply; fp32 is the exact path without them.
    let type: ElementType
    /// Rows: the choices, then the groups of a hierarchical router, then the shared expert's gate, where there are any.
    let router: DeviceMatrices
    /// The same in fp32, for inputs that the router's own type does not hold; `router` itself where that is fp32.
    let wideRouter: DeviceMatrices
    let inner: DeviceMatrices
    let down: DeviceMatrices
    let latentIn: DeviceMatrices?
    let latentOut: DeviceMatrices?
    let sharedInner: DeviceMatrices?
    let sharedDown: DeviceMatrices?
    /// Vectors, fp32, in the device's memory; nil where the configuration has none.
    let selectionBias: DeviceVector<Float>?
    let expertScale: DeviceVector<Float>?
    let routerInputScale: DeviceVector<Float>?
    /// [hidden], padded with zeros.
    let outputBias: DeviceVector<Float>?
    let expertTable: DeviceVector<Int32>?
    /// The host's copy of them.
    let vectors: CPUVectors
    /// First row of the groups.
    let groupColumn: Int
    /// Row of the shared gate; nil without one.
    let gateColumn: Int?

    private let memory: DeviceMemory
    /// Whose work reads them.
    let uses = StreamUses()

    var byteCount: Int { memory.byteCount }

    /// - Parameters:
    ///   - stream: Whose order the memory is had in; it is waited for before this returns.
    init(
        _ configuration: MoEConfiguration, source: any WeightSource, pool: ThreadPool, library: KernelLibrary,
        stream: CUDAStream
    ) throws(MoEError) {
        let c = configuration
        let names = try ExpertNumbers(c, source: source)
        let type = names.type
        self.type = type
        vectors = try CPUVectors(c, source: source)
        var layout = RegionLayout()
        func matrices(_ groups: Int, _ outputs: Int, _ inputs: Int, isGated: Bool = false, hasBias: Bool = false)
            -> DeviceMatrices
        {
            DeviceMatrices(
                groups: groups, outputs: outputs, inputs: inputs, isGated: isGated, type: type, hasBias: hasBias,
                layout: &layout)
        }

        var routerRows: [WeightPlacement.Tensor] = [.init(.router, c.choices)]
        groupColumn = c.choices
        if case .hierarchical(let groups, _) = c.router.selection { routerRows.append(.init(.groupRouter, groups)) }
        let gateColumn = c.shared.isGated ? routerRows.reduce(0) { $0 + $1.rows } : nil
        self.gateColumn = gateColumn
        if gateColumn != nil { routerRows.append(.init(.sharedGate, 1)) }
        // The router keeps its stored type whatever is asked of the experts: its weights decide, and are few.
        let routerType = try ExpertNumbers.holding(routerRows.map(\.name), of: source)
        let columns = routerRows.reduce(0) { $0 + $1.rows }
        func makeRouter(_ type: ElementType, _ layout: inout RegionLayout) -> DeviceMatrices {
            DeviceMatrices(
                groups: 1, outputs: columns, inputs: c.hidden, type: type, hasBias: c.router.hasBias, layout: &layout)
        }
        var router = makeRouter(routerType, &layout)
        var wideRouter = routerType == .float32 ? nil : makeRouter(.float32, &layout)
        var inner = matrices(
            c.experts, c.expertHidden, c.expertWidth, isGated: c.expert.isGated, hasBias: c.expert.hasBiases)
        var down = matrices(c.experts, c.expertWidth, c.expertHidden, hasBias: c.expert.hasBiases)
        var latentIn = c.latent.map { matrices(1, $0, c.hidden) }
        var latentOut = c.latent.map { matrices(1, c.hidden, $0) }
        var sharedInner = c.shared.width.map {
            matrices(1, $0, c.hidden, isGated: c.expert.isGated, hasBias: c.hasSharedBiases)
        }
        var sharedDown = c.shared.width.map { matrices(1, c.hidden, $0, hasBias: c.hasSharedBiases) }
        var selectionBias = DeviceVector(vectors.selectionBias, layout: &layout)
        var expertScale = DeviceVector(vectors.expertScale, layout: &layout)
        var routerInputScale = DeviceVector(vectors.routerInputScale, layout: &layout)
        var outputBias = DeviceVector(
            vectors.outputBias.map { $0 + Array(repeating: 0, count: DeviceMatrices.padded(c.hidden) - c.hidden) },
            layout: &layout)
        var expertTable = DeviceVector(vectors.expertTable, layout: &layout)

        let memory = try DeviceMemory(bytes: layout.byteCount, on: stream, purpose: "a layer's weights")
        let base = memory.address
        router.place(at: base)
        wideRouter?.place(at: base)
        inner.place(at: base)
        down.place(at: base)
        latentIn?.place(at: base)
        latentOut?.place(at: base)
        sharedInner?.place(at: base)
        sharedDown?.place(at: base)
        try selectionBias?.place(vectors.selectionBias!, at: base, on: stream)
        try expertScale?.place(vectors.expertScale!, at: base, on: stream)
        try routerInputScale?.place(vectors.routerInputScale!, at: base, on: stream)
        try outputBias?.place(
            vectors.outputBias! + Array(repeating: 0, count: DeviceMatrices.padded(c.hidden) - c.hidden), at: base,
            on: stream)
        try expertTable?.place(vectors.expertTable!, at: base, on: stream)
        self.router = router
        self.wideRouter = wideRouter ?? router
        self.inner = inner
        self.down = down
        self.latentIn = latentIn
        self.latentOut = latentOut
        self.sharedInner = sharedInner
        self.sharedDown = sharedDown
        self.selectionBias = selectionBias
        self.expertScale = expertScale
        self.routerInputScale = routerInputScale
        self.outputBias = outputBias
        self.expertTable = expertTable
        self.memory = consume memory

        let rows = routerRows
        var placements = [
            WeightPlacement(router, tensors: { _ in rows }, biases: { _ in c.router.hasBias ? [.routerBias] : [] })
        ]
        if let wideRouter {
            placements.append(
                WeightPlacement(
                    wideRouter, tensors: { _ in rows }, biases: { _ in c.router.hasBias ? [.routerBias] : [] }))
        }
        let projections: [Projection] = c.expert.isGated ? [.gate, .up] : [.up]
        placements.append(
            WeightPlacement(
                inner, tensors: { e in projections.map { .init(.expert(e, $0), c.expertHidden) } },
                biases: { e in c.expert.hasBiases ? projections.map { .expertBias(e, $0) } : [] }))
        placements.append(
            WeightPlacement(
                down, tensors: { e in [.init(.expert(e, .down), c.expertWidth)] },
                biases: { e in c.expert.hasBiases ? [.expertBias(e, .down)] : [] }))
        if let latentIn {
            placements.append(WeightPlacement(latentIn, tensors: { _ in [.init(.latentIn, c.latent!)] }))
        }
        if let latentOut {
            placements.append(WeightPlacement(latentOut, tensors: { _ in [.init(.latentOut, c.hidden)] }))
        }
        if let sharedInner, let sharedDown, let width = c.shared.width {
            placements.append(
                WeightPlacement(
                    sharedInner, tensors: { _ in projections.map { .init(.shared($0), width) } },
                    biases: { _ in c.hasSharedBiases ? projections.map { .sharedBias($0) } : [] }))
            placements.append(
                WeightPlacement(
                    sharedDown, tensors: { _ in [.init(.shared(.down), c.hidden)] },
                    biases: { _ in c.hasSharedBiases ? [.sharedBias(.down)] : [] }))
        }
        let upload = try WeightUpload(c, source: source, pool: pool, library: library, stream: stream)
        for placement in placements { try upload.run(placement) }
        try upload.finish()
    }

    deinit { uses.finish(before: memory.stream) }
}

/// A vector in a device's memory.
struct DeviceVector<Element: BitwiseCopyable>: @unchecked Sendable {
    private let offset: Int
    private(set) var address: UnsafeMutablePointer<Element>! = nil

    init?(_ values: [Element]?, layout: inout RegionLayout) {
        guard let values else { return nil }
        offset = layout.reserve(Element.self, values.count)
    }

    /// Copies the values to their place. The stream has to be waited for before they go.
    mutating func place(_ values: [Element], at base: UnsafeMutableRawPointer, on stream: CUDAStream) throws(MoEError) {
        address = base.array(Element.self, at: offset)
        try values.span.withUnsafeBytes { bytes throws(MoEError) in
            try stream.copyToDevice(UnsafeMutableRawPointer(address), from: bytes)
            try stream.synchronize()
        }
    }
}

/// What the experts' matrices are kept as.
struct ExpertNumbers {
    let type: ElementType

    /// One type for the routed experts, the shared one and the latent width: products of one are the operands of the next.
    init(_ configuration: MoEConfiguration, source: any WeightSource) throws(MoEError) {
        if let type = configuration.weightType {
            self.type = type
            return
        }
        let c = configuration
        var names: [WeightName] = (0..<c.experts).flatMap { e in c.expert.projections.map { .expert(e, $0) } }
        if c.shared != .none { names += c.expert.projections.map { .shared($0) } }
        if c.latent != nil { names += [.latentIn, .latentOut] }
        type = try Self.holding(names, of: source)
    }

    /// The smallest type that holds all of some tensors exactly.
    static func holding(_ names: [WeightName], of source: any WeightSource) throws(MoEError) -> ElementType {
        var types: Set<ElementType> = []
        for name in names {
            switch try source.validFormat(of: name) {
            case .plain(let type), .transposed(let type): types.insert(type)
            case .quantised(let code, _, _):
                throw .weights(
                    tensor: source.describe(name),
                    problem: "holds \(code.rawValue) codes; on a GPU expected a weightType of bf16, fp16 or fp32 "
                        + "to keep them as")
            }
        }
        return types.count == 1 ? types.first! : .float32
    }
}
