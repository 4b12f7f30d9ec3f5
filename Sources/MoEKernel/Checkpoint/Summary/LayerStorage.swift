import MicroKernels

/// What a layer's weights take in a checkpoint's files, and how they are stored.
package struct LayerStorage: Sendable, Hashable {
    /// Of all routed experts, scales and biases included.
    package var expertBytes = 0
    package var sharedBytes = 0
    /// Of the router and whatever else all tokens meet: corrections, tables, latent projections.
    package var routerBytes = 0
    /// Of gate and up, which are kept together, and of down.
    package var expertFormats = Formats()
    package var sharedFormats = Formats()
    package var routerFormat: WeightFormat?

    package struct Formats: Sendable, Hashable {
        package var inner: Set<WeightFormat> = []
        package var down: Set<WeightFormat> = []

        mutating func insert(_ format: WeightFormat, _ projection: Projection) {
            if projection == .down { down.insert(format) } else { inner.insert(format) }
        }
    }

    package var totalBytes: Int { expertBytes + sharedBytes + routerBytes }
}

extension LayerStorage {
    /// What a layer's weights would take if they were stored in a format, for files that are not there to look at.
    init(
        assuming expert: WeightFormat, shared: WeightFormat, other: ElementType, block: (rows: Int, columns: Int)?,
        of c: MoEConfiguration
    ) {
        /// A scale cannot be for more inputs than there are.
        func fitted(_ format: WeightFormat, _ name: WeightName) -> WeightFormat {
            guard case .quantised(let code, let group, let zeroPoints) = format, block == nil else { return format }
            return .quantised(code, group: min(group, c.shape(of: name).columns), zeroPoints: zeroPoints)
        }
        func bytes(_ name: WeightName, _ format: WeightFormat) -> Int {
            let (rows, columns) = c.shape(of: name)
            var bytes = rows * format.rowBytes(columns)
            if case .quantised(let code, let group, _) = format {
                let groups = (columns + group - 1) / group
                switch code {
                case .float8E4M3:
                    let scaleRows = block.map { (rows + $0.rows - 1) / $0.rows } ?? rows
                    bytes += scaleRows * groups * 4
                case .float4E2M1: bytes += rows * groups
                case .int4, .int8: bytes += rows * groups * 2
                }
            }
            return bytes
        }
        let projections = c.expert.projections
        for projection in projections {
            expertBytes += c.experts * bytes(.expert(0, projection), expert)
            if c.expert.hasBiases {
                expertBytes += c.experts * bytes(.expertBias(0, projection), .plain(other))
            }
            if c.shared != .none { sharedBytes += bytes(.shared(projection), shared) }
        }
        if c.shared.isGated { sharedBytes += bytes(.sharedGate, .plain(other)) }
        routerBytes = bytes(.router, .plain(other))
        if c.router.hasSelectionBias { routerBytes += 4 * c.choices }
        if c.latent != nil {
            routerBytes += bytes(.latentIn, .plain(other)) + bytes(.latentOut, .plain(other))
        }
        for projection in projections {
            expertFormats.insert(fitted(expert, .expert(0, projection)), projection)
            if c.shared != .none { sharedFormats.insert(fitted(shared, .shared(projection)), projection) }
        }
        routerFormat = .plain(other)
    }

    /// About what the layer's packed weights take in memory, each matrix kept in the type or the codes that it is stored in. What
    /// is not known from headers is whether bf16 holds the scales; that of FP8 codes it is taken not to.
    package func memoryBytes(_ c: MoEConfiguration, weightType: ElementType? = nil) -> Int {
        func matrix(_ outputs: Int, _ inputs: Int, _ formats: Set<WeightFormat>, gated: Bool = false) -> Int {
            let columns = gated ? PanelLayout.half : PanelLayout.width
            let format = weightType.map(PanelFormat.init) ?? Self.kept(formats, inputs: inputs)
            return (outputs + columns - 1) / columns * format.panelBytes(inputs)
        }
        let gated = c.expert.isGated
        var bytes =
            c.experts
            * (matrix(c.expertHidden, c.expertWidth, expertFormats.inner, gated: gated)
                + matrix(c.expertWidth, c.expertHidden, expertFormats.down))
        if let width = c.shared.width {
            bytes +=
                matrix(width, c.hidden, sharedFormats.inner, gated: gated)
                + matrix(c.hidden, width, sharedFormats.down)
        }
        let router = routerFormat.map { Set([$0]) } ?? []
        bytes += matrix(c.choices + (c.shared.isGated ? 1 : 0), c.hidden, router)
        if let latent = c.latent {
            bytes += matrix(latent, c.hidden, router) + matrix(c.hidden, latent, router)
        }
        return bytes
    }

    /// How packing keeps matrices that are stored so: see `PanelFormat.holding`.
    private static func kept(_ formats: Set<WeightFormat>, inputs: Int) -> PanelFormat {
        let types = Set(formats.map(\.elementType))
        if types.count == 1, let type = types.first! { return PanelFormat(type) }
        guard formats.count == 1, case .quantised(let code, let group, let zeroPoints) = formats.first!,
            let shift = PanelCoding.groupShift(group, depth: inputs)
        else { return .float32 }
        return .coded(
            PanelCoding(
                code: PanelCode(code), groupShift: shift, wideScales: code == .float8E4M3, zeroPoints: zeroPoints))
    }
}
