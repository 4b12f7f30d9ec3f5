/// Mixture-of-Experts layers one after the other, as a transformer has them but for its attention: each adds to the residual stream
/// what it makes of the normalised stream, x + layer(rmsNorm(x)).
///
/// A stand-in for a model, to serve and to measure the part that this library computes: a row is a token's activations, and the
/// normalised output of a request's last token is its next input, where a language model would sample a token and embed it. Without
/// attention no token sees another, so a prompt's earlier tokens cost what they would but change nothing.
///
/// A request's rows are bitwise the same whatever runs beside it, on the CPU and for layers whose tokens do not compete for capacity or
/// are chosen by experts (<doc:Numerics>).
public final class MoELayerStack: MoEEngineModel {
    public typealias Element = Float

    public let layers: [MoELayer]
    public let width: Int
    private let epsilon: Float
    private var memory = Memory()

    /// - Parameters:
    ///   - layers: One or more, of one width; give them one ``ThreadPool``.
    ///   - epsilon: Added to the mean square before its root.
    /// - Throws: ``MoEError/configuration(field:value:expectation:)`` for no layers, or layers of several widths.
    public init(_ layers: [MoELayer], epsilon: Float = 1e-6) throws(MoEError) {
        guard let first = layers.first else {
            throw .configuration(field: "layers", value: "none", expectation: "one or more")
        }
        width = first.configuration.hidden
        for (index, layer) in layers.enumerated() where layer.configuration.hidden != width {
            throw .configuration(
                field: "hidden of layer \(index)", value: "\(layer.configuration.hidden)",
                expectation: "\(width), as of layer 0")
        }
        self.layers = layers
        self.epsilon = epsilon
    }

    /// Bytes of the layers' weights and of the memory that steps work in, which grows to the largest step.
    public var byteCount: Int { layers.reduce(memory.byteCount) { $0 + $1.weightByteCount } }

    /// Runs the rows through all layers and writes, normalised, the last row of every part that generates.
    ///
    /// - Parameters:
    ///   - rows: [tokens, width].
    ///   - parts: Ranges of those rows.
    ///   - outputs: [parts.count, width].
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for rows, parts or outputs of other sizes; what a layer's forward throws.
    public func step(
        _ rows: Span<Float>, _ parts: [MoEEnginePart], into outputs: inout MutableSpan<Float>
    ) throws(MoEError) {
        guard rows.count.isMultiple(of: width) else {
            throw .input(name: "rows", value: "\(rows.count) values", expectation: "whole rows of \(width)")
        }
        let tokens = rows.count / width
        for part in parts where part.rows.lowerBound < 0 || part.rows.upperBound > tokens || part.rows.isEmpty {
            throw .input(name: "part", value: "rows \(part.rows)", expectation: "one or more of the step's \(tokens)")
        }
        guard outputs.count >= parts.count * width else {
            throw .input(
                name: "outputs", value: "\(outputs.count) values",
                expectation: "\(parts.count * width), \(width) for each part")
        }
        try memory.run(layers, rows, parts, into: &outputs, width: width, epsilon: epsilon)
    }

    /// The stack's own forward: [tokens, width] to [tokens, width], normalised.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for x of another width, and what a layer's forward throws.
    public func forward(_ x: Tensor<Float>) throws(MoEError) -> Tensor<Float> {
        guard x.columns == width else {
            throw .input(name: "x", value: "of shape \(x.shape)", expectation: "a last dimension of \(width)")
        }
        var y = x
        let parts = (0..<x.rows).map {
            MoEEnginePart(request: $0, rows: $0..<$0 + 1, position: 0, generates: true, isDecode: false)
        }
        var outputs = y.mutableSpan
        try step(x.span, parts, into: &outputs)
        return y
    }

    /// What steps work in. A struct: a class cannot lend spans of several of its own arrays at once.
    private struct Memory: ~Copyable {
        private var workspace = MoEWorkspace()
        /// [tokens, width] each: the residual stream, its norm, and what a layer makes of that.
        private var stream: [Float] = []
        private var normalised: [Float] = []
        private var output: [Float] = []

        var byteCount: Int {
            workspace.byteCount
                + (stream.capacity + normalised.capacity + output.capacity) * MemoryLayout<Float>.stride
        }

        mutating func run(
            _ layers: [MoELayer], _ rows: Span<Float>, _ parts: [MoEEnginePart],
            into outputs: inout MutableSpan<Float>, width: Int, epsilon: Float
        ) throws(MoEError) {
            Self.resize(&stream, rows.count)
            Self.resize(&normalised, rows.count)
            Self.resize(&output, rows.count)
            for index in rows.indices { stream[index] = rows[index] }
            for layer in layers {
                normalised.withUnsafeMutableBufferPointer { normalised in
                    stream.withUnsafeBufferPointer { stream in
                        for first in Swift.stride(from: 0, to: stream.count, by: width) {
                            let row = UnsafeBufferPointer(rebasing: stream[first..<first + width])
                            Self.normalise(row, into: normalised.baseAddress! + first, epsilon)
                        }
                    }
                }
                try Self.forward(layer, normalised, into: &output, &workspace)
                stream.withUnsafeMutableBufferPointer { stream in
                    output.withUnsafeBufferPointer { output in
                        for index in 0..<stream.count { stream[index] += output[index] }
                    }
                }
            }
            outputs.withUnsafeMutableBufferPointer { outputs in
                stream.withUnsafeBufferPointer { stream in
                    for (index, part) in parts.enumerated() where part.generates {
                        let row = stream[(part.rows.upperBound - 1) * width..<part.rows.upperBound * width]
                        let place = outputs.baseAddress! + index * width
                        Self.normalise(UnsafeBufferPointer(rebasing: row), into: place, epsilon)
                    }
                }
            }
        }

        /// A mutable span of one part of a struct is an access to all of it; hence apart.
        private static func forward(
            _ layer: MoELayer, _ x: [Float], into y: inout [Float], _ workspace: inout MoEWorkspace
        ) throws(MoEError) {
            var span = y.mutableSpan
            try layer.forward(x.span, into: &span, workspace: &workspace)
        }

        private static func resize(_ array: inout [Float], _ count: Int) {
            if array.count > count { array.removeLast(array.count - count) }
            if array.count < count { array.append(contentsOf: repeatElement(0, count: count - array.count)) }
        }

        /// x / √(mean(x²) + ε), the squares summed in 16 lanes and these in halves: the same order for every row.
        /// Source: Zhang, Sennrich, "Root Mean Square Layer Normalization", 2019.
        private static func normalise(
            _ x: UnsafeBufferPointer<Float>, into y: UnsafeMutablePointer<Float>, _ epsilon: Float
        ) {
            var lanes = SIMD16<Float>.zero
            let bytes = UnsafeRawBufferPointer(x)
            let whole = x.count & ~15
            for index in Swift.stride(from: 0, to: whole, by: 16) {
                let values = bytes.loadUnaligned(
                    fromByteOffset: index * MemoryLayout<Float>.stride, as: SIMD16<Float>.self)
                lanes += values * values
            }
            for index in whole..<x.count { lanes[index - whole] += x[index] * x[index] }
            let eight = lanes.lowHalf + lanes.highHalf
            let four = eight.lowHalf + eight.highHalf
            let two = four.lowHalf + four.highHalf
            let scale = 1 / ((two.x + two.y) / Float(x.count) + epsilon).squareRoot()
            for index in 0..<x.count { y[index] = x[index] * scale }
        }
    }
}
