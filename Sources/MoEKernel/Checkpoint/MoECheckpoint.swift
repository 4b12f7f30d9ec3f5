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
    public var modelType: String { model.config.modelType }
    /// The layers that are Mixture-of-Experts layers, ascending. A model with encoder and decoder counts its encoder's layers
    /// first and goes on with its decoder's; a folder that holds only one of them counts that one's.
    public var moeLayers: [Int] { model.moeLayers }

    /// The families that can be loaded.
    public static var supportedModelTypes: [String] { ModelFamily.known.flatMap(\.modelTypes) }

    private let model: CheckpointModel
    private let tensors: CheckpointTensors
    private let prefixes: LayerPrefixes
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
        let folder = CheckpointModel.cleaned(folder)
        var model = try CheckpointModel(in: folder)
        tensors = try CheckpointTensors(in: folder)
        prefixes = LayerPrefixes(tensors.names, routers: model.routers)
        try model.keepStacks(of: prefixes)
        self.model = model
        sharedPool = SharedPool(pool)
    }

    /// What a layer is.
    ///
    /// - Parameters:
    ///   - layer: its index in the model, one of ``moeLayers``.
    ///   - weightType: how weights are to be kept in memory; nil keeps them as stored.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` where that is no Mixture-of-Experts layer.
    public func configuration(layer: Int, weightType: ElementType? = nil) throws(MoEError) -> MoEConfiguration {
        var configuration = try model.configuration(layer: layer)
        configuration.weightType = weightType
        return configuration
    }

    /// A layer's weights in their files. Every tensor's presence, shape and type has been checked; rows are read when
    /// asked for, straight into the reader's buffer.
    ///
    /// - Parameter layer: its index in the model, one of ``moeLayers``.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` where that is no Mixture-of-Experts layer;
    ///   ``MoEError/checkpoint(file:tensor:problem:)`` naming the first tensor that is missing, of another shape than
    ///   config.json calls for, or stored in a way that is not supported.
    public func weightSource(layer: Int) throws(MoEError) -> any WeightSource {
        try LayerTensors(layer: layer, of: model, tensors: tensors, prefixes: prefixes)
    }

    /// Loads a layer, ready to run.
    ///
    /// - Parameters:
    ///   - index: its index in the model, one of ``moeLayers``.
    ///   - weightType: how weights are to be kept in memory; nil keeps them as stored.
    ///   - pool: threads for this layer alone; nil uses those that all layers of this checkpoint share.
    ///   - instructionSet: which kernels to run; nil takes the widest that the processor has.
    ///   - arithmetic: how experts multiply.
    ///   - tuning: their tile sizes and cuts; nil takes ``CPUTuning/chosen(_:)``.
    /// - Throws: what ``weightSource(layer:)`` and ``MoELayer/init(_:weights:pool:instructionSet:arithmetic:tuning:)`` throw.
    public func layer(
        _ index: Int, weightType: ElementType? = nil, pool: ThreadPool? = nil,
        instructionSet: CPUInstructionSet? = nil, arithmetic: ExpertArithmetic = .exact, tuning: CPUTuning? = nil
    ) throws(MoEError) -> MoELayer {
        let configuration = try configuration(layer: index, weightType: weightType)
        let weights = MoEWeights(try weightSource(layer: index))
        let threads = if let pool { pool } else { try sharedPool.get() }
        return try MoELayer(
            configuration, weights: weights, pool: threads, instructionSet: instructionSet,
            arithmetic: arithmetic, tuning: tuning)
    }

    /// Loads a layer for a device, ready to run.
    ///
    /// - Parameters:
    ///   - index: its index in the model, one of ``moeLayers``.
    ///   - weightType: how weights are to be kept in memory; nil keeps them as stored, which a GPU cannot where they are codes.
    ///   - device: where it runs.
    ///   - pool: threads for this layer alone; nil uses those that all layers of this checkpoint share.
    /// - Throws: what ``weightSource(layer:)`` and ``MoELayer/init(_:weights:device:pool:)`` throw.
    public func layer(
        _ index: Int, weightType: ElementType? = nil, device: Device, pool: ThreadPool? = nil
    ) throws(MoEError) -> MoELayer {
        let configuration = try configuration(layer: index, weightType: weightType)
        let weights = MoEWeights(try weightSource(layer: index))
        let threads = if let pool { pool } else { try sharedPool.get() }
        return try MoELayer(configuration, weights: weights, device: device, pool: threads)
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
