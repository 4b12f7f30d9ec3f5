import CUDAKernelHost
import Foundation

/// A projection of every expert: the shape, random tensors, a launch, and the comparison with loops in Double.
struct ProjectionCase: CustomStringConvertible {
    enum Side: String {
        case gateUp = "gate_up"
        case down
    }

    struct Shape: CustomStringConvertible {
        var side = Side.gateUp
        /// Rows of each expert.
        var counts: [Int]
        /// Rows of the input that are gathered from; 0: every row is used as it comes.
        var tokens = 0
        /// Rows of an expert's weights.
        var height: Int
        var depth: Int
        var activation = MC_ACTIVATION_SILU
        var gated = true
        var biases = false
        var scales = false
        var splits = 1
        /// Input 1, weights 1 + 2⁻¹³: a sum in blocks is exact; in one chain additions above 2¹¹ lose the fraction.
        var steady = false
        var blocks: UInt32 = 3

        var rows: Int { counts.reduce(0, +) }
        var description: String {
            "\(side.rawValue), \(counts.count) experts, \(rows) rows of \(tokens) tokens, \(height) × \(depth), "
                + "activation \(activation), gated: \(gated)"
        }
    }

    let shape: Shape
    let element: Element
    let outputElement: Element
    private let offsets: DeviceArray<Int32>
    private let rowToken: DeviceArray<Int32>
    private let input: DeviceArray<UInt8>
    private let weights: DeviceArray<UInt8>
    private let bias: DeviceArray<Float>
    private let scale: DeviceArray<Float>

    var height: Int { shape.height }
    var depth: Int { shape.depth }
    /// Columns of the output.
    var width: Int { shape.side == .gateUp && shape.gated ? height / 2 : height }
    var rows: Int { shape.rows }
    var inputRows: Int { shape.tokens > 0 ? shape.tokens : rows }

    var description: String { "\(element) \(shape)" }

    /// `output`: the type of the output of down; that of gate_up is `element`.
    init(_ shape: Shape, _ element: Element, output: Element = .fp32) {
        (self.shape, self.element) = (shape, element)
        outputElement = shape.side == .down ? output : element
        let (experts, height, depth) = (shape.counts.count, shape.height, shape.depth)
        let rows = shape.rows
        var generator = Generator(state: UInt64(height * 1000 + depth * 10 + experts))
        func random(_ count: Int, _ bound: Float) -> [Float] {
            (0..<count).map { _ in Float.random(in: -bound...bound, using: &generator) }
        }
        func tensor(_ count: Int, _ bound: Float, steady: Float) -> DeviceArray<UInt8> {
            DeviceArray(element.bytes(shape.steady ? [Float](repeating: steady, count: count) : random(count, bound)))
        }
        offsets = DeviceArray(shape.counts.reduce(into: [0]) { $0.append($0.last! + Int32($1)) })
        rowToken = DeviceArray(
            (0..<Int32(rows)).map {
                shape.tokens > 0 ? Int32.random(in: 0..<Int32(shape.tokens), using: &generator) : $0
            })
        input = tensor((shape.tokens > 0 ? shape.tokens : rows) * depth, 1, steady: 1)
        weights = tensor(experts * height * depth, 2 / Float(depth).squareRoot(), steady: 1 + 0x1p-13)
        bias = DeviceArray(random(experts * height, 1))
        scale = DeviceArray(random(rows, 1))
    }

    var activation: mc_activation_parameters {
        mc_activation_parameters(
            kind: Int32(shape.activation), gated: shape.gated ? 1 : 0, limit: 0.8, alpha: 1.702, up_offset: 1)
    }

    private func parameters(_ result: DeviceArray<UInt8>) -> mc_projection_parameters {
        var projection = mc_projection_parameters()
        projection.input = UnsafeRawPointer(input.start)
        projection.row_token = shape.tokens > 0 ? UnsafePointer(rowToken.start) : nil
        projection.offsets = UnsafePointer(offsets.start)
        projection.weights = UnsafeRawPointer(weights.start)
        projection.bias = shape.biases ? UnsafePointer(bias.start) : nil
        projection.row_scale = shape.scales ? UnsafePointer(scale.start) : nil
        projection.output = UnsafeMutableRawPointer(result.start)
        projection.experts = Int32(shape.counts.count)
        projection.height = Int32(height)
        projection.depth = Int32(depth)
        projection.activation = activation
        return projection
    }

    /// The output, before it is written.
    private func poisoned() -> DeviceArray<UInt8> {
        DeviceArray([UInt8](repeating: 0xFF, count: rows * width * outputElement.size))
    }

    /// Runs the grouped kernel of a tile shape.
    func run(tile: String, seed: UInt64, blocks: UInt32? = nil, mistake: String = "") throws -> [UInt8] {
        let result = poisoned()
        var projection = parameters(result)
        let use = shape.side == .down ? "down" : shape.gated ? "gate_up" : "up"
        let types = shape.side == .down ? "\(element)_\(outputElement)" : "\(element)"
        let name = "grouped_\(use)_\(types)_\(tile)" + mistake
        try launch { ck_grouped_gemm(name, &projection, inputRows, blocks ?? shape.blocks, seed, $0, $1) }
        return result.elements
    }

    /// Runs the decode or the fp32 kernel (and for splits the one that adds them). `tileRows`: the end of its name.
    func run(
        tileRows: Int, seed: UInt64, blocks: UInt32? = nil, mistake: String = "", finishMistake: String = ""
    ) throws -> [UInt8] {
        let result = poisoned()
        var projection = parameters(result)
        let grid = blocks ?? shape.blocks
        if element == .fp32 {
            let name = "fp32_\(shape.side.rawValue)_\(tileRows)" + mistake
            try launch { ck_fp32(name, &projection, inputRows, grid, seed, $0, $1) }
            return result.elements
        }
        let partial = DeviceArray([Float](repeating: .nan, count: shape.splits * rows * height))
        var parameters = mc_decode_parameters()
        parameters.projection = projection
        parameters.partial = shape.splits > 1 ? partial.start : nil
        parameters.splits = Int32(shape.splits)
        parameters.rows = Int32(rows)
        let name = "decode_\(shape.side.rawValue)_\(element)_\(tileRows)" + mistake
        try launch { ck_decode(name, &parameters, inputRows, grid, seed, $0, $1) }
        if shape.splits > 1 {
            let type = shape.side == .down ? "" : "_\(element)"
            let finish = "decode_finish_\(shape.side.rawValue)\(type)\(finishMistake)"
            try launch { ck_decode(finish, &parameters, inputRows, grid, seed, $0, $1) }
        }
        return result.elements
    }

    /// A number in Double, and how far the kernel's may be from it.
    private struct Bounded {
        var value: Double
        var error: Double
    }

    /// Roundings that a term of a sum goes through, at most: in fp32 those of its block of 256 of the depth and of the
    /// blocks after it, whose effect the contract limits to 96; one for each term of the depth on tensor cores. Scale
    /// and bias come on top.
    private var roundings: Double {
        let blocked = min(min(depth, 256) + (depth + 255) / 256 - 1, 2 * 48)
        return Double(element == .fp32 ? blocked + 2 : depth + 4)
    }

    /// The largest error of `result`, in units of what the sums in fp32, the activation and one rounding may cost.
    func error(_ result: [UInt8]) -> Double {
        let inputs = element.values(input.elements).map(Double.init)
        let matrices = element.values(weights.elements).map(Double.init)
        let (tokens, offsets) = (rowToken.elements, offsets.elements)
        let (biases, scales) = (bias.elements, scale.elements)
        let results = outputElement.values(result)
        var worst = 0.0
        for expert in shape.counts.indices {
            for row in Int(offsets[expert])..<Int(offsets[expert + 1]) {
                let start = Int(tokens[row]) * depth
                let products = (0..<height).map { matrixRow in
                    let matrix = (expert * height + matrixRow) * depth
                    var sum = 0.0
                    var magnitude = 0.0
                    for k in 0..<depth {
                        let term = inputs[start + k] * matrices[matrix + k]
                        sum += term
                        magnitude += abs(term)
                    }
                    if shape.scales {
                        (sum, magnitude) = (sum * Double(scales[row]), magnitude * abs(Double(scales[row])))
                    }
                    if shape.biases {
                        sum += Double(biases[expert * height + matrixRow])
                        magnitude += abs(Double(biases[expert * height + matrixRow]))
                    }
                    return Bounded(value: sum, error: magnitude * roundings * 0x1p-24)
                }
                for column in 0..<width {
                    let expected = output(products, column)
                    let allowed = expected.error + abs(expected.value) * outputElement.unitRoundoff + 0x1p-25
                    let error = abs(Double(results[row * width + column]) - expected.value) / allowed
                    worst = error.isNaN ? .infinity : max(worst, error)
                }
            }
        }
        return worst
    }

    private func output(_ products: [Bounded], _ column: Int) -> Bounded {
        if shape.side == .down { return products[column] }
        guard shape.gated else { return function(products[column]) }
        let group = Int(MC_GATE_GROUP)
        let gateRow = column / group * 2 * group + column % group
        var (gate, up) = (products[gateRow], products[gateRow + group])
        if shape.activation == MC_ACTIVATION_CLAMPED {
            gate.value = min(gate.value, Double(activation.limit))
            up.value =
                min(max(up.value, -Double(activation.limit)), Double(activation.limit)) + Double(activation.up_offset)
        }
        let f = function(gate)
        return Bounded(
            value: f.value * up.value, error: f.error * abs(up.value) + abs(f.value) * up.error + f.error * up.error)
    }

    private func function(_ a: Bounded) -> Bounded {
        let value = activationInDouble(shape.activation, a.value, alpha: Double(activation.alpha))
        // No slope is above 1.2 but that of the square.
        let slope = shape.activation == MC_ACTIVATION_RELU_SQUARED ? 2 * (abs(a.value) + a.error) : 1.2
        return Bounded(value: value, error: slope * a.error + activationError(value, element))
    }
}

extension ProjectionCase.Shape {
    /// Of tokens that take `slots` experts each; the same ones if `crowded`. `inner`: values of an expert between its
    /// matrices, after the activation.
    init(
        side: ProjectionCase.Side = .gateUp, experts: Int, tokens: Int, slots: Int, inner: Int, hidden: Int,
        activation: Int = MC_ACTIVATION_SILU, gated: Bool = true, biases: Bool = false, scales: Bool = false,
        splits: Int = 1, crowded: Bool = false, steady: Bool = false, blocks: UInt32 = 3
    ) {
        var generator = Generator(state: UInt64(tokens * 1000 + inner * 10 + slots))
        var counts = [Int](repeating: 0, count: experts)
        for _ in 0..<tokens {
            let order = crowded ? Array(0..<experts) : (0..<experts).shuffled(using: &generator)
            for expert in order.prefix(slots) { counts[expert] += 1 }
        }
        let isDown = side == .down
        self.init(
            side: side, counts: counts, tokens: isDown ? 0 : tokens,
            height: isDown ? hidden : gated ? 2 * inner : inner, depth: isDown ? inner : hidden,
            activation: activation, gated: gated, biases: biases, scales: scales, splits: splits, steady: steady,
            blocks: blocks)
    }
}

/// How far an activation that is to be rounded to `element` may be from its value in Double (see activation.cuh).
func activationError(_ value: Double, _ element: Element) -> Double {
    1.1e-7 * (1 + abs(value)) + (element == .fp32 ? 0 : 0x1p-22 * abs(value))
}

/// MC_ACTIVATION_… of `a`.
func activationInDouble(_ kind: Int, _ a: Double, alpha: Double) -> Double {
    func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }
    return switch kind {
    case MC_ACTIVATION_SILU: a * sigmoid(a)
    case MC_ACTIVATION_GELU: a * 0.5 * erfc(-a / 2.0.squareRoot())
    case MC_ACTIVATION_GELU_TANH: a * sigmoid(2 * (2 / Double.pi).squareRoot() * (a + 0.044715 * a * a * a))
    case MC_ACTIVATION_QUICK_GELU: a * sigmoid(1.702 * a)
    case MC_ACTIVATION_RELU: max(a, 0)
    case MC_ACTIVATION_RELU_SQUARED: max(a, 0) * max(a, 0)
    default: a * sigmoid(alpha * a)
    }
}
