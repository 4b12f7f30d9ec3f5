/// A matrix of an expert: gate and up are [F, H], down is [H, F].
public enum Projection: String, Sendable, Hashable, CaseIterable {
    case gate, up, down
}

/// Names one weight tensor of a layer.
public enum WeightName: Sendable, Hashable {
    /// [E, H]
    case router
    /// [F, H] or [H, F] of one routed expert
    case expert(Int, Projection)
    /// [F] or [H] of one routed expert
    case expertBias(Int, Projection)
    /// [width, H] or [H, width]
    case shared(Projection)
    /// [1, H], the vector whose sigmoid gates the shared expert
    case sharedGate
}

extension WeightName: CustomStringConvertible {
    public var description: String {
        switch self {
        case .router: "router"
        case .expert(let index, let projection): "experts[\(index)].\(projection)"
        case .expertBias(let index, let projection): "experts[\(index)].\(projection) bias"
        case .shared(let projection): "shared.\(projection)"
        case .sharedGate: "shared gate"
        }
    }
}

extension MoEConfiguration {
    /// The shape [outputs, inputs] of a weight; a bias is [1, outputs].
    public func shape(of name: WeightName) -> (rows: Int, columns: Int) {
        func matrix(_ projection: Projection, _ width: Int) -> (Int, Int) {
            projection == .down ? (hidden, width) : (width, hidden)
        }
        switch name {
        case .router: return (experts, hidden)
        case .expert(_, let projection): return matrix(projection, expertHidden)
        case .expertBias(_, let projection): return (1, projection == .down ? hidden : expertHidden)
        case .shared(let projection): return matrix(projection, shared.width ?? 0)
        case .sharedGate: return (1, hidden)
        }
    }
}

/// Rows of weight tensors on demand, [outputs, inputs] row-major. A layer reads each row once, while packing, from several
/// threads at a time; the reference backend reads rows again whenever it checks something.
public protocol WeightSource: Sendable {
    /// How the tensor is stored.
    func elementType(of name: WeightName) -> ElementType
    /// Copies rows `rows` of the tensor, in its own element type and without padding, to the start of `destination`, which has
    /// room for them.
    func read(_ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(MoEError)
    /// What to call the tensor in a message: its name in the file, for a checkpoint.
    func describe(_ name: WeightName) -> String
}

extension WeightSource {
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
