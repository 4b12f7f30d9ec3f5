import CPlatform
import Testing

@testable import MoEKernel

/// Weights given by a function of (row, column).
private struct FunctionWeights: WeightSource {
    let configuration: MoEConfiguration
    let value: @Sendable (Int, Int) -> Float
    func format(of name: WeightName) -> WeightFormat { .plain(.float32) }
    func read(_ name: WeightName, rows: Range<Int>, into target: UnsafeMutableRawBufferPointer) throws(MoEError) {
        let columns = configuration.shape(of: name).columns
        let out = target.assumingMemoryBound(to: Float.self)
        for (index, row) in rows.enumerated() {
            for column in 0..<columns { out[index * columns + column] = value(row, column) }
        }
    }
}

@Suite struct AccuracyTests {
    /// |error| ≤ 48·2⁻²³·Σ|a||b| up to a length of 16,384, on the data that is worst for a sum: all terms of one sign, whose partial
    /// sums only grow, random, and equal.
    @Test(arguments: [1, 255, 256, 257, 1000, 4096, 16_384]) func reductionBound(length: Int) throws {
        let configuration = try MoEConfiguration(experts: 16, topK: 1, hidden: length, expertHidden: 1)
        var generator = SeededGenerator(seed: UInt64(length))
        let table = (0..<4096).map { _ in Float.random(in: 0.5...1, using: &generator) }
        let kinds: [@Sendable (Int, Int) -> Float] = [
            { table[($0 * 977 + $1 * 31) % 4096] },
            { _, _ in 0.7 },
            { table[($0 * 977 + $1 * 31) % 4096] * (($0 + $1) % 2 == 0 ? 1 : -1) },
        ]
        for kind in kinds {
            let source = FunctionWeights(configuration: configuration, value: kind)
            let x = try Tensor(rows: (0..<3).map { row in (0..<length).map { table[(row * 1543 + $0 * 7) % 4096] } })
            for set in CPUInstructionSet.supported {
                let layer = try MoELayer(
                    configuration, weights: MoEWeights(source), pool: ThreadPool(threads: 1), instructionSet: set)
                let logits = try layer.route(x).logits
                for row in 0..<3 {
                    for expert in 0..<16 {
                        var exact = 0.0
                        var magnitude = 0.0
                        for k in 0..<length {
                            let term = Double(x.elements[row * length + k]) * Double(kind(expert, k))
                            exact += term
                            magnitude += abs(term)
                        }
                        let error = abs(Double(logits[row * 16 + expert]) - exact)
                        #expect(error <= 48 * 0x1p-23 * magnitude, "\(set) length \(length)")
                    }
                }
            }
        }
    }

    /// Each elementwise function, value by value over its range, through an expert of width 1: y = act(x) · 1.
    @Test(arguments: Activation.allCases) func activations(_ activation: Activation) throws {
        let configuration = try MoEConfiguration(
            experts: 1, topK: 1, hidden: 1, expertHidden: 1, expert: .plain(activation))
        let source = FunctionWeights(configuration: configuration) { _, _ in 1 }
        var values = stride(from: Float(-100), through: 100, by: 0.01).map { $0 }
        values += [0, -0.0, 1e-30, -1e-30, 1e30, 88, -88, 87.4, -87.4]
        let x = try Tensor(shape: [values.count, 1], values)
        for set in CPUInstructionSet.supported {
            let layer = try MoELayer(
                configuration, weights: MoEWeights(source), pool: ThreadPool(threads: 1), instructionSet: set)
            let y = try layer.forward(x).y.elements
            // The square of the largest values is not an fp32 number.
            for (value, found) in zip(values, y) where activation != .reluSquared || abs(value) < 1e18 {
                let expected = activation.reference(Double(value))
                // Eight units of the result, and three units of the argument of exp, whose absolute error is the result's relative
                // one. Beyond 100 exp has long reached its end.
                let v = Double(value)
                let argument =
                    switch activation {
                    case .silu: abs(v)
                    case .gelu: v * v / 2
                    case .geluTanh: abs(1.6 * v + 0.0714 * v * v * v)
                    case .quickGelu: abs(1.702 * v)
                    case .relu, .reluSquared: 0.0
                    }
                let relative = (8 + 3 * min(argument, 100)) * 0x1p-23
                let allowed = relative * abs(expected) + Double(abs(value)) * 0x1p-120 + 0x1p-149
                #expect(
                    abs(Double(found) - expected) <= allowed,
                    "\(set) \(activation)(\(value)) = \(found), not \(expected)")
            }
        }
    }
}
