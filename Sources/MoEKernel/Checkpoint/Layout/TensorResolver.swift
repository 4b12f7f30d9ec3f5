/// Finds the tensors of one layer and says how each is stored, from the headers alone: every name, type and shape is
/// checked here, before any weight is read.
///
/// What the files hold decides; `quantization_config` is asked only for what they do not show.
struct TensorResolver {
    let prefix: String
    let quantisation: QuantisationConfig
    private var finder: TensorFinder

    init(_ finder: TensorFinder, prefix: String, quantisation: QuantisationConfig) {
        self.finder = finder
        self.prefix = prefix
        self.quantisation = quantisation
    }

    // MARK: Names

    func contains(_ suffix: String) -> Bool { finder.tensors.contains(prefix + suffix) }

    /// Whether a matrix is there in any of the forms that one may have.
    func containsMatrix(_ suffix: String) -> Bool {
        contains(suffix) || contains(suffix + "_packed") || contains(suffix + "_blocks")
    }

    /// The first of some names that is there, else the first.
    func present(_ names: [String]) -> String { names.first(where: containsMatrix) ?? names[0] }

    mutating func find(_ suffix: String) throws(MoEError) -> (file: SafetensorsFile, tensor: SafetensorsTensor) {
        try finder.find(prefix + suffix)
    }

    func fault(_ place: (file: SafetensorsFile, tensor: SafetensorsTensor), _ problem: String) -> MoEError {
        .checkpoint(file: place.file.path, tensor: clipped(place.tensor.name), problem: problem)
    }

    func checkShape(
        _ place: (file: SafetensorsFile, tensor: SafetensorsTensor), _ shape: [Int],
        reason: String = "config.json calls"
    ) throws(MoEError) {
        guard place.tensor.shape != shape else { return }
        throw fault(place, "has shape \(place.tensor.shape); \(reason) for \(shape)")
    }

    /// The element type of numbers that are stored as they are.
    private func plainType(
        _ place: (file: SafetensorsFile, tensor: SafetensorsTensor)
    ) throws(MoEError) -> ElementType {
        guard let type = place.tensor.type.elementType else {
            throw fault(place, "is stored as \(place.tensor.type.rawValue); expected F32, BF16 or F16")
        }
        return type
    }

    // MARK: Plain tensors

    /// A matrix of plain numbers, such as a router.
    mutating func plain(_ suffix: String, rows: Int, columns: Int) throws(MoEError) -> StoredMatrix {
        let place = try find(suffix)
        let type = try plainType(place)
        try checkShape(place, [rows, columns])
        return StoredMatrix(
            file: place.file, tensor: place.tensor, format: .plain(type), rows: rows, columns: columns)
    }

    /// A vector, [count] or [1, count].
    mutating func vector(_ suffix: String, count: Int) throws(MoEError) -> StoredMatrix {
        let place = try find(suffix)
        let type = try plainType(place)
        let extents = place.tensor.shape
        guard extents == [count] || extents == [1, count] else {
            throw fault(place, "has shape \(extents); config.json calls for [\(count)]")
        }
        return StoredMatrix(file: place.file, tensor: place.tensor, format: .plain(type), rows: 1, columns: count)
    }

    /// The [1, count] vector that gates a shared expert, a linear layer with one output.
    mutating func gateVector(_ suffix: String, count: Int) throws(MoEError) -> StoredMatrix {
        let place = try find(suffix)
        let type = try plainType(place)
        try checkShape(place, [1, count])
        return StoredMatrix(file: place.file, tensor: place.tensor, format: .plain(type), rows: 1, columns: count)
    }

    /// A table of whole numbers.
    mutating func table(_ suffix: String, rows: Int, columns: Int) throws(MoEError) -> StoredTable {
        let place = try find(suffix)
        guard place.tensor.type == .i64 || place.tensor.type == .i32 else {
            throw fault(place, "is stored as \(place.tensor.type.rawValue); expected I64 or I32")
        }
        try checkShape(place, [rows, columns])
        return StoredTable(file: place.file, tensor: place.tensor)
    }

    // MARK: A linear layer's weight

    /// A matrix [rows, columns] under its own name, `….weight`, in any of the forms that published models store one in.
    mutating func linear(_ suffix: String, rows: Int, columns: Int) throws(MoEError) -> StoredMatrix {
        if !contains(suffix), contains(suffix + "_packed") {
            return try packed(suffix, rows: rows, columns: columns)
        }
        if !contains(suffix) {
            let stem = suffix.hasSuffix(".weight") ? String(suffix.dropLast(6)) : suffix
            if contains(stem + "qweight") {
                let place = try find(stem + "qweight")
                throw fault(place, "is stored as GPTQ and AWQ do, which is not supported")
            }
        }
        let place = try find(suffix)
        let type = place.tensor.type
        if let element = type.elementType {
            try checkShape(place, [rows, columns])
            return StoredMatrix(
                file: place.file, tensor: place.tensor, format: .plain(element), rows: rows, columns: columns)
        }
        guard let scaleName = scaleName(suffix) else {
            throw fault(
                place, "is stored as \(type.rawValue) without scales; expected F32, BF16 or F16, or scales beside it")
        }
        switch type {
        case .f8E4M3:
            try checkShape(place, [rows, columns])
            let scales = try float8Scales(scaleName, rows: rows, columns: columns)
            return StoredMatrix(
                file: place.file, tensor: place.tensor, format: .quantised(.float8E4M3, group: scales.group),
                rows: rows, columns: columns, scales: scales.scales)
        case .i8 where try isIntegers(scaleName):
            return try integers(suffix, scaleName, rows: rows, columns: columns)
        case .u8, .i8, .f4:
            try checkShape(place, [rows, type == .f4 ? columns : (columns + 1) / 2])
            let scales = try float4Scales(
                scaleName, global: (suffix + "_scale_2", divides: false), rows: rows, columns: columns)
            return StoredMatrix(
                file: place.file, tensor: place.tensor, format: .quantised(.float4E2M1, group: scales.group),
                rows: rows, columns: columns, scales: scales.scales)
        default:
            throw fault(
                place,
                "is stored as \(type.rawValue); expected F32, BF16, F16, F8_E4M3 with scales, whole numbers as I8 with scales, "
                    + "or FP4 as U8 or I8 with scales"
            )
        }
    }

    /// What the scales of a weight are called.
    private func scaleName(_ suffix: String) -> String? {
        var names = [suffix + "_scale_inv", suffix + "_scale"]
        if suffix.hasSuffix(".weight") { names.append(suffix.dropLast(6) + "scale") }
        return names.first(where: contains)
    }

    /// `weight_packed`: whole numbers in an I32, or two FP4 codes in a byte.
    private mutating func packed(_ suffix: String, rows: Int, columns: Int) throws(MoEError) -> StoredMatrix {
        let place = try find(suffix + "_packed")
        switch place.tensor.type {
        case .i32:
            return try packedIntegers(suffix, rows: rows, columns: columns)
        case .u8:
            try checkShape(place, [rows, (columns + 1) / 2])
            let scales = try float4Scales(
                suffix + "_scale", global: (suffix + "_global_scale", divides: true), rows: rows, columns: columns)
            return StoredMatrix(
                file: place.file, tensor: place.tensor, format: .quantised(.float4E2M1, group: scales.group),
                rows: rows, columns: columns, scales: scales.scales)
        case let type:
            throw fault(place, "is stored as \(type.rawValue); expected I32 or U8")
        }
    }

    /// `weight_shape` repeats the shape before packing.
    mutating func checkStatedShape(_ suffix: String, rows: Int, columns: Int) throws(MoEError) {
        let place = try find(suffix)
        guard place.tensor.type == .i64 || place.tensor.type == .i32 else {
            throw fault(place, "is stored as \(place.tensor.type.rawValue); expected I64 or I32")
        }
        try checkShape(place, [2], reason: "a matrix calls")
        let stated = try place.file.integers(place.tensor.name)
        guard stated == [rows, columns] else {
            throw fault(place, "says \(stated); config.json calls for [\(rows), \(columns)]")
        }
    }

    // MARK: Scales

    mutating func scaleTensor(
        _ suffix: String
    ) throws(MoEError) -> (place: (file: SafetensorsFile, tensor: SafetensorsTensor), number: StoredScales.Number) {
        let place = try find(suffix)
        guard let number = StoredScales.Number(place.tensor.type) else {
            throw fault(
                place, "is stored as \(place.tensor.type.rawValue); expected scales in F32, BF16, F16 or F8_E8M0")
        }
        return (place, number)
    }

    /// The scales of an FP8 matrix: one for each block, for each output, or for all of it.
    private mutating func float8Scales(
        _ suffix: String, rows: Int, columns: Int
    ) throws(MoEError) -> (scales: StoredScales, group: Int) {
        let (place, number) = try scaleTensor(suffix)
        let (blockRows, blockColumns) = quantisation.block
        let blocks = [(rows + blockRows - 1) / blockRows, (columns + blockColumns - 1) / blockColumns]
        let shape = place.tensor.shape
        func scales(_ groups: Int, step: Int = 1, rowBlock: Int = 1) -> StoredScales {
            StoredScales(
                file: place.file, tensor: place.tensor, number: number, groups: groups, step: step, rowBlock: rowBlock)
        }
        // A single number may be meant in either way; then it comes to the same.
        if shape.reduce(1, *) == 1 { return (scales(1, step: 0), columns) }
        let isBlock = shape == blocks
        let isChannel = shape == [rows, 1] || shape == [rows]
        // By name, where both shapes fit.
        if isBlock, !(isChannel && suffix.hasSuffix("_scale")) {
            return (scales(blocks[1], rowBlock: blockRows), blockColumns)
        }
        if isChannel { return (scales(1), columns) }
        throw fault(
            place,
            "has shape \(shape); blocks of \(blockRows) × \(blockColumns) in [\(rows), \(columns)] call for \(blocks), "
                + "a scale for each output for [\(rows), 1]")
    }

    /// The scales of an FP4 matrix: powers of two for each 32 codes, or FP8 numbers for each 16 and one for all.
    private mutating func float4Scales(
        _ suffix: String, global: (name: String, divides: Bool), rows: Int, columns: Int
    ) throws(MoEError) -> (scales: StoredScales, group: Int) {
        let (place, number) = try scaleTensor(suffix)
        let group = if case .float8 = number { 16 } else { 32 }
        let groups = (columns + group - 1) / group
        try checkShape(place, [rows, groups], reason: "a scale for each \(group) of [\(rows), \(columns)] calls")
        var scales = StoredScales(file: place.file, tensor: place.tensor, number: number, groups: groups)
        if case .float8 = number {
            let whole = try find(global.name)
            guard whole.tensor.type == .f32, whole.tensor.shape.reduce(1, *) == 1 else {
                throw fault(
                    whole, "is \(whole.tensor.type.rawValue) of shape \(whole.tensor.shape); expected one number in F32"
                )
            }
            scales.global = .init(file: whole.file, tensor: whole.tensor, divides: global.divides)
        }
        return (scales, group)
    }
}

/// A tensor of whole numbers.
struct StoredTable: Sendable {
    let file: SafetensorsFile
    let tensor: SafetensorsTensor
}
