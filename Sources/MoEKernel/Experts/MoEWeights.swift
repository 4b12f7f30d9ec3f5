/// A matrix of an expert: gate and up are [F, H], down is [H, F].
public enum Projection: String, Sendable, Hashable, CaseIterable {
    case gate, up, down
}

/// Names one weight tensor of a layer. E counts identity experts where the router's outputs are meant.
public enum WeightName: Sendable, Hashable {
    /// [E, H]
    case router
    /// [E], added to the logits
    case routerBias
    /// [E], added to the scores for choosing
    case selectionBias
    /// [E], factors on the experts' weights
    case expertScale
    /// [H], factors on the normalised input of the router
    case routerInputScale
    /// [groups, H], the upper level of a hierarchical router
    case groupRouter
    /// [vocabulary, k] expert indices by token id; read by ``WeightSource/readIndices(_:into:)``
    case expertTable
    /// [F, W] or [W, F] of one routed expert, W being H or the latent width
    case expert(Int, Projection)
    /// [F] or [W] of one routed expert
    case expertBias(Int, Projection)
    /// [W, H], into the latent width
    case latentIn
    /// [H, W], out of the latent width
    case latentOut
    /// [width, H] or [H, width]
    case shared(Projection)
    /// [width] or [H]
    case sharedBias(Projection)
    /// [1, H], the vector whose sigmoid gates the shared expert
    case sharedGate
    /// [H], added once to every output
    case outputBias
}

extension WeightName: CustomStringConvertible {
    public var description: String {
        switch self {
        case .router: "router"
        case .routerBias: "router bias"
        case .selectionBias: "selection bias"
        case .expertScale: "expert scale"
        case .routerInputScale: "router input scale"
        case .groupRouter: "group router"
        case .expertTable: "expert table"
        case .expert(let index, let projection): "experts[\(index)].\(projection)"
        case .expertBias(let index, let projection): "experts[\(index)].\(projection) bias"
        case .latentIn: "latent in"
        case .latentOut: "latent out"
        case .shared(let projection): "shared.\(projection)"
        case .sharedBias(let projection): "shared.\(projection) bias"
        case .sharedGate: "shared gate"
        case .outputBias: "output bias"
        }
    }
}

extension MoEConfiguration {
    /// The shape [outputs, inputs] of a weight; a vector is [1, length].
    public func shape(of name: WeightName) -> (rows: Int, columns: Int) {
        func matrix(_ projection: Projection, _ width: Int, _ model: Int) -> (Int, Int) {
            projection == .down ? (model, width) : (width, model)
        }
        switch name {
        case .router: return (choices, hidden)
        case .routerBias, .selectionBias, .expertScale: return (1, choices)
        case .routerInputScale, .sharedGate, .outputBias: return (1, hidden)
        case .groupRouter: return (router.groups, hidden)
        case .expertTable:
            let vocabulary = if case .table(let vocabulary) = router.selection { vocabulary } else { 0 }
            return (vocabulary, topK)
        case .expert(_, let projection): return matrix(projection, expertHidden, expertWidth)
        case .expertBias(_, let projection): return (1, projection == .down ? expertWidth : expertHidden)
        case .latentIn: return (latent ?? 0, hidden)
        case .latentOut: return (hidden, latent ?? 0)
        case .shared(let projection): return matrix(projection, shared.width ?? 0, hidden)
        case .sharedBias(let projection): return (1, projection == .down ? hidden : shared.width ?? 0)
        }
    }
}

/// Rows of weight tensors on demand. A layer reads each row once, while packing, from several threads at a time; the
/// reference backend reads rows again whenever it checks something.
public protocol WeightSource: Sendable {
    /// How the tensor is stored. Vectors are always ``WeightFormat/plain(_:)``.
    func format(of name: WeightName) -> WeightFormat
    /// Copies stored rows `rows` of the tensor (inputs of a transposed one, else outputs), in its own format and without
    /// padding between rows, to the start of `destination`, which has room for them.
    func read(_ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(MoEError)
    /// Copies the scales of rows `rows` of a quantised tensor, [rows, ⌈inputs / group⌉].
    func readScales(
        _ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<Float>
    ) throws(MoEError)
    /// Copies the zero points of rows `rows` of a quantised tensor that has some, one code a byte, [rows, ⌈inputs / group⌉].
    func readZeroPoints(
        _ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<UInt8>
    ) throws(MoEError)
    /// Copies a whole tensor of indices.
    func readIndices(_ name: WeightName, into destination: UnsafeMutableBufferPointer<Int32>) throws(MoEError)
    /// What to call the tensor in a message: its name in the file, for a checkpoint.
    func describe(_ name: WeightName) -> String
}

extension WeightSource {
    public func readScales(
        _ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<Float>
    ) throws(MoEError) {
        throw .weights(tensor: describe(name), problem: "has no scales; expected a source of quantised weights")
    }

    public func readZeroPoints(
        _ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<UInt8>
    ) throws(MoEError) {
        throw .weights(tensor: describe(name), problem: "has no zero points; expected a source that tells them")
    }

    public func readIndices(
        _ name: WeightName, into destination: UnsafeMutableBufferPointer<Int32>
    ) throws(MoEError) {
        throw .weights(tensor: describe(name), problem: "holds no indices; expected a source with an expert table")
    }

    public func describe(_ name: WeightName) -> String { "\(name)" }
}

/// Where a layer's weights come from.
public struct MoEWeights: Sendable {
    /// Makes the source once the layer's shapes are known.
    package let source: @Sendable (MoEConfiguration) throws(MoEError) -> any WeightSource

    /// Weights from any source.
    public init(_ source: any WeightSource) {
        self.source = { (_: MoEConfiguration) throws(MoEError) -> any WeightSource in source }
    }

    init(making source: @escaping @Sendable (MoEConfiguration) throws(MoEError) -> any WeightSource) {
        self.source = source
    }

    /// Reproducible weights, uniform with variance 1/fan-in, so that activations keep their scale. The same seed gives the
    /// same weights on every machine.
    public static func random(seed: UInt64) -> MoEWeights {
        MoEWeights { (configuration: MoEConfiguration) throws(MoEError) in RandomWeights(configuration, seed: seed) }
    }
}
