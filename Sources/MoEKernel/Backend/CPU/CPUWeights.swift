import MicroKernels

/// A layer's weights as the CPU kernels read them, packed once from a source.
final class CPUWeights: Sendable {
    /// Columns: E experts, then the shared expert's gate where there is one.
    let router: PackedMatrices
    /// Gate and up of every routed expert (up alone where plain), and down.
    let inner: PackedMatrices
    let down: PackedMatrices
    let sharedInner: PackedMatrices?
    let sharedDown: PackedMatrices?
    private let region: MemoryRegion

    var byteCount: Int { region.byteCount }

    init(_ configuration: MoEConfiguration, source: any WeightSource, pool: ThreadPool) throws(MoEError) {
        let c = configuration
        var layout = RegionLayout()
        func format(_ names: [WeightName]) throws(MoEError) -> PanelFormat {
            if let type = c.weightType { return PanelFormat(type) }
            return try .holding(names, of: source, c, pool: pool)
        }
        let innerProjections: [Projection] = c.expert.isGated ? [.gate, .up] : [.up]
        let gatedShared = if case .sigmoidGated = c.shared { true } else { false }
        // The router keeps its stored type whatever is asked of the experts: its weights decide, and are few.
        let routerNames: [WeightName] = gatedShared ? [.router, .sharedGate] : [.router]
        var router = try PackedMatrices(
            groups: 1, depth: c.hidden, columns: c.experts + (gatedShared ? 1 : 0), gated: false,
            format: .holding(routerNames, of: source, c, pool: pool), hasBiases: false, layout: &layout)
        var inner = try PackedMatrices(
            groups: c.experts, depth: c.hidden, columns: c.expertHidden, gated: c.expert.isGated,
            format: format((0..<c.experts).flatMap { e in innerProjections.map { .expert(e, $0) } }),
            hasBiases: c.expert.hasBiases, layout: &layout)
        var down = try PackedMatrices(
            groups: c.experts, depth: c.expertHidden, columns: c.hidden, gated: false,
            format: format((0..<c.experts).map { .expert($0, .down) }), hasBiases: c.expert.hasBiases, layout: &layout)
        var sharedInner: PackedMatrices?
        var sharedDown: PackedMatrices?
        if let width = c.shared.width {
            sharedInner = try PackedMatrices(
                groups: 1, depth: c.hidden, columns: width, gated: c.expert.isGated,
                format: format(innerProjections.map { .shared($0) }), hasBiases: false, layout: &layout)
            sharedDown = try PackedMatrices(
                groups: 1, depth: width, columns: c.hidden, gated: false, format: format([.shared(.down)]),
                hasBiases: false, layout: &layout)
        }
        let region = try MemoryRegion(bytes: layout.byteCount, purpose: "packed weights")
        router.place(in: region)
        inner.place(in: region)
        down.place(in: region)
        sharedInner?.place(in: region)
        sharedDown?.place(in: region)
        self.router = router
        self.inner = inner
        self.down = down
        self.sharedInner = sharedInner
        self.sharedDown = sharedDown
        self.region = region

        var jobs = [
            PackingJob(
                matrices: router,
                rows: { _ in
                    gatedShared ? [.init(.router, c.experts), .init(.sharedGate, 1)] : [.init(.router, c.experts)]
                })
        ]
        jobs.append(
            PackingJob(
                matrices: inner, rows: { e in innerProjections.map { .init(.expert(e, $0), c.expertHidden) } },
                biases: { e in innerProjections.map { .expertBias(e, $0) } }))
        jobs.append(
            PackingJob(
                matrices: down, rows: { e in [.init(.expert(e, .down), c.hidden)] },
                biases: { e in [.expertBias(e, .down)] }))
        if let sharedInner, let sharedDown, let width = c.shared.width {
            jobs.append(
                PackingJob(matrices: sharedInner, rows: { _ in innerProjections.map { .init(.shared($0), width) } }))
            jobs.append(PackingJob(matrices: sharedDown, rows: { _ in [.init(.shared(.down), c.hidden)] }))
        }
        for job in jobs { try job.pack(c, from: source, pool: pool) }
    }
}
