extension TensorResolver {
    /// A tensor that holds a matrix [outputs, inputs] of every expert.
    ///
    /// - Parameters:
    ///   - experts: how many; nil for a tensor of one matrix, without a dimension for them.
    ///   - major: which of a matrix's dimensions comes first, where its numbers are plain. Codes are always stored output by
    ///     output.
    ///   - parts: how many matrices share the outputs.
    mutating func fused(
        _ suffix: String, experts: Int?, outputs: Int, inputs: Int, major: MajorOrder, order: GateUpOrder = .halves,
        parts: Int = 1
    ) throws(MoEError) -> FusedTensor {
        func shape(_ rows: Int, _ columns: Int...) -> [Int] { (experts.map { [$0] } ?? []) + [rows] + columns }
        if !contains(suffix), contains(suffix + "_blocks") {
            return try microscaled(suffix, shape: shape, outputs: outputs, inputs: inputs)
        }
        let place = try find(suffix)
        if let type = place.tensor.type.elementType {
            try checkShape(place, major == .outputs ? shape(outputs, inputs) : shape(inputs, outputs))
            return FusedTensor(
                file: place.file, tensor: place.tensor, outputs: outputs, inputs: inputs, major: major,
                storage: .plain(type))
        }
        let names = [suffix + "_scale_inv", suffix + "_scale"]
        guard place.tensor.type == .f8E4M3, let scaleName = names.first(where: contains) else {
            throw .checkpoint(
                file: place.file.path, tensor: clipped(place.tensor.name),
                problem: "is stored as \(place.tensor.type.rawValue); expected F32, BF16 or F16, or F8_E4M3 with scales"
            )
        }
        try checkShape(place, shape(outputs, inputs), reason: "codes output by output call")
        let scalePlace = try find(scaleName)
        guard let number = StoredScales.Number(scalePlace.tensor.type) else {
            throw .checkpoint(
                file: scalePlace.file.path, tensor: clipped(scalePlace.tensor.name),
                problem:
                    "is stored as \(scalePlace.tensor.type.rawValue); expected scales in F32, BF16, F16 or F8_E8M0")
        }
        let block = quantisation.block
        let columns = (inputs + block.columns - 1) / block.columns
        let whole = (outputs + block.rows - 1) / block.rows
        let part = (outputs / parts + block.rows - 1) / block.rows
        let found = scalePlace.tensor.shape
        let (groups, group, rule): (Int, Int, FusedTensor.ScaleRule)
        if parts == 2, order == .halves, 2 * part == whole, !(outputs / 2).isMultiple(of: block.rows),
            found == shape(whole, columns)
        {
            throw .checkpoint(
                file: scalePlace.file.path, tensor: clipped(scalePlace.tensor.name),
                problem:
                    "leaves open whether blocks of \(block.rows) rows run through gate and up or start anew with up; "
                    + "expected \(outputs / 2) rows each to be a multiple of a block")
        }
        if parts == 2, order == .halves, found == shape(2 * part, columns) {
            (groups, group, rule) = (columns, block.columns, .blocksOfParts(outputs: block.rows, perPart: part))
        } else if order == .halves, found == shape(whole, columns) {
            (groups, group, rule) = (columns, block.columns, .blocks(outputs: block.rows, perExpert: whole))
        } else if found == shape(outputs, 1) || found == shape(outputs) {
            (groups, group, rule) = (1, inputs, .eachOutput)
        } else if let experts, found == [experts] || found == [experts, 1, 1] {
            (groups, group, rule) = (1, inputs, .eachExpert)
        } else {
            throw .checkpoint(
                file: scalePlace.file.path, tensor: clipped(scalePlace.tensor.name),
                problem: "has shape \(found); blocks of \(block.rows) × \(block.columns) call for "
                    + "\(shape(whole, columns)), a scale for each output for \(shape(outputs, 1))")
        }
        return FusedTensor(
            file: place.file, tensor: place.tensor, outputs: outputs, inputs: inputs, major: .outputs,
            storage: .quantised(
                .float8E4M3, group: group, rowBytes: inputs,
                scales: StoredScales(
                    file: scalePlace.file, tensor: scalePlace.tensor, number: number, groups: groups), rule: rule))
    }

    /// MXFP4 as gpt-oss has it: blocks of 32 codes in 16 bytes, a power of two for each.
    private mutating func microscaled(
        _ suffix: String, shape: (Int, Int...) -> [Int], outputs: Int, inputs: Int
    ) throws(MoEError) -> FusedTensor {
        let place = try find(suffix + "_blocks")
        func fault(_ problem: String) -> MoEError {
            .checkpoint(file: place.file.path, tensor: clipped(place.tensor.name), problem: problem)
        }
        guard place.tensor.type == .u8 else { throw fault("is stored as \(place.tensor.type.rawValue); expected U8") }
        guard inputs.isMultiple(of: 32) else {
            throw fault("holds blocks of 32 codes; config.json calls for rows of \(inputs)")
        }
        let blocks = inputs / 32
        try checkShape(place, shape(outputs, blocks, 16))
        let scalePlace = try find(suffix + "_scales")
        guard scalePlace.tensor.type == .u8 || scalePlace.tensor.type == .f8E8M0 else {
            throw .checkpoint(
                file: scalePlace.file.path, tensor: clipped(scalePlace.tensor.name),
                problem: "is stored as \(scalePlace.tensor.type.rawValue); expected U8")
        }
        try checkShape(scalePlace, shape(outputs, blocks))
        return FusedTensor(
            file: place.file, tensor: place.tensor, outputs: outputs, inputs: inputs, major: .outputs,
            storage: .quantised(
                .float4E2M1, group: 32, rowBytes: inputs / 2,
                scales: StoredScales(
                    file: scalePlace.file, tensor: scalePlace.tensor, number: .power, groups: blocks),
                rule: .eachOutput))
    }

    /// Gate and up, and down, of all experts. Published files and transformers' own memory may differ in which dimension
    /// comes first, under the same names: the two shapes together tell, as long as F and H do; what the family publishes
    /// decides where they do not.
    mutating func majorOrder(
        gateUp: (name: String, outputs: Int), down: (name: String, inputs: Int), hidden: Int, experts: Int,
        preferred: MajorOrder
    ) throws(MoEError) -> MajorOrder {
        // Codes have one order only, and a tensor that is missing is reported by whoever needs it.
        guard contains(gateUp.name), contains(down.name) else { return preferred }
        let (first, second) = (try find(gateUp.name).tensor, try find(down.name).tensor)
        guard first.type.elementType != nil, second.type.elementType != nil else { return .outputs }
        func fits(_ major: MajorOrder) -> Bool {
            major == .outputs
                ? first.shape == [experts, gateUp.outputs, hidden] && second.shape == [experts, hidden, down.inputs]
                : first.shape == [experts, hidden, gateUp.outputs] && second.shape == [experts, down.inputs, hidden]
        }
        if fits(preferred) { return preferred }
        let other: MajorOrder = preferred == .outputs ? .inputs : .outputs
        return fits(other) ? other : preferred
    }

    /// DBRX's [E·F, H], in which the down matrices stand on their side.
    mutating func flat(
        _ suffix: String, experts: Int, width: Int, model: Int, projection: Projection
    ) throws(MoEError) -> FusedTensor {
        let place = try find(suffix)
        guard let type = place.tensor.type.elementType else {
            throw .checkpoint(
                file: place.file.path, tensor: clipped(place.tensor.name),
                problem: "is stored as \(place.tensor.type.rawValue); expected F32, BF16 or F16")
        }
        try checkShape(place, [experts * width, model])
        return FusedTensor(
            file: place.file, tensor: place.tensor, outputs: projection == .down ? model : width,
            inputs: projection == .down ? width : model, major: projection == .down ? .inputs : .outputs,
            storage: .plain(type))
    }
}
