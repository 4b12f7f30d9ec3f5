/// What the tensors of a layer are called, each name following the layer's prefix (`model.layers.3.`). Published files,
/// transformers from version 5 on and training programs name some things differently: where several names are listed, the
/// first that is there is meant.
struct TensorLayout: Sendable {
    /// Tensors that stand alone: the router, its vectors, projections in and out.
    var single: [WeightName: [String]]
    /// The routed experts.
    var experts: [ExpertTensors]
    /// The shared expert.
    var shared: [SharedTensors] = []

    /// Every name that a router may have.
    var routers: [String] { single[.router] ?? [] }
}

/// Names of an expert's matrices; a bias has its matrix's name with `bias` at the end.
struct ProjectionNames: Sendable {
    /// Empty where there is no gate.
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

    /// As most families call them.
    static func projections(in folder: String = "") -> ProjectionNames {
        ProjectionNames(
            gate: folder + "gate_proj.weight", up: folder + "up_proj.weight", down: folder + "down_proj.weight")
    }

    /// As Mixtral numbers them.
    static func numbered(in folder: String = "") -> ProjectionNames {
        ProjectionNames(gate: folder + "w1.weight", up: folder + "w3.weight", down: folder + "w2.weight")
    }
}

/// How the routed experts are stored.
enum ExpertTensors: Sendable {
    /// A tensor for each matrix of each expert, [outputs, inputs], in numbered folders: `mlp.experts.17.gate_proj.weight`.
    case separate(folder: String, names: ProjectionNames)
    /// Gate and up of all experts in one tensor, down in another. Biases are called after them, with `_bias`.
    case fused(gateUp: String, down: String, order: GateUpOrder, preferred: MajorOrder)
    /// Up of all experts in one tensor [E, F, W], down in another, [E, W, F]: experts without a gate.
    case stacked(up: String, down: String)
    /// One tensor [E·F, H] for each of the three, down being the one that stands on its side (DBRX).
    case flat(ProjectionNames)

    /// `mlp.experts.17.gate_proj.weight` and so on.
    static func separate(in folder: String) -> ExpertTensors { .separate(folder: folder, names: .projections()) }

    /// `block_sparse_moe.experts.17.w1.weight` and so on.
    static func numbered(in folder: String) -> ExpertTensors { .separate(folder: folder, names: .numbered()) }

    /// [E, 2F, H] and [E, H, F], as transformers from version 5 on holds the experts of nearly every family in memory, and
    /// training programs save them.
    static func merged(in folder: String) -> ExpertTensors {
        .fused(gateUp: folder + "gate_up_proj", down: folder + "down_proj", order: .halves, preferred: .outputs)
    }
}

/// How the shared expert is stored.
enum SharedTensors: Sendable {
    /// A tensor for each matrix.
    case separate(ProjectionNames)
    /// Gate rows before up rows in one, [2·width, H], down in another.
    case fused(gateUp: String, down: String)

    static func projections(in folder: String) -> SharedTensors { .separate(.projections(in: folder)) }
}

/// How gate and up share a dimension.
enum GateUpOrder: Sendable {
    /// All of the gate, then all of up.
    case halves
    /// Gate 0, up 0, gate 1, up 1, … (gpt-oss).
    case interleaved
}

/// Which dimension of a matrix comes first.
enum MajorOrder: Sendable {
    /// [outputs, inputs], as a linear layer stores it.
    case outputs
    /// [inputs, outputs].
    case inputs
}

extension TensorLayout {
    /// The layout that most families have: a router at `gate`, experts one by one or merged, all under `mlp.`.
    static func usual(
        _ folder: String = "mlp.", router: [String] = ["gate.weight"], selectionBias: [String] = [],
        shared: [String] = []
    ) -> TensorLayout {
        var single: [WeightName: [String]] = [.router: router.map { folder + $0 }]
        if !selectionBias.isEmpty { single[.selectionBias] = selectionBias.map { folder + $0 } }
        let merged = Set([folder, "mlp."]).sorted().map { ExpertTensors.merged(in: $0 + "experts.") }
        return TensorLayout(
            single: single, experts: [.separate(in: folder + "experts.")] + merged,
            shared: shared.map { .projections(in: "\(folder)\($0).") })
    }

    /// Mixtral's names, and what transformers from version 5 on makes of them.
    static func mixtral(selectionBias: [String] = [], router: [String] = ["gate.weight"]) -> TensorLayout {
        let folders = ["block_sparse_moe.", "mlp."]
        var single: [WeightName: [String]] = [.router: folders.flatMap { folder in router.map { folder + $0 } }]
        if !selectionBias.isEmpty {
            single[.selectionBias] = folders.flatMap { folder in selectionBias.map { folder + $0 } }
        }
        return TensorLayout(
            single: single,
            experts: [.numbered(in: "block_sparse_moe.experts.")] + folders.map { .merged(in: $0 + "experts.") })
    }

    /// DeepSeek's names.
    static let deepSeek = TensorLayout.usual(
        selectionBias: ["gate.e_score_correction_bias"], shared: ["shared_experts"])
}
