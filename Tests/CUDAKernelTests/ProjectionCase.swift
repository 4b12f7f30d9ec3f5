import CUDAKernelHost
import Foundation

/// A projection of every expert: the shape, random tensors, a launch, and the comparison with loops in Double.
struct ProjectionCase: CustomStringConvertible {
    enum Side: String {
        case gateUp = "gate_up"
        case down
    }

    struct Shape {
        var side = Side.gateUp
        var experts: Int
        var tokens: Int
        var slots: Int
        /// Values of an expert between its matrices, after the activation.
        var inner: Int
        var hidden: Int
        var activation = MC_ACTIVATION_SILU
        var gated = true
        var biases = false
        var scales = false
        var splits = 1
        /// Every token takes the first experts.
        var crowded = false
        /// Input 1, weights 1 + 2⁻¹³: a sum in blocks is exact; in one chain additions above 2¹¹ lose the fraction.
        var steady = false
        var blocks: UInt32 = 3
    }

    let shape: Shape
    let element: Element
    let offsets: DeviceArray<Int32>
    private let rowToken: DeviceArray<Int32>
    private let input: DeviceArray<UInt8>
    private let weights: DeviceArray<UInt8>
    private let bias: DeviceArray<Float>
    private let scale: DeviceArray<Float>

    /// Rows of an expert's weights.
    var height: Int { shape.side == .down ? shape.hidden : shape.gated ? 2 * shape.inner : shape.inner }
    var depth: Int { shape.side == .down ? shape.inner : shape.hidden }
    /// Columns of the output.
    var width: Int { shape.side == .down ? shape.hidden : shape.inner }
    var rows: Int { shape.tokens * shape.slots }
    /// Rows of the input: gate_up gathers the tokens' rows, down takes its rows as they are.
    var inputRows: Int { shape.side == .down ? rows : shape.tokens }
    var outputElement: Element { shape.side == .down ? .fp32 : element }

    var description: String {
        "\(shape.side.rawValue) \(element), \(shape.experts) experts, \(shape.tokens) × \(shape.slots), "
            + "\(height) × \(depth)"
    }

    init(_ shape: Shape, _ element: Element) {
        (self.shape, self.element) = (shape, element)
        var generator = Generator(state: UInt64(shape.tokens * 1000 + shape.inner * 10 + shape.slots))
        func random(_ count: Int, _ bound: Float) -> [Float] {
            (0..<count).map { _ in Float.random(in: -bound...bound, using: &generator) }
        }
        var tokens = [[Int32]](repeating: [], count: shape.experts)
        for token in 0..<Int32(shape.tokens) {
            let order = shape.crowded ? Array(0..<shape.experts) : (0..<shape.experts).shuffled(using: &generator)
            for expert in order.prefix(shape.slots) { tokens[expert].append(token) }
        }
        offsets = DeviceArray(tokens.reduce(into: [0]) { $0.append($0.last! + Int32($1.count)) })
        rowToken = DeviceArray(Array(tokens.joined()))
        let isDown = shape.side == .down
        let height = isDown ? shape.hidden : shape.gated ? 2 * shape.inner : shape.inner
        let depth = isDown ? shape.inner : shape.hidden
        let inputRows = isDown ? shape.tokens * shape.slots : shape.tokens
        func tensor(_ count: Int, _ bound: Float, steady: Float) -> DeviceArray<UInt8> {
            DeviceArray(element.bytes(shape.steady ? [Float](repeating: steady, count: count) : random(count, bound)))
        }
        input = tensor(inputRows * depth, 1, steady: 1)
        weights = tensor(shape.experts * height * depth, 2 / Float(depth).squareRoot(), steady: 1 + 0x1p-13)
        bias = DeviceArray(random(shape.experts * height, 1))
        scale = DeviceArray(random(shape.tokens * shape.slots, 1))
    }

    var activation: mc_activation_parameters {
        mc_activation_parameters(
            kind: Int32(shape.activation), gated: shape.gated ? 1 : 0, limit: 2, alpha: 1.702, up_offset: 1)
    }

    /// Runs the kernel (and for splits the one that adds them) into poisoned memory. `tileRows`: the end of its name.
    func run(tileRows: Int, seed: UInt64, blocks: UInt32? = nil, mistake: String = "") throws -> [UInt8] {
        let result = DeviceArray([UInt8](repeating: 0xFF, count: rows * width * outputElement.size))
        var projection = mc_projection_parameters()
        projection.input = UnsafeRawPointer(input.start)
        projection.row_token = shape.side == .down ? nil : UnsafePointer(rowToken.start)
        projection.offsets = UnsafePointer(offsets.start)
        projection.weights = UnsafeRawPointer(weights.start)
        projection.bias = shape.biases ? UnsafePointer(bias.start) : nil
        projection.row_scale = shape.scales ? UnsafePointer(scale.start) : nil
        projection.output = UnsafeMutableRawPointer(result.start)
        projection.experts = Int32(shape.experts)
        projection.height = Int32(height)
        projection.depth = Int32(depth)
        projection.activation = activation
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
            let finish = "decode_finish_\(shape.side.rawValue)" + (shape.side == .down ? "" : "_\(element)")
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
        for expert in 0..<shape.experts {
            for row in Int(offsets[expert])..<Int(offsets[expert + 1]) {
                let start = (shape.side == .down ? row : Int(tokens[row])) * depth
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
        return Bounded(value: value, error: slope * a.error + 1.1e-7 * (1 + abs(value)))
    }
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
