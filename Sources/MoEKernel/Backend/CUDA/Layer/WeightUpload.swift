import CMoECUDA

/// Where a projection's tensors go.
struct WeightPlacement: Sendable {
    /// A tensor that supplies some of a matrix's rows.
    struct Tensor: Sendable {
        let name: WeightName
        let rows: Int
        init(_ name: WeightName, _ rows: Int) {
            self.name = name
            self.rows = rows
        }
    }

    let matrices: DeviceMatrices
    /// The tensors of a group: gate and up where gated, else the tensors whose rows follow one another.
    let tensors: @Sendable (Int) -> [Tensor]
    let biases: @Sendable (Int) -> [WeightName]

    init(
        _ matrices: DeviceMatrices, tensors: @escaping @Sendable (Int) -> [Tensor],
        biases: @escaping @Sendable (Int) -> [WeightName] = { _ in [] }
    ) {
        self.matrices = matrices
        self.tensors = tensors
        self.biases = biases
    }

    /// Which rows of which tensor some rows of a group's matrix hold, as runs of neighbours; padding is left out.
    func runs(of rows: Range<Int>, group: Int) -> [Run] {
        let tensors = tensors(group)
        var runs: [Run] = []
        for row in rows {
            guard var (tensor, sourceRow) = matrices.source(ofRow: row) else { continue }
            if !matrices.isGated {
                while sourceRow >= tensors[tensor].rows {
                    sourceRow -= tensors[tensor].rows
                    tensor += 1
                }
            }
            // Gate and up alternate, so a run ends at each group of rows but its tensor's next run goes on where it ended.
            if let last = runs.lastIndex(where: { $0.name == tensors[tensor].name }),
                runs[last].source.upperBound == sourceRow
            {
                runs[last].source = runs[last].source.lowerBound..<sourceRow + 1
                runs[last].places.append(row - rows.lowerBound)
            } else {
                runs.append(
                    Run(
                        name: tensors[tensor].name, source: sourceRow..<sourceRow + 1,
                        places: [row - rows.lowerBound]))
            }
        }
        return runs
    }

    /// Neighbouring rows of one tensor, and where each goes.
    struct Run {
        let name: WeightName
        var source: Range<Int>
        /// Rows of the piece that is being filled.
        var places: [Int]
    }
}

/// Brings weights to the device. Random ones are made there; of others, threads read and convert rows into one of two page-locked buffers while the other one is copied.
final class WeightUpload {
    private let configuration: MoEConfiguration
    private let source: any WeightSource
    private let pool: ThreadPool
    private let stream: CUDAStream
    private let halves: PinnedMemory
    private let copied: [CUDAEvent]
    private let library: KernelLibrary
    private let halfBytes: Int
    private var turn = 0

    /// Bytes that are filled at a time; a row may need more.
    private static let usualBytes = 16 << 20

    init(
        _ configuration: MoEConfiguration, source: any WeightSource, pool: ThreadPool, library: KernelLibrary,
        stream: CUDAStream
    ) throws(MoEError) {
        self.configuration = configuration
        self.library = library
        self.source = source
        self.pool = pool
        self.stream = stream
        let c = configuration
        let widest = DeviceMatrices.padded(max(c.hidden, c.expertHidden, c.shared.width ?? 0, c.latent ?? 0))
        // 16 rows are what gate and up share; small layers need no more than they have.
        let rows = 16 * widest * 4
        let all = DeviceMatrices.padded(2 * max(c.expertHidden, c.choices + 8, c.hidden)) * widest * 4
        halfBytes = max(rows, min(Self.usualBytes, all))
        halves = try PinnedMemory(bytes: 2 * halfBytes, on: stream.device, purpose: "bringing weights to the device")
        copied = [try CUDAEvent(on: stream.device, timing: false), try CUDAEvent(on: stream.device, timing: false)]
    }

    /// A copy may still read the page-locked memory, where an error ended the upload.
    deinit {
        stream.device.context.release("cudaStreamSynchronize") { $0.pointee.cudaStreamSynchronize(stream.handle) }
    }

    /// Fills one projection's matrices and biases.
    func run(_ placement: WeightPlacement) throws(MoEError) {
        let matrices = placement.matrices
        for group in 0..<matrices.groups {
            // What is kept in another type than it is stored in would be another number.
            if let random = source as? RandomWeights,
                placement.tensors(group).allSatisfy({ random.format(of: $0.name) == .plain(matrices.type) })
            {
                try generate(placement, group: group, random)
            } else {
                try copy(placement, group: group)
            }
            if let bias = matrices.bias {
                try fillBias(placement, group: group, target: bias + group * matrices.height)
            }
        }
    }

    /// Waits for the copies.
    func finish() throws(MoEError) { try stream.synchronize() }

    private func generate(
        _ placement: WeightPlacement, group: Int, _ random: RandomWeights
    ) throws(MoEError) {
        let matrices = placement.matrices
        let tensors = placement.tensors(group)
        let kernel = try library.kernel("generate_\(matrices.type.rawValue)", threads: MC_GENERATE_THREADS)
        var p = mc_generate_parameters()
        p.depth = Int32(matrices.depth)
        p.inputs = Int32(matrices.inputs)
        p.gated = matrices.isGated ? 1 : 0
        var first = 0
        // Gate and up share rows; other tensors follow each other, the last with the padding behind it.
        for (index, tensor) in (matrices.isGated ? Array(tensors.prefix(1)) : tensors).enumerated() {
            let isLast = matrices.isGated || index == tensors.count - 1
            p.destination = matrices.weights + (group * matrices.height + first) * matrices.rowBytes
            p.rows = Int32(isLast ? matrices.height - first : tensor.rows)
            p.outputs = Int32(tensor.rows)
            p.keys.0 = random.key(of: tensor.name)
            if matrices.isGated { p.keys.1 = random.key(of: tensors[1].name) }
            p.scale = random.distribution(of: tensor.name).scale
            try kernel.launch(p, grid: .init(x: min(Int(p.rows), 4 * kernel.residentBlocks)), on: stream)
            first += tensor.rows
        }
    }

    private func copy(_ placement: WeightPlacement, group: Int) throws(MoEError) {
        let matrices = placement.matrices
        // 16 rows belong together where gate and up alternate.
        let unit = 2 * DeviceMatrices.gateGroup
        let piece = max(halfBytes / matrices.rowBytes / unit * unit, unit)
        for first in stride(from: 0, to: matrices.height, by: piece) {
            let rows = first..<min(first + piece, matrices.height)
            let target = matrices.weights + (group * matrices.height + first) * matrices.rowBytes
            try fill(placement, group: group, rows: rows, target: target)
        }
    }

    private func fill(
        _ placement: WeightPlacement, group: Int, rows: Range<Int>, target: UnsafeMutableRawPointer
    ) throws(MoEError) {
        let bytes = rows.count * placement.matrices.rowBytes
        let half = UnsafeMutableRawBufferPointer(rebasing: halves.bytes[turn * halfBytes..<turn * halfBytes + bytes])
        // What was copied from here before has to be gone.
        try copied[turn].synchronize()
        let failure = FirstFailure()
        let work = FillRowsWork(
            placement: placement, group: group, rows: rows, source: source, configuration: configuration,
            target: half.baseAddress!, threads: pool.threads, failure: failure)
        pool.run(work, tasks: work.tasks)
        if let error = failure.error { throw error }
        try stream.copyToDevice(target, from: UnsafeRawBufferPointer(half))
        try copied[turn].record(on: stream)
        turn = 1 - turn
    }

    private func fillBias(
        _ placement: WeightPlacement, group: Int, target: UnsafeMutablePointer<Float>
    ) throws(MoEError) {
        let matrices = placement.matrices
        var values = [Float](repeating: 0, count: matrices.height)
        let biases = placement.biases(group)
        let parts = try biases.map { (name) throws(MoEError) in
            let part = try source.floats(name, configuration)
            if let odd = part.firstIndex(where: { !$0.isFinite }) {
                throw MoEError.notFinite(source.describe(name), row: 0, column: odd)
            }
            return part
        }
        for row in values.indices {
            guard let (tensor, sourceRow) = matrices.source(ofRow: row), tensor < parts.count,
                sourceRow < parts[tensor].count
            else { continue }
            values[row] = parts[tensor][sourceRow]
        }
        try values.span.withUnsafeBytes { bytes throws(MoEError) in
            try stream.copyToDevice(UnsafeMutableRawPointer(target), from: bytes)
            try stream.synchronize()
        }
    }
}

/// Reads and converts a piece of a matrix, some rows a task.
private struct FillRowsWork: ParallelWork {
    let placement: WeightPlacement
    let group: Int
    let rows: Range<Int>
    let source: any WeightSource
    let configuration: MoEConfiguration
    let target: UnsafeMutableRawPointer
    let failure: FirstFailure
    /// Rows a task.
    private let step: Int

    init(
        placement: WeightPlacement, group: Int, rows: Range<Int>, source: any WeightSource,
        configuration: MoEConfiguration, target: UnsafeMutableRawPointer, threads: Int, failure: FirstFailure
    ) {
        self.placement = placement
        self.group = group
        self.rows = rows
        self.source = source
        self.configuration = configuration
        self.target = target
        self.failure = failure
        // A transposed tensor is read whole for any of its rows, so there one task takes all.
        let isTransposed = placement.tensors(group).contains { tensor in
            if case .transposed = source.format(of: tensor.name) { true } else { false }
        }
        let unit = 2 * DeviceMatrices.gateGroup
        step = isTransposed ? rows.count : max((rows.count / (4 * threads) + unit - 1) / unit * unit, unit)
    }

    var tasks: Int { (rows.count + step - 1) / step }

    func run(task: Int, worker: Int) {
        let first = rows.lowerBound + task * step
        let part = first..<min(first + step, rows.upperBound)
        let start = target + (first - rows.lowerBound) * placement.matrices.rowBytes
        do throws(MoEError) {
            start.initializeMemory(as: UInt8.self, repeating: 0, count: part.count * placement.matrices.rowBytes)
            for run in placement.runs(of: part, group: group) { try fill(run, at: start) }
        } catch {
            failure.report(error, task: task)
        }
    }

    private func fill(_ run: WeightPlacement.Run, at start: UnsafeMutableRawPointer) throws(MoEError) {
        let matrices = placement.matrices
        let inputs = matrices.inputs
        if source.format(of: run.name) == .plain(matrices.type) {
            let bytes = inputs * matrices.type.byteCount
            let stored = UnsafeMutableRawBufferPointer.allocate(byteCount: run.source.count * bytes, alignment: 64)
            defer { stored.deallocate() }
            try source.read(run.name, rows: run.source, into: stored)
            for (index, place) in run.places.enumerated() {
                let row = stored.baseAddress! + index * bytes
                if let column = matrices.type.firstNotFinite(row, count: inputs) {
                    throw .notFinite(source.describe(run.name), row: run.source.lowerBound + index, column: column)
                }
                (start + place * matrices.rowBytes).copyMemory(from: row, byteCount: bytes)
            }
            return
        }
        let values = try source.floats(run.name, rows: run.source, configuration)
        for (index, place) in run.places.enumerated() {
            let row = values[index * inputs..<(index + 1) * inputs]
            let target = start + place * matrices.rowBytes
            matrices.type.store(row, to: target)
            guard let column = matrices.type.firstNotFinite(target, count: inputs) else { continue }
            let value = row[row.startIndex + column]
            let sourceRow = run.source.lowerBound + index
            guard value.isFinite else {
                throw .notFinite(source.describe(run.name), row: sourceRow, column: column)
            }
            throw .weights(
                tensor: source.describe(run.name),
                problem:
                    "the value at [\(sourceRow), \(column)] is \(value); expected one that \(matrices.type.rawValue) holds"
            )
        }
    }
}

extension ElementType {
    /// The first number that is infinite or NaN.
    func firstNotFinite(_ base: UnsafeRawPointer, count: Int) -> Int? {
        /// Every exponent bit is set.
        func first<Bits: FixedWidthInteger>(_: Bits.Type, _ exponent: Bits) -> Int? {
            let numbers = base.assumingMemoryBound(to: Bits.self)
            var any = false
            // All of a row without a branch first.
            for index in 0..<count { any = any || numbers[index] & exponent == exponent }
            return any ? (0..<count).first { numbers[$0] & exponent == exponent } : nil
        }
        return switch self {
        case .float32: first(UInt32.self, 0x7f80_0000)
        case .bfloat16: first(UInt16.self, 0x7f80)
        case .float16: first(UInt16.self, 0x7c00)
        }
    }

    /// Stores numbers, each rounded to nearest.
    func store(_ values: ArraySlice<Float>, to target: UnsafeMutableRawPointer) {
        switch self {
        case .float32:
            let target = target.assumingMemoryBound(to: Float.self)
            for (index, value) in values.enumerated() { target[index] = value }
        case .bfloat16:
            let target = target.assumingMemoryBound(to: UInt16.self)
            for (index, value) in values.enumerated() { target[index] = BFloat16(value).bitPattern }
        case .float16:
            let target = target.assumingMemoryBound(to: UInt16.self)
            for (index, value) in values.enumerated() { target[index] = Half.bits(value) }
        }
    }
}
