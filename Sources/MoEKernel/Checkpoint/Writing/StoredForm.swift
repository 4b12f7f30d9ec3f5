/// How the parts of a quantised matrix are stored in a checkpoint: whole numbers and FP8 as compressed-tensors has them, FP4 in the
/// microscaling form. Sources: vllm-project/compressed-tensors; OpenAI's gpt-oss files for merged MXFP4.
enum StoredForm: Sendable, Hashable {
    /// `weight_packed` in words of 32 bits, bf16 scales, zero points packed along the outputs.
    case packed(bits: Int)
    /// `weight` in E4M3, a bf16 scale an output.
    case float8
    /// `weight_packed`, or merged `_blocks`, two E2M1 codes a byte; an E8M0 scale for 32.
    case microscaled

    /// - Throws: ``MoEError/configuration(field:value:expectation:)`` for a form that no published files have.
    init(_ form: WeightQuantisation) throws(MoEError) {
        switch form.code {
        case .int4: self = .packed(bits: 4)
        case .int8: self = .packed(bits: 8)
        case .float8E4M3 where form.group == nil: self = .float8
        case .float4E2M1 where form.group == 32 && form.powerOfTwoScales: self = .microscaled
        case .float8E4M3:
            throw .configuration(
                field: "group", value: "\(form.group ?? 0)", expectation: "none: FP8 is stored with a scale an output")
        case .float4E2M1:
            throw .configuration(
                field: "FP4 scales", value: "of groups of \(form.group.map(String.init) ?? "a row")",
                expectation: "powers of two for groups of 32, as MXFP4 is stored")
        }
    }

    // MARK: Sizes

    /// Bytes of a stored row of codes.
    func codeRowBytes(_ columns: Int) -> Int {
        switch self {
        case .packed(let bits): (columns * bits + 31) / 32 * 4
        case .float8: columns
        case .microscaled: (columns + 1) / 2
        }
    }

    /// Of a scale.
    var scaleBytes: Int { self == .microscaled ? 1 : 2 }

    /// The tensors of a matrix under its own name.
    func tensors(
        _ name: String, rows: Int, columns: Int, groups: Int, zeroPoints: Bool
    ) -> (codes: SafetensorsLayout.Entry, scales: SafetensorsLayout.Entry, zeroPoints: SafetensorsLayout.Entry?) {
        let codeBytes = rows * codeRowBytes(columns)
        let scale = SafetensorsLayout.Entry(
            name: name + "_scale", type: self == .microscaled ? .u8 : .bf16, shape: [rows, groups],
            byteCount: rows * groups * scaleBytes)
        switch self {
        case .packed(let bits):
            let words = (rows * bits + 31) / 32
            return (
                .init(
                    name: name + "_packed", type: .i32, shape: [rows, codeRowBytes(columns) / 4], byteCount: codeBytes),
                scale,
                zeroPoints
                    ? .init(
                        name: name + "_zero_point", type: .i32, shape: [words, groups], byteCount: words * groups * 4)
                    : nil
            )
        case .float8:
            return (.init(name: name, type: .f8E4M3, shape: [rows, columns], byteCount: codeBytes), scale, nil)
        case .microscaled:
            return (
                .init(
                    name: name + "_packed", type: .u8, shape: [rows, codeRowBytes(columns)], byteCount: codeBytes),
                scale, nil
            )
        }
    }

    /// The tensors of the matrices of all experts in one; nil where there is no such form.
    ///
    /// - Parameter outer: the extents before a matrix's own, [E] or none.
    func mergedTensors(
        _ name: String, outer: [Int], rows: Int, columns: Int, groups: Int
    ) -> (codes: SafetensorsLayout.Entry, scales: SafetensorsLayout.Entry)? {
        let all = outer.reduce(rows, *)
        switch self {
        case .packed: return nil
        case .float8:
            return (
                .init(name: name, type: .f8E4M3, shape: outer + [rows, columns], byteCount: all * columns),
                .init(name: name + "_scale", type: .bf16, shape: outer + [rows, 1], byteCount: all * 2)
            )
        case .microscaled:
            return (
                .init(
                    name: name + "_blocks", type: .u8, shape: outer + [rows, groups, 16], byteCount: all * groups * 16),
                .init(name: name + "_scales", type: .u8, shape: outer + [rows, groups], byteCount: all * groups)
            )
        }
    }

    // MARK: Bytes

    /// Writes the codes of a row; `destination` is ``codeRowBytes(_:)`` long and zero.
    func encodeCodes(_ rows: QuantisedRows, row: Int, into destination: UnsafeMutableRawBufferPointer) {
        rows.copyCodes(row: row, into: destination)
        // Offset binary.
        if self == .packed(bits: 8) { for index in 0..<rows.columns { destination[index] ^= 0x80 } }
    }

    /// Writes the scales of a row, which bf16 holds exactly; those of MXFP4 are powers of two.
    func encodeScales(_ rows: QuantisedRows, row: Int, into destination: UnsafeMutableRawBufferPointer) {
        for group in 0..<rows.groups {
            let bits = rows.scales[row * rows.groups + group].bitPattern
            if self == .microscaled {
                destination[group] = UInt8(truncatingIfNeeded: bits >> 23)
            } else {
                destination.storeBytes(
                    of: UInt16(truncatingIfNeeded: bits >> 16).littleEndian, toByteOffset: group * 2, as: UInt16.self)
            }
        }
    }

    /// The zero points of rows of which the first is the first of a word.
    func encodeZeroPoints(_ rows: QuantisedRows) -> [UInt8] {
        guard case .packed(let bits) = self else { return [] }
        let perWord = 32 / bits
        var bytes = [UInt8](repeating: 0, count: (rows.rows + perWord - 1) / perWord * rows.groups * 4)
        for row in 0..<rows.rows {
            let bit = row % perWord * bits
            for group in 0..<rows.groups {
                let zero = rows.zeros[row * rows.groups + group] ^ (bits == 8 ? 0x80 : 0)
                bytes[(row / perWord * rows.groups + group) * 4 + bit / 8] |= zero << UInt8(bit % 8)
            }
        }
        return bytes
    }

    // MARK: What config.json says of it

    /// `quantization_config`.
    ///
    /// - Parameters:
    ///   - isMerged: whether the experts are merged.
    ///   - ignored: layers that stay as they were.
    func configuration(_ form: WeightQuantisation, isMerged: Bool, ignored: [String]) -> JSONValue {
        let ignored = JSONValue.array(ignored.map(JSONValue.string))
        if self == .microscaled, isMerged {
            return .object(["quant_method": "mxfp4", "modules_to_not_convert": ignored])
        }
        let format: JSONValue =
            switch self {
            case .packed: "pack-quantized"
            case .float8: "float-quantized"
            case .microscaled: "mxfp4-pack-quantized"
            }
        var weights: [String: JSONValue] = [
            "num_bits": .integer(form.code.bitCount), "type": form.code.isInteger ? "int" : "float",
            "symmetric": .bool(!form.zeroPoints), "strategy": form.group == nil ? "channel" : "group",
            "group_size": form.group.map(JSONValue.integer) ?? .null, "dynamic": false,
        ]
        if self == .microscaled { weights["scale_dtype"] = "torch.uint8" }
        return .object([
            "quant_method": "compressed-tensors", "format": format, "quantization_status": "compressed",
            "kv_cache_scheme": .null, "ignore": ignored,
            "config_groups": .object([
                "group_0": .object([
                    "targets": ["Linear"], "weights": .object(weights), "input_activations": .null,
                    "output_activations": .null, "format": format,
                ])
            ]),
        ])
    }
}

extension JSONValue: ExpressibleByArrayLiteral {
    init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
}
