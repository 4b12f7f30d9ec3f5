import Synchronization

/// Another source's weights with the matrices of experts, routed and shared, quantised as they are read.
///
/// Nothing is kept but the rows read last: any rows can be read at any time, by any thread, with the same result.
final class QuantisedWeights: WeightSource {
    private let source: any WeightSource
    private let configuration: MoEConfiguration
    private let form: WeightQuantisation
    private let recent = Mutex<[Read]>([])

    /// Rows of one tensor, quantised: what codes, scales and zero points are read from in turn.
    private struct Read {
        let name: WeightName
        let rows: Range<Int>
        let quantised: QuantisedRows
    }

    /// Reads that are remembered: a few for each thread that packs.
    private static let remembered = 16

    init(_ source: any WeightSource, _ configuration: MoEConfiguration, form: WeightQuantisation) throws(MoEError) {
        self.source = source
        self.configuration = configuration
        self.form = form
        for name in configuration.expertMatrices {
            try form.validate(inputs: configuration.shape(of: name).columns, tensor: source.describe(name))
        }
    }

    func format(of name: WeightName) -> WeightFormat {
        isQuantised(name) ? form.format(inputs: configuration.shape(of: name).columns) : source.format(of: name)
    }

    func describe(_ name: WeightName) -> String { source.describe(name) }

    func readIndices(_ name: WeightName, into destination: UnsafeMutableBufferPointer<Int32>) throws(MoEError) {
        try source.readIndices(name, into: destination)
    }

    func read(_ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(MoEError) {
        guard isQuantised(name) else { return try source.read(name, rows: rows, into: destination) }
        let quantised = try quantised(name, rows)
        let rowBytes = format(of: name).rowBytes(quantised.columns)
        for row in 0..<rows.count {
            quantised.copyCodes(row: row, into: .init(rebasing: destination[(row * rowBytes)...].prefix(rowBytes)))
        }
    }

    func readScales(
        _ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<Float>
    ) throws(MoEError) {
        guard isQuantised(name) else { return try source.readScales(name, rows: rows, into: destination) }
        _ = destination.update(from: try quantised(name, rows).scales)
    }

    func readZeroPoints(
        _ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<UInt8>
    ) throws(MoEError) {
        guard isQuantised(name) else { return try source.readZeroPoints(name, rows: rows, into: destination) }
        _ = destination.update(from: try quantised(name, rows).zeros)
    }

    private func isQuantised(_ name: WeightName) -> Bool {
        switch name {
        case .expert, .shared: true
        default: false
        }
    }

    private func quantised(_ name: WeightName, _ rows: Range<Int>) throws(MoEError) -> QuantisedRows {
        if let known = recent.withLock({ $0.first { $0.name == name && $0.rows == rows } }) { return known.quantised }
        let weights = try source.finiteFloats(name, rows: rows, configuration)
        let quantised = QuantisedRows(weights, columns: configuration.shape(of: name).columns, form: form)
        recent.withLock { recent in
            if recent.count >= Self.remembered { recent.removeFirst() }
            recent.append(Read(name: name, rows: rows, quantised: quantised))
        }
        return quantised
    }
}

extension WeightSource {
    /// Rows of a matrix as fp32 numbers, which is what is quantised.
    ///
    /// - Throws: ``MoEError/weights(tensor:problem:)`` naming the first that is not finite.
    func finiteFloats(
        _ name: WeightName, rows: Range<Int>, _ configuration: MoEConfiguration
    ) throws(MoEError) -> [Float] {
        let weights = try floats(name, rows: rows, configuration)
        if let odd = weights.firstIndex(where: { !$0.isFinite }) {
            let columns = configuration.shape(of: name).columns
            throw .notFinite(describe(name), row: rows.lowerBound + odd / columns, column: odd % columns)
        }
        return weights
    }
}

extension MoEWeights {
    /// These weights with the matrices of experts, routed and shared, quantised when a layer is made of them. Router, biases and the
    /// latent projections stay as they are.
    ///
    /// - Throws: Making a layer of them throws ``MoEError/configuration(field:value:expectation:)`` where the form's group does not
    ///   divide a matrix's inputs, and ``MoEError/weights(tensor:problem:)`` for weights that are not finite.
    public func quantised(to form: WeightQuantisation) -> MoEWeights {
        let source = source
        return MoEWeights { (configuration: MoEConfiguration) throws(MoEError) in
            try QuantisedWeights(try source(configuration), configuration, form: form)
        }
    }
}

extension MoEConfiguration {
    /// The matrices of all experts, routed and shared.
    var expertMatrices: [WeightName] {
        let routed = (0..<experts).flatMap { e in expert.projections.map { WeightName.expert(e, $0) } }
        return routed + (shared == .none ? [] : expert.projections.map { .shared($0) })
    }
}
