import Synchronization

/// A folder with a published model: config.json beside `model.safetensors`, or beside shards and their index. Its
/// Mixture-of-Experts layers can be loaded one at a time.
///
/// ```swift
/// let layer = try MoECheckpoint(at: "Mixtral-8x7B").layer(3)
/// ```
///
/// Tensors are found by the end of their names, so a language model inside a multimodal one is found too. Both the
/// names that models are published under and the merged expert tensors that transformers holds in memory from version 5
/// on are read, and the quantised forms that models are published in.
public struct MoECheckpoint: Sendable {
    /// The family, `model_type` in config.json; one of ``supportedModelTypes``.
    public var modelType: String { config.modelType }
    /// The layers that are Mixture-of-Experts layers, ascending. A model with encoder and decoder counts its encoder's layers
    /// first and goes on with its decoder's.
    public let moeLayers: [Int]

    /// The families that can be loaded.
    public static var supportedModelTypes: [String] { ModelFamily.known.flatMap(\.modelTypes) }

    /// What people call the family.
    var familyName: String { family.name }

    private let family: ModelFamily
    private let config: CheckpointConfig
    private let quantisation: QuantisationConfig
    private let tensors: CheckpointTensors
    private let prefixes: LayerPrefixes
    private let places: [Int: LayerPlace]
    private let sharedPool: SharedPool

    /// Opens a checkpoint, reading config.json and the index, or the one file's header; no weights.
    ///
    /// - Parameters:
    ///   - folder: the checkpoint's folder; links in it are followed.
    ///   - pool: the threads of all layers loaded from here. Without it they share one that is made for the first.
    /// - Throws: ``MoEError/system(file:operation:reason:)`` where a file cannot be opened;
    ///   ``MoEError/checkpoint(file:tensor:problem:)`` where one is malformed, config.json is of no supported family,
    ///   or a key in it is missing or absurd.
    public init(at folder: String, pool: ThreadPool? = nil) throws(MoEError) {
        var folder = folder
        while folder.count > 1, folder.hasSuffix("/") { folder.removeLast() }
        config = try CheckpointConfig(at: "\(folder)/config.json", known: Self.supportedModelTypes)
        family = ModelFamily.of(config.modelType)!
        quantisation = try QuantisationConfig(config)
        places = try Self.places(family, config)
        moeLayers = places.keys.sorted()
        guard let first = moeLayers.first else {
            throw .checkpoint(file: config.path, tensor: nil, problem: "describes no Mixture-of-Experts layer")
        }
        // Asked for here, so that a fault in config.json shows before any weights are looked at.
        _ = try Self.configuration(family, config, places[first]!)
        tensors = try CheckpointTensors(in: folder)
        prefixes = LayerPrefixes(tensors.names, routers: Set(family.stacks.flatMap(\.layout.routers)))
        sharedPool = SharedPool(pool)
    }

    /// What a layer is.
    ///
    /// - Parameters:
    ///   - layer: its index in the model, one of ``moeLayers``.
    ///   - weightType: how weights are to be kept in memory; nil keeps them as stored.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` where that is no Mixture-of-Experts layer.
    public func configuration(layer: Int, weightType: ElementType? = nil) throws(MoEError) -> MoEConfiguration {
        guard moeLayers.contains(layer) else {
            throw .input(
                name: "layer", value: "\(layer)",
                expectation: "a Mixture-of-Experts layer of \(config.path): \(Self.list(moeLayers))")
        }
        var configuration = try Self.configuration(family, config, places[layer]!)
        configuration.weightType = weightType
        return configuration
    }

    private static func configuration(
        _ family: ModelFamily, _ config: CheckpointConfig, _ place: LayerPlace
    ) throws(MoEError) -> MoEConfiguration {
        do throws(MoEError) {
            return try family.configuration(config, place)
        } catch {
            // Each key makes sense by itself, but they describe no layer together.
            guard case .configuration = error else { throw error }
            throw .checkpoint(file: config.path, tensor: nil, problem: "\(error)")
        }
    }

    /// Every Mixture-of-Experts layer, by its index in the model.
    private static func places(
        _ family: ModelFamily, _ config: CheckpointConfig
    ) throws(MoEError) -> [Int: LayerPlace] {
        var places: [Int: LayerPlace] = [:]
        var before = 0
        for (position, stack) in family.stacks.enumerated() {
            for index in try stack.moeLayers(config) {
                places[before + index] = LayerPlace(stack: position, index: index)
            }
            before += try stack.count(config)
        }
        return places
    }

    /// A layer's weights in their files. Every tensor's presence, shape and type has been checked; rows are read when
    /// asked for, straight into the reader's buffer.
    ///
    /// - Parameter layer: its index in the model, one of ``moeLayers``.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` where that is no Mixture-of-Experts layer;
    ///   ``MoEError/checkpoint(file:tensor:problem:)`` naming the first tensor that is missing, of another shape than
    ///   config.json calls for, or stored in a way that is not supported.
    public func weightSource(layer: Int) throws(MoEError) -> any WeightSource {
        let configuration = try configuration(layer: layer)
        let place = places[layer]!
        let stack = family.stacks[place.stack]
        guard
            let prefix = try prefixes.prefix(
                layer: place.index, parent: stack.parent, routers: stack.layout.routers, file: tensors.path)
        else {
            throw .checkpoint(
                file: tensors.path, tensor: "…layers.\(place.index).\(stack.layout.routers[0])",
                problem: "is missing; config.json calls for it")
        }
        return try LayerTensors(
            configuration, layout: stack.layout, prefix: prefix, tensors: tensors, quantisation: quantisation)
    }

    /// Loads a layer, ready to run.
    ///
    /// - Parameters:
    ///   - index: its index in the model, one of ``moeLayers``.
    ///   - weightType: how weights are to be kept in memory; nil keeps them as stored.
    ///   - pool: threads for this layer alone; nil uses those that all layers of this checkpoint share.
    ///   - instructionSet: which kernels to run; nil takes the widest that the processor has.
    /// - Throws: what ``weightSource(layer:)`` and ``MoELayer/init(_:weights:pool:instructionSet:)`` throw.
    public func layer(
        _ index: Int, weightType: ElementType? = nil, pool: ThreadPool? = nil, instructionSet: CPUInstructionSet? = nil
    ) throws(MoEError) -> MoELayer {
        let configuration = try configuration(layer: index, weightType: weightType)
        let weights = MoEWeights(try weightSource(layer: index))
        let threads = if let pool { pool } else { try sharedPool.get() }
        return try MoELayer(configuration, weights: weights, pool: threads, instructionSet: instructionSet)
    }

    /// Ascending indices in as few words as they take: `0–23`, `1, 3, 5`.
    private static func list(_ layers: [Int]) -> String {
        var runs: [ClosedRange<Int>] = []
        for layer in layers {
            if let last = runs.last, last.upperBound == layer - 1 {
                runs[runs.count - 1] = last.lowerBound...layer
            } else {
                runs.append(layer...layer)
            }
        }
        let words = runs.prefix(20).map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)–\($0.upperBound)" }
        return words.joined(separator: ", ") + (runs.count > 20 ? ", …" : "")
    }
}

/// One thread pool for all layers of a checkpoint, made when the first is loaded.
private final class SharedPool: Sendable {
    private let pool = AtomicLazyReference<ThreadPool>()

    init(_ pool: ThreadPool?) {
        if let pool { _ = self.pool.storeIfNil(pool) }
    }

    func get() throws(MoEError) -> ThreadPool {
        if let pool = pool.load() { return pool }
        // Of two made at once one is kept.
        return pool.storeIfNil(try ThreadPool())
    }
}
