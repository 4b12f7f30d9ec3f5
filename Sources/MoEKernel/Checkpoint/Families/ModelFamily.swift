/// A published model family: what the keys of its config.json mean and what it calls its tensors. Adding a family is adding a
/// value of this type to ``known``.
struct ModelFamily: Sendable {
    /// `model_type` in config.json.
    let modelType: String
    /// The layers that are Mixture-of-Experts layers, ascending.
    let moeLayers: @Sendable (CheckpointConfig) throws(MoEError) -> [Int]
    /// One such layer.
    let configuration: @Sendable (CheckpointConfig, _ layer: Int, _ weightType: ElementType?) throws(MoEError)
        -> MoEConfiguration
    /// The ways in which the family's checkpoints name their tensors; the first whose tensors are there is taken.
    let layouts: [TensorLayout]

    /// Every family that can be loaded.
    static let known: [ModelFamily] = [.mixtral, .qwen2MoE, .qwen3MoE, .olmoe]
}

/// What one layer's tensors are called, each name following the layer's prefix (`model.layers.3.`).
struct TensorLayout: Sendable {
    /// [E, H]
    let router: String
    let experts: ExpertTensors
    /// Gate [width, H], up [width, H] and down [H, width] of the shared expert.
    var shared: ProjectionNames?
    /// [1, H]
    var sharedGate: String?
}

/// Names of a gated expert's three matrices.
struct ProjectionNames: Sendable {
    let gate: String
    let up: String
    let down: String

    subscript(_ projection: Projection) -> String {
        switch projection {
        case .gate: gate
        case .up: up
        case .down: down
        }
    }

    /// As Qwen, OLMoE and most others call them.
    static func projections(in folder: String) -> ProjectionNames {
        ProjectionNames(
            gate: folder + "gate_proj.weight", up: folder + "up_proj.weight", down: folder + "down_proj.weight")
    }
}

/// How the routed experts are stored.
enum ExpertTensors: Sendable {
    /// A tensor for each matrix of each expert, [F, H] and [H, F], in numbered folders: `mlp.experts.17.gate_proj.weight`.
    case separate(folder: String, names: ProjectionNames)
    /// One tensor [E, 2F, H], in which an expert's gate rows stand before its up rows, and one [E, H, F].
    case merged(gateUp: String, down: String)

    /// As transformers from version 5 on holds the experts in memory, and training programs save them.
    static func merged(in folder: String) -> ExpertTensors {
        .merged(gateUp: folder + "gate_up_proj", down: folder + "down_proj")
    }
}

extension CheckpointConfig {
    /// A layer of gated experts behind a softmax router: all of these families. `F` and the rest come from the family.
    func softmaxLayer(
        expertHidden: Int, normalisation: RouterNormalisation, shared: SharedExpert = .none, weightType: ElementType?
    ) throws(MoEError) -> MoEConfiguration {
        // transformers writes either name of the expert count, whatever the family's own.
        let experts = try integer("num_experts", or: "num_local_experts", in: 1...MoEConfiguration.maximumExperts)
        let topK = try integer("num_experts_per_tok", in: 1...experts)
        let hidden = try integer("hidden_size", in: 1...MoEConfiguration.maximumWidth)
        let expert = ExpertKind.gated(try activation())
        do throws(MoEError) {
            return try MoEConfiguration(
                experts: experts, topK: topK, hidden: hidden, expertHidden: expertHidden,
                router: RouterConfiguration(score: .softmax, normalisation: normalisation), expert: expert,
                shared: shared, weightType: weightType)
        } catch {
            throw .checkpoint(file: path, tensor: nil, problem: "\(error)")
        }
    }

    /// An inner width.
    func width(_ key: String) throws(MoEError) -> Int { try integer(key, in: 1...MoEConfiguration.maximumWidth) }

    /// Qwen's switch for dividing the chosen scores by their sum; off unless it is on.
    func normTopKProb() throws(MoEError) -> RouterNormalisation {
        try bool("norm_topk_prob", default: false) ? .sum(epsilon: 0) : .none
    }

    /// Every layer.
    func everyLayer() throws(MoEError) -> [Int] { Array(0..<(try layerCount())) }

    /// Qwen's rule: every `decoder_sparse_step`-th layer, less those listed as dense.
    func sparseStepLayers() throws(MoEError) -> [Int] {
        let step = try integer("decoder_sparse_step", in: 1...Self.maximumLayers, default: 1)
        let dense = try layers("mlp_only_layers")
        return try everyLayer().filter { ($0 + 1).isMultiple(of: step) && !dense.contains($0) }
    }
}
