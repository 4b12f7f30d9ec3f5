import CMoECUDA

/// One dense product of two large matrices, y = x · wᵀ, by the kernels that experts' projections take: what a layer can reach at most
/// with them, for a harness that compares layers with it.
package final class CUDAProduct: Sendable {
    /// One of the three; rows are contiguous.
    package enum Matrix: Sendable {
        /// [rows, depth]
        case x
        /// [columns, depth]
        case weights
        /// [rows, columns]
        case y
    }

    package let rows: Int
    package let columns: Int
    package let depth: Int
    /// Of all three matrices. Sums are in fp32.
    package let type: ElementType
    package let stream: CUDAStream

    private let x: DeviceTensor
    private let weights: DeviceTensor
    private let y: DeviceTensor
    /// 0 and `rows`: the one expert's.
    private let offsets: DeviceMemory
    private let kernels: Kernels

    private enum Kernels {
        case tensorCores(ProjectionKernels.GroupedKernels.Shapes)
        case exact(ProjectionKernels.ExactKernels.Heights)
    }

    /// Bytes of the three matrices.
    package static func byteCount(_ type: ElementType, rows: Int, columns: Int, depth: Int) -> Int {
        type.byteCount * (rows * depth + columns * depth + rows * columns)
    }

    /// Makes matrices of random numbers, evenly spread about 0: of variance 1 in x, of 1 / depth in the weights.
    ///
    /// - Parameters:
    ///   - type: What is multiplied, and what the product is rounded to.
    ///   - rows: As the other two extents a multiple of 8.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for another extent, ``MoEError/cuda(_:)``.
    package init(
        on device: CUDADevice, multiplying type: ElementType, rows: Int, columns: Int, depth: Int
    ) throws(MoEError) {
        for (name, extent) in [("rows", rows), ("columns", columns), ("depth", depth)] {
            guard extent > 0, extent % DeviceMatrices.granule == 0 else {
                throw .input(
                    name: "\(name) of a product", value: "\(extent)",
                    expectation: "a multiple of \(DeviceMatrices.granule), not 0")
            }
        }
        let library = try device.kernels()
        let stream = try CUDAStream(on: device)
        x = try DeviceTensor(shape: [rows, depth], type, on: stream)
        weights = try DeviceTensor(shape: [columns, depth], type, on: stream)
        y = try DeviceTensor(shape: [rows, columns], type, on: stream)
        offsets = try DeviceMemory(bytes: 8, on: stream, purpose: "a product's rows")
        kernels =
            type == .float32
            ? .exact(try ProjectionKernels.ExactKernels.Heights("fp32_down", library))
            : .tensorCores(
                try ProjectionKernels.GroupedKernels.Shapes(
                    "down_\(type.rawValue)_\(type.rawValue)", experts: 1, library))
        self.rows = rows
        self.columns = columns
        self.depth = depth
        self.type = type
        self.stream = stream
        try Self.fill(x, key: 0, variance: 1, library, stream)
        try Self.fill(weights, key: 1 << 40, variance: 1 / Float(depth), library, stream)
        try y.poison(on: stream)
        let bounds = [0, Int32(rows)]
        try bounds.span.withUnsafeBytes { bytes throws(MoEError) in
            try stream.copyToDevice(offsets.address, from: bytes)
            // Until then the host's memory may be read.
            try stream.synchronize()
        }
    }

    private static func fill(
        _ tensor: DeviceTensor, key: UInt64, variance: Float, _ library: KernelLibrary, _ stream: CUDAStream
    ) throws(MoEError) {
        let kernel = try library.kernel("generate_\(tensor.elementType.rawValue)", threads: MC_GENERATE_THREADS)
        var p = mc_generate_parameters()
        p.destination = tensor.address
        p.keys.0 = key
        p.rows = Int32(tensor.rows)
        p.outputs = p.rows
        p.depth = Int32(tensor.columns)
        p.inputs = p.depth
        p.scale = (3 * variance).squareRoot() * 0x1p-31
        try kernel.launch(p, grid: .init(x: min(tensor.rows, 4 * kernel.residentBlocks)), on: stream)
    }

    /// Floating-point operations of one product, two a multiply-add.
    package var operations: Int { 2 * rows * columns * depth }

    /// Puts one product into the stream.
    package func start() throws(MoEError) {
        var p = mc_projection_parameters()
        p.input = UnsafeRawPointer(x.address)
        p.weights = UnsafeRawPointer(weights.address)
        p.output = y.address
        p.offsets = UnsafePointer(offsets.address.assumingMemoryBound(to: Int32.self))
        p.experts = 1
        p.height = Int32(columns)
        p.depth = Int32(depth)
        switch kernels {
        case .tensorCores(let shapes): try shapes.launch(p, rows: rows, isShared: false, on: stream)
        case .exact(let heights): try heights.launch(p, rows: rows, on: stream)
        }
    }

    /// A row's numbers, after what the stream was given to do before.
    ///
    /// - Parameter index: One that the matrix has.
    package func row(_ index: Int, of matrix: Matrix) throws(MoEError) -> [Float] {
        let tensor =
            switch matrix {
            case .x: x
            case .weights: weights
            case .y: y
            }
        guard 0..<tensor.rows ~= index else {
            throw .input(name: "row of a product", value: "\(index)", expectation: "0 to \(tensor.rows - 1)")
        }
        let row = try DeviceTensor(
            borrowing: tensor.address + index * tensor.columns * type.byteCount, shape: [tensor.columns], type,
            on: stream.device)
        return try row.floats(on: stream)
    }
}
