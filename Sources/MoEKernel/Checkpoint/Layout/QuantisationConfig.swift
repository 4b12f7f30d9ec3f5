/// What `quantization_config` says that the tensors themselves do not show.
struct QuantisationConfig: Sendable {
    /// Rows and columns of the blocks that share an FP8 scale.
    var block = (rows: 128, columns: 128)
    /// What the quantisation calls itself.
    var method: String?
    /// What compressed-tensors says of the weights of each group of layers.
    var schemes: [WeightScheme] = []
    /// Layers that are said to be left as they were, by their whole names.
    var ignored: Set<String> = []

    init() {}

    /// Rows and columns of a block, where a value is such a pair.
    static func sizes(_ value: JSONValue?) -> (rows: Int, columns: Int)? {
        let limit = MoEConfiguration.maximumWidth
        guard case .array(let sizes)? = value, sizes.count == 2, case .integer(let rows) = sizes[0],
            case .integer(let columns) = sizes[1], (1...limit).contains(rows), (1...limit).contains(columns)
        else { return nil }
        return (rows, columns)
    }

    init(_ config: CheckpointConfig) throws(MoEError) {
        let keys = config.quantisation
        func failure(_ key: String, _ value: JSONValue, _ expectation: String) -> MoEError {
            .checkpoint(
                file: config.path, tensor: nil,
                problem: "key \"quantization_config.\(key)\" is \(value.shown); expected \(expectation)")
        }
        var isCompressedTensors = keys["config_groups"] != nil
        if case .string(let name)? = keys["quant_method"] {
            method = name
            isCompressedTensors = name == "compressed-tensors"
        }
        if case .string(let name)? = keys["format"], let outer = method { method = "\(outer) \(name)" }
        if let value = keys["weight_block_size"], value != .null {
            guard let stated = Self.sizes(value) else {
                throw failure("weight_block_size", value, "two numbers of 1 or more")
            }
            block = stated
        }
        if isCompressedTensors { try readCompressedTensors(keys, failure) }
        for case .block(let rows, let columns) in schemes.map(\.sharing) { block = (rows, columns) }
    }

    /// What compressed-tensors says beyond sizes, which the tensors are then held to.
    private mutating func readCompressedTensors(
        _ keys: [String: JSONValue], _ failure: (String, JSONValue, String) -> MoEError
    ) throws(MoEError) {
        func check(_ key: String, _ format: JSONValue?) throws(MoEError) {
            guard let format, format != .null else { return }
            guard case .string(let name) = format, WeightScheme.formats.contains(name) else {
                throw failure(key, format, "one of \(WeightScheme.formats.sorted().joined(separator: ", "))")
            }
        }
        try check("format", keys["format"])
        // Weights that were rotated need their inputs rotated too.
        if case .object(let transform)? = keys["transform_config"], !transform.isEmpty {
            throw failure("transform_config", .object(transform), "none, since transformed weights are not supported")
        }
        if case .array(let names)? = keys["ignore"] {
            for case .string(let name) in names { ignored.insert(name) }
        }
        guard case .object(let groups)? = keys["config_groups"] else { return }
        for (name, group) in groups.sorted(by: { $0.key < $1.key }) {
            guard case .object(let parts) = group, case .object(let weights)? = parts["weights"] else { continue }
            try check("config_groups.\(name).format", parts["format"])
            schemes.append(
                try WeightScheme(weights) { key, value, expectation in
                    failure("config_groups.\(name).weights.\(key)", value, expectation)
                })
        }
    }
}
