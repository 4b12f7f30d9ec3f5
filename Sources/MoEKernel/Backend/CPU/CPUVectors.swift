/// A layer's small vectors and its expert table, as fp32 numbers and indices. Nil where the configuration has none.
struct CPUVectors: Sendable {
    /// [choices]
    let selectionBias: [Float]?
    let expertScale: [Float]?
    /// [hidden]
    let routerInputScale: [Float]?
    let outputBias: [Float]?
    /// [vocabulary, topK]
    let expertTable: [Int32]?

    init(_ configuration: MoEConfiguration, source: any WeightSource) throws(MoEError) {
        func vector(_ name: WeightName, if wanted: Bool) throws(MoEError) -> [Float]? {
            guard wanted else { return nil }
            let values = try source.floats(name, configuration)
            if let odd = values.firstIndex(where: { !$0.isFinite }) {
                throw .notFinite(source.describe(name), row: 0, column: odd)
            }
            return values
        }
        let router = configuration.router
        selectionBias = try vector(.selectionBias, if: router.hasSelectionBias)
        expertScale = try vector(.expertScale, if: router.hasExpertScale)
        routerInputScale = try vector(.routerInputScale, if: router.input != .identity)
        outputBias = try vector(.outputBias, if: configuration.hasOutputBias)
        guard case .table(let vocabulary) = router.selection else {
            expertTable = nil
            return
        }
        var table = [Int32](repeating: 0, count: vocabulary * configuration.topK)
        try table.withUnsafeMutableBufferPointer { (table) throws(MoEError) in
            try source.readIndices(.expertTable, into: table)
        }
        if let odd = table.firstIndex(where: { $0 < 0 || $0 >= configuration.choices }) {
            throw .weights(
                tensor: source.describe(.expertTable),
                problem: "entry [\(odd / configuration.topK), \(odd % configuration.topK)] is \(table[odd]); "
                    + "expected an expert, 0..<\(configuration.choices)")
        }
        expertTable = table
    }
}
