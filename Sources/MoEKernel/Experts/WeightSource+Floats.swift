extension WeightSource {
    /// A tensor's format, if there can be such a one.
    func validFormat(of name: WeightName) throws(MoEError) -> WeightFormat {
        let format = format(of: name)
        guard case .quantised(let code, let group, let zeroPoints) = format else { return format }
        guard (1...MoEConfiguration.maximumWidth).contains(group) else {
            throw .weights(
                tensor: describe(name),
                problem: "\(group) codes share a scale; expected 1 to \(MoEConfiguration.maximumWidth)")
        }
        guard code.isInteger || !zeroPoints else {
            throw .weights(
                tensor: describe(name), problem: "\(code.rawValue) codes have zero points; expected int4 or int8 codes")
        }
        return format
    }

    /// Rows of a tensor, [rows, inputs], as fp32 numbers: plain ones exactly, quantised ones by the rule of ``WeightFormat``. Plain
    /// code for the reference, the tests and small vectors; the layer packs from the stored form.
    package func floats(
        _ name: WeightName, rows: Range<Int>? = nil, _ configuration: MoEConfiguration
    ) throws(MoEError) -> [Float] {
        let shape = configuration.shape(of: name)
        let rows = rows ?? 0..<shape.rows
        let format = try validFormat(of: name)
        let isTransposed = if case .transposed = format { true } else { false }
        let storedRows = isTransposed ? 0..<shape.columns : rows
        let rowBytes = format.rowBytes(isTransposed ? shape.rows : shape.columns)
        let raw = UnsafeMutableRawBufferPointer.allocate(byteCount: max(storedRows.count * rowBytes, 1), alignment: 64)
        defer { raw.deallocate() }
        try read(name, rows: storedRows, into: .init(rebasing: raw[..<(storedRows.count * rowBytes)]))

        var values = [Float](repeating: 0, count: rows.count * shape.columns)
        switch format {
        case .plain(let type):
            // A loop a type.
            switch type {
            case .float32:
                for index in values.indices { values[index] = ElementType.float32.value(raw.baseAddress!, index) }
            case .bfloat16:
                for index in values.indices { values[index] = ElementType.bfloat16.value(raw.baseAddress!, index) }
            case .float16:
                for index in values.indices { values[index] = ElementType.float16.value(raw.baseAddress!, index) }
            }
        case .transposed(let type):
            for row in 0..<rows.count {
                for column in 0..<shape.columns {
                    values[row * shape.columns + column] =
                        type.value(raw.baseAddress!, column * shape.rows + rows.lowerBound + row)
                }
            }
        case .quantised(let code, let group, let zeroPoints):
            let groups = (shape.columns + group - 1) / group
            var scales = [Float](repeating: 0, count: rows.count * groups)
            var zeros = [UInt8](repeating: 0, count: zeroPoints ? rows.count * groups : 0)
            if zeroPoints {
                try zeros.withUnsafeMutableBufferPointer { (zeros) throws(MoEError) in
                    try readZeroPoints(name, rows: rows, into: zeros)
                }
            }
            try scales.withUnsafeMutableBufferPointer { (scales) throws(MoEError) in
                try readScales(name, rows: rows, into: scales)
            }
            for row in 0..<rows.count {
                for column in 0..<shape.columns {
                    let byte = raw[row * rowBytes + column * code.bitCount / 8]
                    let half = code.bitCount == 4 && column % 2 == 1 ? byte >> 4 : byte
                    let bits = code.bitCount == 4 ? half & 15 : half
                    let index = row * groups + column / group
                    let zero = zeroPoints ? code.value(zeros[index]) : 0
                    values[row * shape.columns + column] = (code.value(bits) - zero) * scales[index]
                }
            }
        }
        return values
    }
}

extension ElementType {
    /// Number `index` of an array of this type, exactly.
    @inline(__always)
    func value(_ base: UnsafeRawPointer, _ index: Int) -> Float {
        switch self {
        case .float32: base.load(fromByteOffset: index * 4, as: Float.self)
        case .bfloat16: Float(BFloat16(bitPattern: base.load(fromByteOffset: index * 2, as: UInt16.self)))
        case .float16: Half.value(base.load(fromByteOffset: index * 2, as: UInt16.self))
        }
    }
}
