/// What `quantization_config` says that the tensors themselves do not show.
struct QuantisationConfig: Sendable {
    /// Rows and columns of the blocks that share an FP8 scale.
    var block = (rows: 128, columns: 128)
    /// Codes that share a scale.
    var groupSize: Int?
    /// Bits of a code.
    var bits: Int?
    /// What the quantisation calls itself.
    var method: String?

    init() {}

    init(_ config: CheckpointConfig) throws(MoEError) {
        let keys = config.quantisation
        func failure(_ key: String, _ value: JSONValue, _ expectation: String) -> MoEError {
            .checkpoint(
                file: config.path, tensor: nil,
                problem: "key \"quantization_config.\(key)\" is \(value.shown); expected \(expectation)")
        }
        if case .string(let name)? = keys["quant_method"] { method = name }
        if case .string(let name)? = keys["format"], let outer = method { method = "\(outer) \(name)" }
        switch keys["weight_block_size"] {
        case nil, .null?: break
        case .array(let sizes)? where sizes.count == 2:
            guard case .integer(let rows) = sizes[0], case .integer(let columns) = sizes[1], rows > 0, columns > 0,
                rows <= MoEConfiguration.maximumWidth, columns <= MoEConfiguration.maximumWidth
            else { throw failure("weight_block_size", keys["weight_block_size"]!, "two numbers of 1 or more") }
            block = (rows, columns)
        case let other?: throw failure("weight_block_size", other, "two numbers of 1 or more")
        }
        // compressed-tensors describes the weights of each group of layers; groups for experts have the same description.
        guard case .object(let groups)? = keys["config_groups"] else { return }
        for (name, group) in groups.sorted(by: { $0.key < $1.key }) {
            guard case .object(let parts) = group, case .object(let weights)? = parts["weights"] else { continue }
            if case .integer(let stated)? = weights["group_size"], stated != -1 {
                guard stated > 0 else {
                    throw failure("config_groups.\(name).weights.group_size", .integer(stated), "1 or more")
                }
                groupSize = groupSize ?? stated
            }
            if case .integer(let stated)? = weights["num_bits"] { bits = bits ?? stated }
            if case .array(let sizes)? = weights["block_structure"], sizes.count == 2,
                case .integer(let rows) = sizes[0], case .integer(let columns) = sizes[1], rows > 0, columns > 0
            {
                block = (rows, columns)
            }
        }
    }
}
