/// The weights of one layer in a checkpoint's files: rows are read straight into the caller's buffer, from any thread,
/// and nothing is kept.
struct LayerTensors: WeightSource {
    /// A matrix inside a tensor.
    private struct Matrix: Sendable {
        let file: SafetensorsFile
        let tensor: SafetensorsTensor
        let type: ElementType
        /// Bytes of the tensor before the matrix.
        let offset: Int
        let rows: Int
        let columns: Int
    }

    private let router: Matrix
    /// Gate, up and down of expert 0, then of expert 1, …
    private let experts: [Matrix]
    /// Gate, up and down; empty without a shared expert.
    private let shared: [Matrix]
    private let sharedGate: Matrix?

    /// Finds every tensor of a layer and checks its shape and type.
    ///
    /// - Parameters:
    ///   - prefix: what the layer's tensor names begin with, up to the layer's index and a full stop.
    init(
        _ configuration: MoEConfiguration, layout: TensorLayout, prefix: String, tensors: CheckpointTensors
    ) throws(MoEError) {
        var finder = TensorFinder(tensors)

        func tensor(_ suffix: String, _ shape: [Int]) throws(MoEError) -> Matrix {
            let (file, tensor) = try finder.find(prefix + suffix)
            guard let type = tensor.type.elementType else {
                throw .checkpoint(
                    file: file.path, tensor: clipped(tensor.name),
                    problem: "is stored as \(tensor.type.rawValue); expected F32, BF16 or F16")
            }
            guard tensor.shape == shape else {
                throw .checkpoint(
                    file: file.path, tensor: clipped(tensor.name),
                    problem: "has shape \(tensor.shape); config.json calls for \(shape)")
            }
            return Matrix(
                file: file, tensor: tensor, type: type, offset: 0, rows: shape.dropLast().reduce(1, *),
                columns: shape[shape.count - 1])
        }
        func matrix(_ suffix: String, _ name: WeightName) throws(MoEError) -> Matrix {
            let (rows, columns) = configuration.shape(of: name)
            return try tensor(suffix, [rows, columns])
        }

        router = try matrix(layout.router, .router)
        var experts: [Matrix] = []
        switch layout.experts {
        case .separate(let folder, let names):
            for expert in 0..<configuration.experts {
                for projection in Projection.allCases {
                    experts.append(try matrix("\(folder)\(expert).\(names[projection])", .expert(expert, projection)))
                }
            }
        case .merged(let gateUp, let down):
            let (count, hidden, width) = (configuration.experts, configuration.hidden, configuration.expertHidden)
            let gateUp = try tensor(gateUp, [count, 2 * width, hidden])
            let down = try tensor(down, [count, hidden, width])
            for expert in 0..<count {
                experts.append(Self.rows(expert * 2 * width, width, of: gateUp))
                experts.append(Self.rows(expert * 2 * width + width, width, of: gateUp))
                experts.append(Self.rows(expert * hidden, hidden, of: down))
            }
        }
        self.experts = experts
        var shared: [Matrix] = []
        if configuration.shared != .none, let names = layout.shared {
            for projection in Projection.allCases {
                shared.append(try matrix(names[projection], .shared(projection)))
            }
        }
        self.shared = shared
        if case .sigmoidGated = configuration.shared, let name = layout.sharedGate {
            sharedGate = try matrix(name, .sharedGate)
        } else {
            sharedGate = nil
        }
    }

    private static func rows(_ first: Int, _ count: Int, of matrix: Matrix) -> Matrix {
        Matrix(
            file: matrix.file, tensor: matrix.tensor, type: matrix.type,
            offset: first * matrix.columns * matrix.type.byteCount, rows: count, columns: matrix.columns)
    }

    private func matrix(_ name: WeightName) -> Matrix? {
        func position(_ projection: Projection) -> Int {
            switch projection {
            case .gate: 0
            case .up: 1
            case .down: 2
            }
        }
        switch name {
        case .router:
            return router
        case .expert(let expert, let projection):
            guard expert >= 0, expert < experts.count / 3 else { return nil }
            return experts[expert * 3 + position(projection)]
        case .shared(let projection):
            return shared.isEmpty ? nil : shared[position(projection)]
        case .sharedGate:
            return sharedGate
        default:
            return nil
        }
    }

    func format(of name: WeightName) -> WeightFormat { .plain(matrix(name)?.type ?? .float32) }

    func read(_ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(MoEError) {
        guard let matrix = matrix(name) else {
            throw .weights(tensor: "\(name)", problem: "this layer of the checkpoint has no such tensor")
        }
        let rowBytes = matrix.columns * matrix.type.byteCount
        guard rows.lowerBound >= 0, rows.upperBound <= matrix.rows, destination.count >= rows.count * rowBytes else {
            throw .input(
                name: "rows of \(describe(name))", value: "\(rows) into \(destination.count) bytes",
                expectation: "within 0..<\(matrix.rows), \(rowBytes) bytes each")
        }
        let part = UnsafeMutableRawBufferPointer(rebasing: destination[..<(rows.count * rowBytes)])
        try matrix.file.read(matrix.tensor, from: matrix.offset + rows.lowerBound * rowBytes, into: part)
    }

    func describe(_ name: WeightName) -> String {
        guard let matrix = matrix(name) else { return "\(name)" }
        let part = matrix.tensor.shape.count == 2 ? "" : " (\(name))"
        return "\(clipped(matrix.tensor.name))\(part) in \(matrix.file.path)"
    }
}
