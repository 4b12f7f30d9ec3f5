/// A matrix, or a vector as its only row, inside a tensor of a file: where its rows lie and how they are stored.
struct StoredMatrix: Sendable {
    let file: SafetensorsFile
    let tensor: SafetensorsTensor
    /// What ``read(_:into:)`` hands out.
    let format: WeightFormat
    /// Stored rows: inputs where the format is transposed, else outputs.
    let rows: Int
    /// Numbers in a stored row.
    let columns: Int
    /// Bytes of the tensor before the first row.
    var offset = 0
    /// Bytes from one row to the next; nil where they touch.
    var stride: Int?
    /// Numbers from one number of a row to the next: 2 where two matrices alternate.
    var step = 1
    /// The scales of a quantised matrix.
    var scales: StoredScales?
    /// Its zero points, where it has some.
    var zeroPoints: StoredZeroPoints?
    /// How its codes are stored.
    var coding = Coding.same

    /// What is between codes as they are stored and as they are handed out.
    enum Coding: Sendable {
        case same
        /// Whole numbers of 8 bits with 128 added.
        case offsetBytes
        /// Whole numbers of 4 bits in two's complement, a byte each.
        case wideNibbles
    }

    /// Rows this long are worth a system call each; shorter ones are read together with what lies between them.
    private static let longRow = 4096
    private static let pieceBytes = 1 << 16

    /// Bytes of a row as it is handed out.
    var rowBytes: Int { format.rowBytes(columns) }

    /// Copies rows without padding between them.
    func read(_ rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(MoEError) {
        switch coding {
        case .same: try copy(rows, into: destination)
        case .offsetBytes:
            try copy(rows, into: destination)
            for index in 0..<rows.count * rowBytes { destination[index] ^= 0x80 }
        case .wideNibbles: try narrow(rows, into: destination)
        }
    }

    /// Copies rows as they are stored.
    private func copy(_ rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(MoEError) {
        let rowBytes = rowBytes
        let stride = stride ?? rowBytes
        if step == 1, stride == rowBytes {
            let part = UnsafeMutableRawBufferPointer(rebasing: destination[..<(rows.count * rowBytes)])
            return try file.read(tensor, from: offset + rows.lowerBound * stride, into: part)
        }
        if step == 1, rowBytes >= Self.longRow {
            for (index, row) in rows.enumerated() {
                let part = UnsafeMutableRawBufferPointer(rebasing: destination[(index * rowBytes)...].prefix(rowBytes))
                try file.read(tensor, from: offset + row * stride, into: part)
            }
            return
        }
        // With a step the last number of a row ends before the row that it shares does.
        let size = columns == 0 ? 0 : rowBytes / columns
        let span = step == 1 ? rowBytes : ((columns - 1) * step + 1) * size
        let rowsAtOnce = max(min(Self.pieceBytes / max(stride, 1), rows.count), 1)
        let piece = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max((rowsAtOnce - 1) * stride + span, 1), alignment: 16)
        defer { piece.deallocate() }
        var row = rows.lowerBound
        while row < rows.upperBound {
            let count = min(rowsAtOnce, rows.upperBound - row)
            try file.read(
                tensor, from: offset + row * stride, into: .init(rebasing: piece[..<((count - 1) * stride + span)]))
            for index in 0..<count {
                let source = piece.baseAddress! + index * stride
                let target = destination.baseAddress! + (row - rows.lowerBound + index) * rowBytes
                if step == 1 {
                    target.copyMemory(from: source, byteCount: rowBytes)
                } else if size == 4 {
                    Self.pick(source, step, columns, into: target, UInt32.self)
                } else {
                    Self.pick(source, step, columns, into: target, UInt16.self)
                }
            }
            row += count
        }
    }

    /// Puts two codes that have a byte each into one.
    private func narrow(_ rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(MoEError) {
        let rowBytes = rowBytes
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: max(columns, 1), alignment: 16)
        defer { piece.deallocate() }
        for (index, row) in rows.enumerated() {
            try file.read(tensor, from: offset + row * columns, into: .init(rebasing: piece[..<columns]))
            func code(_ column: Int) throws(MoEError) -> UInt8 {
                let value = Int8(bitPattern: piece[column])
                guard -8...7 ~= value else {
                    throw .checkpoint(
                        file: file.path, tensor: clipped(tensor.name),
                        problem: "the code at [\(row), \(column)] is \(value); expected -8 to 7, codes of 4 bits")
                }
                return UInt8(value + 8)
            }
            for byte in 0..<rowBytes {
                let low = try code(2 * byte)
                let high = 2 * byte + 1 < columns ? try code(2 * byte + 1) : 0
                destination[index * rowBytes + byte] = low | high << 4
            }
        }
    }

    /// Every `step`-th number.
    private static func pick<Number: BitwiseCopyable>(
        _ source: UnsafeRawPointer, _ step: Int, _ count: Int, into target: UnsafeMutableRawPointer, _: Number.Type
    ) {
        let size = MemoryLayout<Number>.size
        for index in 0..<count {
            target.storeBytes(
                of: source.loadUnaligned(fromByteOffset: index * step * size, as: Number.self),
                toByteOffset: index * size, as: Number.self)
        }
    }
}
