import MicroKernels

/// A layer's weights as the CPU kernels read them, packed once from a source.
final class CPUWeights: Sendable {
    /// Columns: the choices, then the groups of a hierarchical router, then the shared expert's gate, where there are any.
    let router: PackedMatrices
    /// Gate and up of every routed expert (up alone where plain), and down.
    let inner: PackedMatrices
    let down: PackedMatrices
    /// Into the routed experts' latent width and out of it.
    let latentIn: PackedMatrices?
    let latentOut: PackedMatrices?
    let sharedInner: PackedMatrices?
    let sharedDown: PackedMatrices?
    let vectors: CPUVectors
    /// First column of the groups' logits.
    let groupColumn: Int
    /// Column of the shared gate's logit; nil without one.
    let gateColumn: Int?
    private let region: MemoryRegion

    var byteCount: Int { region.byteCount }
    /// Whether the shared expert reads rounded activations, which the router's packing does not leave.
    var packsShared: Bool { sharedInner?.format.roundsActivations ?? false }

    init(
        _ configuration: MoEConfiguration, source: any WeightSource, arithmetic: ExpertArithmetic,
        instructionSet: CPUInstructionSet, pool: ThreadPool
    ) throws(MoEError) {
        let c = configuration
        try arithmetic.checkKeeps(c.weightType)
        vectors = try CPUVectors(c, source: source)
        var layout = RegionLayout()
        let wide = instructionSet == .avx512
        func format(_ names: [WeightName]) throws(MoEError) -> PanelFormat {
            if let type = c.weightType { return PanelFormat(type) }
            return try .holding(names, of: source, c, pool: pool)
        }
        let innerProjections: [Projection] = c.expert.isGated ? [.gate, .up] : [.up]
        // Rounded activations go from the inner matrices straight to down, so both must take them.
        func formats(_ inner: [WeightName], _ down: [WeightName]) throws(MoEError) -> (PanelFormat, PanelFormat) {
            if arithmetic == .bfloat16Activations {
                for name in inner + down { try arithmetic.checkStored(name, of: source, c) }
                return (.bfloat16Pairs, .bfloat16Pairs)
            }
            let (first, second) = (try format(inner), try format(down))
            if arithmetic == .int8Activations, case .coded(let a) = first, case .coded(let b) = second,
                a.takesInt8Activations, b.takesInt8Activations
            {
                return (.byteDot(a), .byteDot(b))
            }
            return (first, second)
        }
        let innerNames: [WeightName] = (0..<c.experts).flatMap { e in innerProjections.map { .expert(e, $0) } }
        let downNames: [WeightName] = (0..<c.experts).map { .expert($0, .down) }
        // A shared expert beside them may be stored otherwise, and then is exact.
        if arithmetic == .int8Activations {
            for name in innerNames + downNames { try arithmetic.checkStored(name, of: source, c) }
        }
        let (innerFormat, downFormat) = try formats(innerNames, downNames)
        guard arithmetic == .exact || innerFormat.roundsActivations else {
            throw .configuration(
                field: "arithmetic", value: arithmetic.rawValue,
                expectation: "experts that are all stored alike, with scales that no weight overflows by; else exact")
        }

        var routerRows: [PackingJob.Rows] = [.init(.router, c.choices)]
        groupColumn = c.choices
        if case .hierarchical(let groups, _) = c.router.selection { routerRows.append(.init(.groupRouter, groups)) }
        gateColumn = c.shared.isGated ? routerRows.reduce(0) { $0 + $1.count } : nil
        if c.shared.isGated { routerRows.append(.init(.sharedGate, 1)) }

        // The router keeps its stored type whatever is asked of the experts: its weights decide, and are few.
        var router = try PackedMatrices(
            groups: 1, depth: c.hidden, columns: routerRows.reduce(0) { $0 + $1.count }, gated: false,
            format: .holding(routerRows.map(\.name), of: source, c, pool: pool), hasWideRows: wide,
            hasBiases: c.router.hasBias, layout: &layout)
        var inner = PackedMatrices(
            groups: c.experts, depth: c.expertWidth, columns: c.expertHidden, gated: c.expert.isGated,
            format: innerFormat, hasWideRows: wide, hasBiases: c.expert.hasBiases, layout: &layout)
        var down = PackedMatrices(
            groups: c.experts, depth: c.expertHidden, columns: c.expertWidth, gated: false,
            format: downFormat, hasWideRows: wide, hasBiases: c.expert.hasBiases, layout: &layout)
        var latentIn: PackedMatrices?
        var latentOut: PackedMatrices?
        if let latent = c.latent {
            latentIn = try PackedMatrices(
                groups: 1, depth: c.hidden, columns: latent, gated: false, format: format([.latentIn]),
                hasWideRows: wide, hasBiases: false, layout: &layout)
            latentOut = try PackedMatrices(
                groups: 1, depth: latent, columns: c.hidden, gated: false, format: format([.latentOut]),
                hasWideRows: wide, hasBiases: false, layout: &layout)
        }
        var sharedInner: PackedMatrices?
        var sharedDown: PackedMatrices?
        if let width = c.shared.width {
            let (innerFormat, downFormat) = try formats(innerProjections.map { .shared($0) }, [.shared(.down)])
            sharedInner = PackedMatrices(
                groups: 1, depth: c.hidden, columns: width, gated: c.expert.isGated,
                format: innerFormat, hasWideRows: wide, hasBiases: c.hasSharedBiases, layout: &layout)
            sharedDown = PackedMatrices(
                groups: 1, depth: width, columns: c.hidden, gated: false, format: downFormat,
                hasWideRows: wide, hasBiases: c.hasSharedBiases, layout: &layout)
        }
        let region = try MemoryRegion(bytes: layout.byteCount, purpose: "packed weights")
        router.place(in: region)
        inner.place(in: region)
        down.place(in: region)
        latentIn?.place(in: region)
        latentOut?.place(in: region)
        sharedInner?.place(in: region)
        sharedDown?.place(in: region)
        self.router = router
        self.inner = inner
        self.down = down
        self.latentIn = latentIn
        self.latentOut = latentOut
        self.sharedInner = sharedInner
        self.sharedDown = sharedDown
        self.region = region

        let rows = routerRows
        var jobs = [PackingJob(matrices: router, rows: { _ in rows }, biases: { _ in [.routerBias] })]
        jobs.append(
            PackingJob(
                matrices: inner, rows: { e in innerProjections.map { .init(.expert(e, $0), c.expertHidden) } },
                biases: { e in innerProjections.map { .expertBias(e, $0) } }))
        jobs.append(
            PackingJob(
                matrices: down, rows: { e in [.init(.expert(e, .down), c.expertWidth)] },
                biases: { e in [.expertBias(e, .down)] }))
        if let latentIn, let latentOut, let latent = c.latent {
            jobs.append(PackingJob(matrices: latentIn, rows: { _ in [.init(.latentIn, latent)] }))
            jobs.append(PackingJob(matrices: latentOut, rows: { _ in [.init(.latentOut, c.hidden)] }))
        }
        if let sharedInner, let sharedDown, let width = c.shared.width {
            jobs.append(
                PackingJob(
                    matrices: sharedInner, rows: { _ in innerProjections.map { .init(.shared($0), width) } },
                    biases: { _ in innerProjections.map { .sharedBias($0) } }))
            jobs.append(
                PackingJob(
                    matrices: sharedDown, rows: { _ in [.init(.shared(.down), c.hidden)] },
                    biases: { _ in [.sharedBias(.down)] }))
        }
        for job in jobs { try job.pack(c, from: source, pool: pool) }
    }
}
