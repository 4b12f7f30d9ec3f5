/// Rows of a matrix as codes, scales and zero points.
struct QuantisedRows: Sendable {
    let form: WeightQuantisation
    /// Inputs, the codes of a row.
    let columns: Int
    /// A code a byte.
    let codes: [UInt8]
    /// One for each group, row by row.
    let scales: [Float]
    /// The code that stands for 0 in each group, of meaning where the form has zero points.
    let zeros: [UInt8]

    /// Quantises finite weights, whole rows of a length that the form's group divides.
    init(_ weights: [Float], columns: Int, form: WeightQuantisation) {
        let group = form.group ?? columns
        let groups = group == 0 ? 0 : weights.count / group
        let quantiser = GroupQuantiser(form)
        var codes = [UInt8](repeating: 0, count: weights.count)
        var scales = [Float](repeating: 1, count: groups)
        var zeros = [UInt8](repeating: 0, count: groups)
        weights.withUnsafeBufferPointer { weights in
            codes.withUnsafeMutableBufferPointer { codes in
                for index in 0..<groups {
                    let part = index * group..<(index + 1) * group
                    let parameters = quantiser.quantise(
                        .init(rebasing: weights[part]), into: .init(rebasing: codes[part]))
                    scales[index] = parameters.scale
                    zeros[index] = parameters.zero
                }
            }
        }
        (self.form, self.columns, self.codes, self.scales, self.zeros) = (form, columns, codes, scales, zeros)
    }

    var rows: Int { columns == 0 ? 0 : codes.count / columns }
    /// Of a row.
    var groups: Int { columns == 0 ? 0 : columns / (form.group ?? columns) }

    /// Copies the codes of a row; of two that share a byte the earlier has its low half.
    func copyCodes(row: Int, into destination: UnsafeMutableRawBufferPointer) {
        codes.withUnsafeBytes { codes in
            let first = row * columns
            if form.code.bitCount == 8 {
                destination.copyMemory(from: .init(rebasing: codes[first..<first + columns]))
                return
            }
            for byte in 0..<columns / 2 {
                destination[byte] = codes[first + 2 * byte] | codes[first + 2 * byte + 1] << 4
            }
            if !columns.isMultiple(of: 2) { destination[columns / 2] = codes[first + columns - 1] }
        }
    }

    /// How far what they stand for is from the weights that they were made of.
    func error(from weights: [Float]) -> QuantisationError {
        let values = (0...UInt8.max).map { form.code.bitCount == 8 || $0 < 16 ? form.code.value($0) : 0 }
        let group = form.group ?? columns
        var error = QuantisationError()
        for index in scales.indices {
            let zero = form.zeroPoints ? values[Int(zeros[index])] : 0
            var (difference, sum) = (0.0, 0.0)
            for position in index * group..<(index + 1) * group {
                let weight = Double(weights[position])
                let miss = weight - Double((values[Int(codes[position])] - zero) * scales[index])
                difference += miss * miss
                sum += weight * weight
            }
            error.squares += difference
            error.weightSquares += sum
        }
        return error
    }
}
