/// What a layer's weights take in a checkpoint's files, and how they are stored.
package struct LayerStorage: Sendable, Hashable {
    /// Of all routed experts, scales and biases included.
    package var expertBytes = 0
    package var sharedBytes = 0
    /// Of the router and whatever else all tokens meet: corrections, tables, latent projections.
    package var routerBytes = 0
    package var expertFormats: Set<WeightFormat> = []
    package var sharedFormats: Set<WeightFormat> = []
    package var routerFormat: WeightFormat?

    package var totalBytes: Int { expertBytes + sharedBytes + routerBytes }
}

extension LayerStorage {
    /// What a layer's weights would take if they were stored in a format, for files that are not there to look at.
    init(
        assuming expert: WeightFormat, shared: WeightFormat, other: ElementType, block: (rows: Int, columns: Int)?,
        of c: MoEConfiguration
    ) {
        func bytes(_ name: WeightName, _ format: WeightFormat) -> Int {
            let (rows, columns) = c.shape(of: name)
            var bytes = rows * format.rowBytes(columns)
            if case .quantised(let code, let group) = format {
                let groups = (columns + group - 1) / group
                switch code {
                case .float8E4M3:
                    let scaleRows = block.map { (rows + $0.rows - 1) / $0.rows } ?? rows
                    bytes += scaleRows * groups * 4
                case .float4E2M1: bytes += rows * groups
                case .int4: bytes += rows * groups * 2
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
        expertFormats = [expert]
        sharedFormats = c.shared == .none ? [] : [shared]
        routerFormat = .plain(other)
    }

    /// About what the layer's packed weights take in memory, each matrix kept in the type or the codes that it is stored in.
    package func memoryBytes(_ c: MoEConfiguration, weightType: ElementType? = nil) -> Int {
        // Outputs are kept in panels of 16, gate and up sharing one; a scale is kept for at most 256 inputs.
        func matrix(_ outputs: Int, _ inputs: Int, _ formats: Set<WeightFormat>, gated: Bool = false) -> Int {
            let padded = gated ? (outputs + 7) / 8 * 16 : (outputs + 15) / 16 * 16
            if let weightType { return padded * inputs * weightType.byteCount }
            guard formats.count == 1, let format = formats.first else { return padded * inputs * 4 }
            switch format {
            case .plain(let type), .transposed(let type): return padded * inputs * type.byteCount
            case .quantised(let code, let group):
                let scales = (inputs + min(group, 256) - 1) / min(group, 256)
                return padded * ((inputs * code.bitCount + 7) / 8 + scales * 4)
            }
        }
        let gated = c.expert.isGated
        let plainExperts = Set(
            expertFormats.map { format in
                if case .transposed(let type) = format { WeightFormat.plain(type) } else { format }
            })
        var bytes =
            c.experts
            * (matrix(c.expertHidden, c.expertWidth, plainExperts, gated: gated)
                + matrix(c.expertWidth, c.expertHidden, plainExperts))
        if let width = c.shared.width {
            bytes += matrix(width, c.hidden, sharedFormats, gated: gated) + matrix(c.hidden, width, sharedFormats)
        }
        let router = routerFormat.map { Set([$0]) } ?? []
        bytes += matrix(c.choices, c.hidden, router)
        if let latent = c.latent {
            bytes += matrix(latent, c.hidden, router) + matrix(c.hidden, latent, router)
        }
        return bytes
    }
}
