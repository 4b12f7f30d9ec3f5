@testable import MoEKernel

/// Weights of every stored form, made from a seed, for tests: codes with scales, numbers by rows of outputs or of inputs. Vectors and
/// the router are plain fp32.
struct StoredWeights: WeightSource {
    enum Scales {
        /// Powers of two, as E8M0 stores them.
        case powersOfTwo
        /// A bf16 number, now and then zero where the codes may have that.
        case bfloat16
        /// Any fp32 number.
        case float32
    }

    let configuration: MoEConfiguration
    let stored: WeightFormat
    var scales = Scales.float32
    var seed: UInt64 = 1
    private var isInteger: Bool { if case .quantised(let code, _, _) = stored { code.isInteger } else { false } }
    /// Replaces one code, or one scale, of an expert's matrix.
    var oddCode: (name: WeightName, row: Int, column: Int, code: UInt8)?
    var oddScale: (name: WeightName, row: Int, group: Int, scale: Float)?
    var oddZero: (name: WeightName, row: Int, group: Int, code: UInt8)?
    /// Another form for the experts from this one on.
    var others: (first: Int, format: WeightFormat)?

    func format(of name: WeightName) -> WeightFormat {
        switch name {
        case .expert(let index, _):
            if let others, index >= others.first { others.format } else { stored }
        case .shared: stored
        default: .plain(.float32)
        }
    }

    /// The numbers of one tensor.
    private struct Tensor {
        var tag: UInt64
        var inputs: Int
        var code: (row: Int, column: Int, code: UInt8)?
        var scale: (row: Int, group: Int, scale: Float)?
    }

    private func tensor(_ name: WeightName) -> Tensor {
        var tensor = Tensor(
            tag: "\(name)".utf8.reduce(seed) { $0 &* 33 &+ UInt64($1) }, inputs: configuration.shape(of: name).columns)
        if let odd = oddCode, odd.name == name { tensor.code = (odd.row, odd.column, odd.code) }
        if let odd = oddScale, odd.name == name { tensor.scale = (odd.row, odd.group, odd.scale) }
        return tensor
    }

    private static func number(_ tensor: Tensor, _ row: Int, _ column: Int, _ salt: UInt64) -> UInt64 {
        var generator = SeededGenerator(seed: tensor.tag &* 4 &+ salt ^ UInt64(row) << 40 ^ UInt64(column) << 20)
        return generator.next()
    }

    private static func value(_ tensor: Tensor, _ row: Int, _ column: Int) -> Float {
        (Float(number(tensor, row, column, 0) >> 40) * 0x1p-23 - 1) * (3 / Float(tensor.inputs)).squareRoot()
    }

    private static func code(_ tensor: Tensor, _ row: Int, _ column: Int, _ code: WeightCode) -> UInt8 {
        if let odd = tensor.code, odd.row == row, odd.column == column { return odd.code }
        let bits = UInt8(truncatingIfNeeded: number(tensor, row, column, 1) >> 32)
        if code.bitCount == 4 { return bits & 15 }
        return bits & 0x7f == 0x7f ? 0x40 : bits
    }

    private func scale(_ tensor: Tensor, _ row: Int, _ group: Int) -> Float {
        if let odd = tensor.scale, odd.row == row, odd.group == group { return odd.scale }
        let bits = Self.number(tensor, row, group, 2)
        let wide =
            (1 + Float(bits >> 41) * 0x1p-23) / Float(tensor.inputs).squareRoot() * 0.004
        switch scales {
        case .powersOfTwo: return Float(sign: .plus, exponent: -8 - Int(bits & 3), significand: 1)
        case .bfloat16: return bits & 31 == 2 && !isInteger ? 0 : Float(BFloat16(wide))
        case .float32: return wide
        }
    }

    func read(_ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(MoEError) {
        let shape = configuration.shape(of: name)
        let tensor = tensor(name)
        switch format(of: name) {
        case .plain(let type):
            var at = 0
            for row in rows {
                for column in 0..<shape.columns {
                    Self.store(Self.value(tensor, row, column), type, destination, &at)
                }
            }
        case .transposed(let type):
            var at = 0
            for column in rows {
                for row in 0..<shape.rows { Self.store(Self.value(tensor, row, column), type, destination, &at) }
            }
        case .quantised(let code, let group, _):
            let rowBytes = WeightFormat.quantised(code, group: group).rowBytes(shape.columns)
            for (index, row) in rows.enumerated() {
                for byte in 0..<rowBytes {
                    if code.bitCount == 8 {
                        destination[index * rowBytes + byte] = Self.code(tensor, row, byte, code)
                    } else {
                        // Past an odd row's end the half byte is anything.
                        destination[index * rowBytes + byte] =
                            Self.code(tensor, row, 2 * byte, code) | Self.code(tensor, row, 2 * byte + 1, code) << 4
                    }
                }
            }
        }
    }

    func readScales(
        _ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<Float>
    ) throws(MoEError) {
        guard case .quantised(_, let group, _) = format(of: name) else { return }
        let tensor = tensor(name)
        let groups = (tensor.inputs + group - 1) / group
        for (index, row) in rows.enumerated() {
            for g in 0..<groups { destination[index * groups + g] = scale(tensor, row, g) }
        }
    }

    func readZeroPoints(
        _ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<UInt8>
    ) throws(MoEError) {
        guard case .quantised(let code, let group, _) = format(of: name) else { return }
        let tensor = tensor(name)
        let groups = (tensor.inputs + group - 1) / group
        for (index, row) in rows.enumerated() {
            for g in 0..<groups {
                let bits = UInt8(truncatingIfNeeded: Self.number(tensor, row, g, 3) >> 32)
                destination[index * groups + g] = code == .int4 ? bits & 15 : bits
                if let odd = oddZero, odd.name == name, odd.row == row, odd.group == g {
                    destination[index * groups + g] = odd.code
                }
            }
        }
    }

    private static func store(
        _ value: Float, _ type: ElementType, _ target: UnsafeMutableRawBufferPointer, _ at: inout Int
    ) {
        switch type {
        case .float32: target.storeBytes(of: value, toByteOffset: at * 4, as: Float.self)
        case .bfloat16: target.storeBytes(of: BFloat16(value).bitPattern, toByteOffset: at * 2, as: UInt16.self)
        case .float16: target.storeBytes(of: Half.bits(value), toByteOffset: at * 2, as: UInt16.self)
        }
        at += 1
    }
}

/// The same weights expanded to plain fp32 by the rule of ``WeightFormat``.
struct ExpandedWeights: WeightSource {
    let source: any WeightSource
    let configuration: MoEConfiguration

    func format(of name: WeightName) -> WeightFormat { .plain(.float32) }
    func read(_ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(MoEError) {
        let values = try source.floats(name, rows: rows, configuration)
        values.withUnsafeBytes { destination.copyMemory(from: $0) }
    }
}
