/// Whole numbers of 8 or 4 bits with scales and, maybe, zero points, as compressed-tensors stores them.
/// Source: vllm-project/compressed-tensors (`pack-quantized`, `int-quantized`, `naive-quantized`).
extension TensorResolver {
    typealias Place = (file: SafetensorsFile, tensor: SafetensorsTensor)

    /// Whether a tensor of bytes holds whole numbers: FP4 codes, which may also be stored as I8, have powers of two as scales.
    mutating func isIntegers(_ scaleName: String) throws(MoEError) -> Bool {
        if case .plain = try scaleTensor(scaleName).number { true } else { false }
    }

    /// `weight_packed`: codes in offset binary, the first in the lowest bits of a word of 32, rows filled up to whole words.
    mutating func packedIntegers(_ suffix: String, rows: Int, columns: Int) throws(MoEError) -> StoredMatrix {
        let place = try find(suffix + "_packed")
        func words(_ bits: Int) -> Int { (columns * bits + 31) / 32 }
        let fitting = [4, 8].filter { place.tensor.shape == [rows, words($0)] }
        guard let first = fitting.first else {
            throw fault(
                place,
                "has shape \(place.tensor.shape); codes of 4 bits call for [\(rows), \(words(4))], of 8 bits for "
                    + "[\(rows), \(words(8))]")
        }
        // Rows of a few codes fit a word either way.
        let stated = Set(integerSchemes.map(\.bits))
        guard let bits = fitting.count == 1 ? first : fitting.filter(stated.contains).only else {
            throw fault(
                place, "leaves open whether codes have 4 or 8 bits; expected num_bits in quantization_config to tell")
        }
        if contains(suffix + "_shape") { try checkStatedShape(suffix + "_shape", rows: rows, columns: columns) }
        return try integers(
            suffix, place, suffix + "_scale", bits: bits, rows: rows, columns: columns, isPacked: true,
            stride: words(bits) * 4, coding: bits == 8 ? .offsetBytes : .same)
    }

    /// `weight` with a byte a code, in two's complement.
    mutating func integers(
        _ suffix: String, _ scaleName: String, rows: Int, columns: Int
    ) throws(MoEError) -> StoredMatrix {
        let place = try find(suffix)
        try checkShape(place, [rows, columns])
        // Codes of 4 bits can be kept in 4; whichever it is, they read alike.
        let isNarrow = Set(integerSchemes.map(\.bits)).only == 4
        return try integers(
            suffix, place, scaleName, bits: isNarrow ? 4 : 8, rows: rows, columns: columns, isPacked: false,
            stride: columns, coding: isNarrow ? .wideNibbles : .same)
    }

    /// What quantization_config says of layers whose codes are whole numbers.
    private var integerSchemes: [WeightScheme] { quantisation.schemes.filter { !$0.isFloat } }

    private mutating func integers(
        _ suffix: String, _ place: Place, _ scaleName: String, bits: Int, rows: Int, columns: Int, isPacked: Bool,
        stride: Int, coding: StoredMatrix.Coding
    ) throws(MoEError) -> StoredMatrix {
        if contains(suffix + "_g_idx") {
            throw fault(try find(suffix + "_g_idx"), "asks for reordered inputs, which is not supported")
        }
        let module = suffix.hasSuffix(".weight") ? String(suffix.dropLast(7)) : suffix
        if quantisation.ignored.contains(prefix + module) {
            throw fault(place, "holds codes; quantization_config lists its layer under ignore")
        }
        let schemes = integerSchemes.filter { $0.bits == bits }
        if let other = integerSchemes.first, schemes.isEmpty {
            throw fault(
                place, "holds codes of \(bits) bits; quantization_config describes codes of \(other.bits) bits")
        }
        if let other = quantisation.schemes.first, schemes.isEmpty {
            throw fault(
                place, "holds whole numbers; quantization_config describes floats of \(other.bits) bits")
        }

        let code: WeightCode = bits == 4 ? .int4 : .int8
        let (scalePlace, number) = try scaleTensor(scaleName)
        guard case .plain = number else {
            throw fault(
                scalePlace, "is stored as \(scalePlace.tensor.type.rawValue); expected scales in F32, BF16 or F16")
        }
        let sharing = try sharing(scalePlace, schemes, rows: rows, columns: columns)
        let (groups, group, step, rowBlock) =
            switch sharing {
            case .tensor: (1, columns, 0, 1)
            case .output: (1, columns, 1, 1)
            case .group(let size): (columns / size, size, 1, 1)
            case .block(let height, let width): ((columns + width - 1) / width, width, 1, height)
            }

        var zeroPoints: StoredZeroPoints?
        let zeroName = suffix + "_zero_point"
        let symmetries = Set(schemes.filter { $0.sharing == sharing }.map(\.isSymmetric))
        if contains(zeroName) || symmetries == [false] {
            let zeroPlace = try find(zeroName)
            if symmetries == [true] {
                throw fault(
                    zeroPlace, "is there; quantization_config says that weights are symmetric, without zero points")
            }
            // Those of a tensor or a block have a byte each.
            let isZeroPacked =
                switch sharing {
                case .output, .group: isPacked
                case .tensor, .block: false
                }
            let type: SafetensorsType = isZeroPacked ? .i32 : .i8
            guard zeroPlace.tensor.type == type else {
                throw fault(
                    zeroPlace, "is stored as \(zeroPlace.tensor.type.rawValue); expected \(type.rawValue)")
            }
            try checkShape(
                zeroPlace, isZeroPacked ? [(rows * bits + 31) / 32, groups] : scalePlace.tensor.shape,
                reason: "scales of shape \(scalePlace.tensor.shape) call")
            zeroPoints = StoredZeroPoints(
                file: zeroPlace.file, tensor: zeroPlace.tensor, code: code, groups: groups, isPacked: isZeroPacked,
                step: step, rowBlock: rowBlock)
        }
        return StoredMatrix(
            file: place.file, tensor: place.tensor,
            format: .quantised(code, group: group, zeroPoints: zeroPoints != nil), rows: rows, columns: columns,
            stride: stride,
            scales: StoredScales(
                file: scalePlace.file, tensor: scalePlace.tensor, number: number, groups: groups, step: step,
                rowBlock: rowBlock),
            zeroPoints: zeroPoints, coding: coding)
    }

    /// Which weights share a scale: what quantization_config says and the scales' shape allows, or without it what the shape shows.
    private func sharing(
        _ scales: Place, _ schemes: [WeightScheme], rows: Int, columns: Int
    ) throws(MoEError) -> WeightScheme.Sharing {
        let shape = scales.tensor.shape
        func fits(_ sharing: WeightScheme.Sharing) -> Bool {
            sharing.scaleShapes(rows: rows, columns: columns).contains(shape)
        }
        if let stated = schemes.first {
            if let found = schemes.first(where: { fits($0.sharing) }) { return found.sharing }
            if case .group(let size) = stated.sharing, !columns.isMultiple(of: size) {
                throw fault(
                    scales,
                    "is for groups of \(size) inputs, says quantization_config; expected a divisor of the \(columns) of a row"
                )
            }
            let expected = stated.sharing.scaleShapes(rows: rows, columns: columns).first ?? []
            let what =
                switch stated.sharing {
                case .tensor: "one scale for all"
                case .output: "a scale for each output"
                case .group(let size): "a scale for each \(size)"
                case .block(let height, let width): "blocks of \(height) × \(width)"
                }
            throw fault(scales, "has shape \(shape); \(what) of [\(rows), \(columns)] calls for \(expected)")
        }
        if fits(.output) { return .output }
        if fits(.tensor) { return .tensor }
        guard shape.count == 2, shape[0] == rows, shape[1] >= 1, columns.isMultiple(of: shape[1]) else {
            throw fault(
                scales,
                "has shape \(shape); config.json calls for [\(rows), scales of a row], a divisor of the \(columns) inputs"
            )
        }
        return .group(columns / shape[1])
    }
}

extension Collection where Element: Equatable {
    /// The element of a collection that has one.
    fileprivate var only: Element? { count == 1 ? first : nil }
}
