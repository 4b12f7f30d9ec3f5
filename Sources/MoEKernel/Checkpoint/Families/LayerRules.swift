extension CheckpointConfig {
    /// Every layer.
    func everyLayer() throws(MoEError) -> [Int] { Array(0..<(try layerCount())) }

    /// Qwen's rule: every `decoder_sparse_step`-th layer, less those listed as dense.
    func sparseStepLayers() throws(MoEError) -> [Int] {
        let step = try integer("decoder_sparse_step", in: 1...Self.maximumLayers, default: 1)
        let dense = try layers("mlp_only_layers") ?? []
        return try everyLayer().filter { ($0 + 1).isMultiple(of: step) && !dense.contains($0) }
    }

    /// Some dense layers, then Mixture-of-Experts layers only.
    func layers(after key: String, default fallback: Int) throws(MoEError) -> [Int] {
        let dense = try integer(key, in: 0...Self.maximumLayers, default: fallback)
        return try everyLayer().filter { $0 >= dense }
    }

    /// DeepSeek's rule: `first_k_dense_replace` dense layers, then every `moe_layer_freq`-th. A list stated instead, layer
    /// by layer (`mlp_layer_types`, or `moe_layer_freq` itself), comes first.
    func deepSeekLayers(firstDense fallback: Int) throws(MoEError) -> [Int] {
        let count = try layerCount()
        if let layers = try listed("mlp_layer_types", layers: count, yes: ["sparse", "moe"], no: ["dense"]) {
            return layers
        }
        if let layers = try listed("moe_layer_freq", layers: count, yes: [1, true], no: [0, false]) { return layers }
        let step = try integer("moe_layer_freq", in: 1...Self.maximumLayers, default: 1)
        return try layers(after: "first_k_dense_replace", default: fallback).filter { $0.isMultiple(of: step) }
    }

    /// The layers for which a list has one of some values; nil where the key is absent or no list.
    func listed(_ key: String, layers count: Int, yes: [JSONValue], no: [JSONValue]) throws(MoEError) -> [Int]? {
        guard let elements = try list(key, layers: count) else { return nil }
        var layers: [Int] = []
        for (index, element) in elements.enumerated() {
            guard yes.contains(element) || no.contains(element) else {
                throw failure(
                    "\(key)[\(index)]", element.shown, "one of \((yes + no).map(\.shown).joined(separator: ", "))")
            }
            if yes.contains(element) { layers.append(index) }
        }
        return layers
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral {
    init(stringLiteral value: String) { self = .string(value) }
    init(integerLiteral value: Int) { self = .integer(value) }
    init(booleanLiteral value: Bool) { self = .bool(value) }
}
