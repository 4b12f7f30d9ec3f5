/// A published model family: what the keys of its config.json mean and what it calls its tensors. Adding a family is
/// adding a value of this type, in a file of its own, to ``known``.
struct ModelFamily: Sendable {
    /// What people call it.
    let name: String
    /// The values of `model_type` in config.json, the nested ones of multimodal models included.
    let modelTypes: [String]
    /// The model's layers: one run of decoder layers, or an encoder's followed by a decoder's.
    let stacks: [LayerStack]
    /// One Mixture-of-Experts layer. Throws ``MoEError/configuration(field:value:expectation:)`` where the keys describe
    /// none; the caller says which file that is about.
    let configuration: @Sendable (CheckpointConfig, LayerPlace) throws(MoEError) -> MoEConfiguration

    init(
        _ name: String, types: [String], stacks: [LayerStack],
        configuration: @escaping @Sendable (CheckpointConfig, LayerPlace) throws(MoEError) -> MoEConfiguration
    ) {
        self.name = name
        modelTypes = types
        self.stacks = stacks
        self.configuration = configuration
    }

    /// A decoder.
    init(
        _ name: String, types: [String], layers: @escaping @Sendable (CheckpointConfig) throws(MoEError) -> [Int],
        layout: TensorLayout,
        configuration: @escaping @Sendable (CheckpointConfig, LayerPlace) throws(MoEError) -> MoEConfiguration
    ) {
        self.init(
            name, types: types, stacks: [LayerStack(moeLayers: layers, layout: layout)], configuration: configuration)
    }

    /// Every family that can be loaded.
    static let known: [ModelFamily] = [
        .mixtral, .qwen2MoE, .qwen3MoE, .qwen3Next, .qwen3VLMoE, .qwen35MoE, .olmoe, .deepSeekV2, .deepSeekV3, .kimiK2,
        .deepSeekV4, .glm4MoE, .glm4MoELite, .glmMoEDSA, .gptOSS, .llama4, .phiMoE, .graniteMoE, .jamba, .dbrx,
        .miniMax,
        .miniMaxM2, .ernie45MoE, .hunyuanV1MoE, .hunyuanV3, .switchTransformers, .nllbMoE, .lfm2MoE, .nemotronH,
        .longCatFlash, .mistral4, .gemma4, .jetMoE, .aria, .cohere2MoE, .afMoE, .dots1, .solarOpen, .exaoneMoE,
        .bailingHybrid, .kimiLinear, .miMoV2Flash,
    ]

    /// The family of a `model_type`.
    static func of(_ modelType: String) -> ModelFamily? { known.first { $0.modelTypes.contains(modelType) } }
}

/// A run of layers whose tensors are named alike.
struct LayerStack: Sendable {
    /// The part of a tensor's name that stands before `layers` (or `block`) and the index, where it matters: `encoder`.
    var parent: String?
    /// How many layers there are, which matters where another stack follows.
    var count: @Sendable (CheckpointConfig) throws(MoEError) -> Int = { (_) throws(MoEError) in 0 }
    /// Which of them are Mixture-of-Experts layers, ascending.
    let moeLayers: @Sendable (CheckpointConfig) throws(MoEError) -> [Int]
    /// Where a layer's tensors are.
    let layout: TensorLayout
}

/// Which layer of a model is meant.
struct LayerPlace: Sendable, Hashable {
    /// Position in ``ModelFamily/stacks``.
    let stack: Int
    /// Position in the stack.
    let index: Int
}
