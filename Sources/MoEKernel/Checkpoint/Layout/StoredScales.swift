/// The scales of a quantised matrix: a tensor of few numbers of which each stands for a block of codes.
struct StoredScales: Sendable {
    /// How a scale is stored.
    enum Number: Sendable {
        case plain(ElementType)
        /// 2^(byte - 127); 255 is no number. Source: OCP Microscaling Formats specification, 2023 (E8M0).
        case power
        /// As the codes of an FP8 matrix.
        case float8

        init?(_ type: SafetensorsType) {
            switch type {
            case .f8E8M0, .u8: self = .power
            case .f8E4M3: self = .float8
            default:
                guard let element = type.elementType else { return nil }
                self = .plain(element)
            }
        }

        var byteCount: Int {
            if case .plain(let type) = self { type.byteCount } else { 1 }
        }

        func value(_ base: UnsafeRawPointer, _ index: Int) -> Float {
            switch self {
            case .plain(let type): type.value(base, index)
            case .float8: WeightCode.float8E4M3.value(base.load(fromByteOffset: index, as: UInt8.self))
            case .power:
                switch base.load(fromByteOffset: index, as: UInt8.self) {
                case 0: Float(bitPattern: 1 << 22)  // 2^-127 is subnormal.
                case 255: .nan
                case let byte: Float(bitPattern: UInt32(byte) << 23)
                }
            }
        }
    }

    private static let pieceBytes = 1 << 16

    let file: SafetensorsFile
    let tensor: SafetensorsTensor
    let number: Number
    /// Scales in a row of the tensor, and for a row of the matrix.
    let groups: Int
    /// The tensor's row of the matrix's first row.
    var first = 0
    /// Rows of the tensor from one block of the matrix's rows to the next: 2 where two matrices alternate, 0 where all share
    /// the first.
    var step = 1
    /// Rows of the matrix that share scales.
    var rowBlock = 1
    /// Rows of its first block that are another matrix's.
    var inset = 0
    /// One number that multiplies all scales, or divides them.
    var global: Global?

    struct Global: Sendable {
        let file: SafetensorsFile
        let tensor: SafetensorsTensor
        /// Which of the numbers, where an expert has one.
        var index = 0
        let divides: Bool
    }

    /// Writes the scales of some rows of the matrix, `groups` each.
    func read(_ rows: Range<Int>, into destination: UnsafeMutableBufferPointer<Float>) throws(MoEError) {
        guard !rows.isEmpty else { return }
        let factor = try globalFactor()
        let rowBytes = groups * number.byteCount
        func stored(_ row: Int) -> Int { first + (row + inset) / rowBlock * step }
        let most = max(Self.pieceBytes / max(rowBytes, 1), 1)
        let needed = min(stored(rows.upperBound - 1) - stored(rows.lowerBound) + 1, most)
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: max(needed * rowBytes, 1), alignment: 16)
        defer { piece.deallocate() }

        var row = rows.lowerBound
        while row < rows.upperBound {
            let start = stored(row)
            var end = row + 1
            while end < rows.upperBound, stored(end) - start < most { end += 1 }
            let bytes = (stored(end - 1) - start + 1) * rowBytes
            try file.read(tensor, from: start * rowBytes, into: .init(rebasing: piece[..<bytes]))
            for current in row..<end {
                let target = destination.baseAddress! + (current - rows.lowerBound) * groups
                if current > row, stored(current) == stored(current - 1) {
                    target.update(from: target - groups, count: groups)
                    continue
                }
                let source = piece.baseAddress! + (stored(current) - start) * rowBytes
                for group in 0..<groups {
                    let value = number.value(source, group)
                    target[group] = if let global, global.divides { value / factor } else { value * factor }
                }
            }
            row = end
        }
    }

    private func globalFactor() throws(MoEError) -> Float {
        guard let global else { return 1 }
        var bits: UInt32 = 0
        let outcome = withUnsafeMutableBytes(of: &bits) { (buffer) -> Result<Void, MoEError> in
            do throws(MoEError) {
                return .success(try global.file.read(global.tensor, from: global.index * 4, into: buffer))
            } catch {
                return .failure(error)
            }
        }
        try outcome.get()
        return Float(bitPattern: UInt32(littleEndian: bits))
    }
}
