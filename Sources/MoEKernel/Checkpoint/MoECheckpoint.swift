import Synchronization

/// A folder with a published model: config.json beside `model.safetensors`, or beside shards and their index. Its
/// Mixture-of-Experts layers can be loaded one at a time.
///
/// ```swift
/// let layer = try MoECheckpoint(at: "Mixtral-8x7B").layer(3)
/// ```
///
/// Tensors are found by the end of their names, so a language model inside a multimodal one is found too. Both the names that
/// models are published under and the merged expert tensors that transformers holds in memory from version 5 on are read.
public struct MoECheckpoint: Sendable {
    /// The family, `model_type` in config.json; one of ``supportedModelTypes``.
    public var modelType: String { family.modelType }
    /// The layers that are Mixture-of-Experts layers, ascending.
    public let moeLayers: [Int]

    /// The families that can be loaded.
    public static var supportedModelTypes: [String] { ModelFamily.known.map(\.modelType) }

    private let family: ModelFamily
    private let config: CheckpointConfig
    private let tensors: CheckpointTensors
    private let prefixes: LayerPrefixes
    private let sharedPool: SharedPool

    /// Opens a checkpoint, reading config.json and the index, or the one file's header; no weights.
    ///
    /// - Parameters:
    ///   - folder: the checkpoint's folder; links in it are followed.
    ///   - pool: the threads of all layers loaded from here. Without it they share one that is made for the first.
    /// - Throws: ``MoEError/system(file:operation:reason:)`` where a file cannot be opened;
    ///   ``MoEError/checkpoint(file:tensor:problem:)`` where one is malformed, config.json is of no supported family, or a key in
    ///   it is missing or absurd.
    public init(at folder: String, pool: ThreadPool? = nil) throws(MoEError) {
        var folder = folder
        while folder.count > 1, folder.hasSuffix("/") { folder.removeLast() }
        config = try CheckpointConfig(at: "\(folder)/config.json", known: Self.supportedModelTypes)
        let modelType = config.modelType
        family = ModelFamily.known.first { $0.modelType == modelType }!
        moeLayers = try family.moeLayers(config)
        guard !moeLayers.isEmpty else {
            throw .checkpoint(file: config.path, tensor: nil, problem: "describes no Mixture-of-Experts layer")
        }
        // Asked for here, so that a fault in config.json shows before any weights are looked at.
        _ = try family.configuration(config, moeLayers[0], nil)
        tensors = try CheckpointTensors(in: folder)
        prefixes = LayerPrefixes(tensors.names, routers: Set(family.layouts.map(\.router)))
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
        return try family.configuration(config, layer, weightType)
    }

    /// A layer's weights in their files. Every tensor's presence, shape and type has been checked; rows are read when asked for,
    /// straight into the reader's buffer.
    ///
    /// - Parameter layer: its index in the model, one of ``moeLayers``.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` where that is no Mixture-of-Experts layer;
    ///   ``MoEError/checkpoint(file:tensor:problem:)`` naming the first tensor that is missing, of another shape than config.json
    ///   calls for, or stored in another type than F32, BF16 and F16.
    public func weightSource(layer: Int) throws(MoEError) -> any WeightSource {
        let configuration = try configuration(layer: layer)
        var layout = family.layouts[0]
        var prefix: String?
        for candidate in family.layouts {
            guard let found = try prefixes.prefix(layer: layer, router: candidate.router, file: tensors.path) else { continue }
            // Until one proves to be it, the first layout stands, and its missing tensors are what an error is about.
            if prefix == nil { (layout, prefix) = (candidate, found) }
            if holds(candidate.experts, prefix: found) {
                (layout, prefix) = (candidate, found)
                break
            }
        }
        guard let prefix else {
            throw .checkpoint(
                file: tensors.path, tensor: "…layers.\(layer).\(layout.router)", problem: "is missing; config.json calls for it")
        }
        return try LayerTensors(configuration, layout: layout, prefix: prefix, tensors: tensors)
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

    /// Whether a layout's first expert, or its merged tensors, are there in part at least.
    private func holds(_ experts: ExpertTensors, prefix: String) -> Bool {
        switch experts {
        case .separate(let folder, let names):
            Projection.allCases.contains { tensors.contains("\(prefix)\(folder)0.\(names[$0])") }
        case .merged(let gateUp, let down):
            tensors.contains(prefix + gateUp) || tensors.contains(prefix + down)
        }
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
