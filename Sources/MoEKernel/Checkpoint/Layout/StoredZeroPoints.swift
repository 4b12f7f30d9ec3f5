/// The zero points of a quantised matrix, each the code that stands for 0 where its scale applies.
struct StoredZeroPoints: Sendable {
    let file: SafetensorsFile
    let tensor: SafetensorsTensor
    /// What ``read(_:into:)`` hands out: codes of this kind, one a byte.
    let code: WeightCode
    /// Zero points of a row.
    let groups: Int
    /// Whether words of 32 bits hold those of consecutive rows, the first in the lowest bits, each in offset binary; else each has a
    /// byte, in two's complement.
    let isPacked: Bool
    /// Rows of the tensor from one block of the matrix's rows to the next; 0 where all share the first.
    var step = 1
    /// Rows of the matrix that share zero points.
    var rowBlock = 1

    /// Writes the zero points of some rows of the matrix, `groups` each.
    func read(_ rows: Range<Int>, into destination: UnsafeMutableBufferPointer<UInt8>) throws(MoEError) {
        guard !rows.isEmpty, groups > 0 else { return }
        let perWord = 32 / code.bitCount
        func stored(_ row: Int) -> Int { isPacked ? row / perWord : row / rowBlock * step }
        let rowBytes = isPacked ? groups * 4 : groups
        let first = stored(rows.lowerBound)
        // Never much longer than the destination: a word holds several rows.
        let piece = UnsafeMutableRawBufferPointer.allocate(
            byteCount: (stored(rows.upperBound - 1) - first + 1) * rowBytes, alignment: 16)
        defer { piece.deallocate() }
        try file.read(tensor, from: first * rowBytes, into: piece)

        for (index, row) in rows.enumerated() {
            let source = (stored(row) - first) * rowBytes
            for group in 0..<groups {
                let target = index * groups + group
                if isPacked {
                    let bit = row % perWord * code.bitCount
                    let byte = piece[source + group * 4 + bit / 8]
                    destination[target] = code == .int4 ? byte >> UInt8(bit % 8) & 15 : byte ^ 0x80
                } else {
                    let value = Int8(bitPattern: piece[source + group])
                    guard code != .int4 || -8...7 ~= value else {
                        throw .checkpoint(
                            file: file.path, tensor: clipped(tensor.name),
                            problem: "the zero point at [\(row), \(group)] is \(value); expected -8 to 7")
                    }
                    destination[target] = code == .int4 ? UInt8(value + 8) : UInt8(bitPattern: value)
                }
            }
        }
    }
}
