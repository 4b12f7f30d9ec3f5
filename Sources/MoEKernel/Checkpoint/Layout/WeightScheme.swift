/// What compressed-tensors' `config_groups` say about the weights of some layers: how many bits a code has, and what shares a
/// scale. Source: vllm-project/compressed-tensors.
struct WeightScheme: Sendable, Hashable {
    /// The weights that share a scale.
    enum Sharing: Sendable, Hashable {
        case tensor
        /// All inputs of an output; `channel` in the files.
        case output
        /// So many inputs of an output.
        case group(Int)
        case block(rows: Int, columns: Int)
    }

    /// Of a code.
    let bits: Int
    /// FP8 or FP4 codes, not whole numbers.
    let isFloat: Bool
    let sharing: Sharing
    /// Whether the code 0 stands for 0; else there are zero points.
    let isSymmetric: Bool

    /// The storage formats of compressed-tensors whose tensors this library can read.
    static let formats: Set<String> = [
        "dense", "int-quantized", "float-quantized", "naive-quantized", "pack-quantized", "mixed-precision",
        "nvfp4-pack-quantized", "mxfp4-pack-quantized",
    ]

    /// Reads the `weights` of a group.
    ///
    /// - Parameter failure: makes the error about a key, from its value and what was expected.
    init(
        _ keys: [String: JSONValue], _ failure: (String, JSONValue, String) -> MoEError
    ) throws(MoEError) {
        func value(_ key: String) -> JSONValue? { keys[key].flatMap { $0 == .null ? nil : $0 } }
        let limit = MoEConfiguration.maximumWidth
        switch value("type") ?? "int" {
        case "int": isFloat = false
        case "float": isFloat = true
        case let other: throw failure("type", other, "int or float")
        }
        let stated = value("num_bits") ?? 8
        guard case .integer(let count) = stated, count == 4 || count == 8 else {
            throw failure("num_bits", stated, "4 or 8")
        }
        bits = count
        switch value("symmetric") ?? true {
        case .bool(let truth): isSymmetric = truth
        case let other: throw failure("symmetric", other, "true or false")
        }
        guard isSymmetric || !isFloat else {
            throw failure("symmetric", false, "true, since codes are floats")
        }
        var group: Int?
        switch value("group_size") {
        case nil, .integer(-1)?: break
        case .integer(let size)? where (1...limit).contains(size): group = size
        case let other?: throw failure("group_size", other, "1 to \(limit), or -1")
        }
        let block = QuantisationConfig.sizes(value("block_structure"))
        switch value("strategy") {
        case "tensor": sharing = .tensor
        case "channel": sharing = .output
        case "group", "tensor_group":
            guard let group else {
                throw failure("group_size", value("group_size") ?? .null, "the size of the groups of strategy group")
            }
            sharing = .group(group)
        case "block":
            guard let block else {
                throw failure(
                    "block_structure", value("block_structure") ?? .null, "the rows and columns of a block")
            }
            sharing = .block(rows: block.rows, columns: block.columns)
        case nil:
            // As the library that writes these files infers it.
            sharing =
                if let group { .group(group) } else if value("group_size") == nil { .tensor } else { .output }
        case let other?:
            throw failure("strategy", other, "tensor, channel, group, tensor_group or block")
        }
    }
}

extension WeightScheme.Sharing {
    /// The shapes that the scales of a matrix [rows, columns] may have; none where groups do not divide a row.
    func scaleShapes(rows: Int, columns: Int) -> [[Int]] {
        switch self {
        case .tensor: [[], [1], [1, 1]]
        case .output: [[rows, 1], [rows]]
        case .group(let size): columns.isMultiple(of: size) ? [[rows, columns / size]] : []
        case .block(let height, let width): [[(rows + height - 1) / height, (columns + width - 1) / width]]
        }
    }
}
