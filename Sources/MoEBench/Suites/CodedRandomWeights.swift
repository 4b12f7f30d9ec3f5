import MoEKernel

/// Random weights whose matrices, the router's aside, are stored as codes with scales: what a self-test of decoding needs, not a
/// quantisation of anything. The codes are bits of the numbers of another source.
struct CodedRandomWeights: WeightSource {
    /// Stores fp32 numbers.
    let numbers: any WeightSource
    let configuration: MoEConfiguration
    let code: WeightCode
    let group: Int
    /// With zero points, where codes are whole numbers: around the middle, differing from group to group.
    var zeroPoints = false

    func format(of name: WeightName) -> WeightFormat {
        switch name {
        case .expert, .shared: .quantised(code, group: group, zeroPoints: zeroPoints)
        default: numbers.format(of: name)
        }
    }

    func read(_ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(MoEError) {
        guard case .quantised = format(of: name) else {
            return try numbers.read(name, rows: rows, into: destination)
        }
        let columns = configuration.shape(of: name).columns
        let values = try numbers.floats(name, rows: rows, configuration)
        let rowBytes = format(of: name).rowBytes(columns)
        for index in 0..<rows.count * rowBytes { destination[index] = 0 }
        for (index, value) in values.enumerated() {
            let (row, column) = (index / columns, index % columns)
            let bits = UInt8(truncatingIfNeeded: value.bitPattern >> 9)
            if code.bitCount == 8 {
                // Not the codes that are no number.
                destination[row * rowBytes + column] =
                    code == .float8E4M3 && bits & 0x7f == 0x7f ? bits ^ 1 : bits
            } else {
                destination[row * rowBytes + column / 2] |= bits & 15 << (column % 2 == 0 ? 0 : 4)
            }
        }
    }

    /// Powers of two that keep a matrix's results about as large as its inputs, differing from group to group.
    func readScales(
        _ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<Float>
    ) throws(MoEError) {
        let columns = configuration.shape(of: name).columns
        let groups = (columns + group - 1) / group
        let size: Float = (code.bitCount == 8 ? 0x1p-7 : 0x1p-2) / Float(columns).squareRoot()
        for (index, row) in rows.enumerated() {
            for g in 0..<groups {
                destination[index * groups + g] = Float(
                    sign: .plus, exponent: Int(size.exponent) - (row + g) % 3, significand: 1)
            }
        }
    }

    func readZeroPoints(
        _ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<UInt8>
    ) throws(MoEError) {
        let groups = (configuration.shape(of: name).columns + group - 1) / group
        for (index, row) in rows.enumerated() {
            for g in 0..<groups {
                let offset = UInt8((row + 2 * g) % 5)
                destination[index * groups + g] = code == .int4 ? 6 + offset : 254 &+ offset
            }
        }
    }
}
