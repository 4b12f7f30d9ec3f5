import CPlatform
import MicroKernels

/// Fills packed matrices from a weight source: every task reads the rows of one panel at a time into its worker's staging memory,
/// checks them, and interleaves them. Beyond the packed weights themselves that takes 16 rows a worker.
struct PackingJob {
    /// A tensor that supplies some of a matrix's columns.
    struct Rows {
        let name: WeightName
        let count: Int
        init(_ name: WeightName, _ count: Int) {
            self.name = name
            self.count = count
        }
    }

    let matrices: PackedMatrices
    /// The tensors of a group: gate and up where gated, else the tensors whose rows follow one another.
    let rows: @Sendable (Int) -> [Rows]
    /// The biases of a group, as `rows`.
    var biases: @Sendable (Int) -> [WeightName] = { _ in [] }

    func pack(_ configuration: MoEConfiguration, from source: any WeightSource, pool: ThreadPool) throws(MoEError) {
        let staging = 16 * matrices.depth * 4
        let scratch = try MemoryRegion(bytes: pool.threads * 2 * staging, purpose: "staging memory for packing")
        let failure = FirstFailure()
        let work = PackingWork(
            job: self, source: source, scratch: scratch.base, stagingBytes: staging, failure: failure)
        pool.run(work, tasks: matrices.groups * work.chunks)
        if let error = failure.error { throw error }
        if matrices.hasBiases {
            for group in 0..<matrices.groups { try packBiases(group, configuration, from: source) }
        }
    }

    private func packBiases(_ group: Int, _ configuration: MoEConfiguration, from source: any WeightSource)
        throws(MoEError)
    {
        let names = biases(group)
        guard let biases = matrices.biases else { return }
        let target = biases + group * matrices.panels * PanelLayout.width
        for (part, name) in names.enumerated() {
            let values = try source.floats(name, configuration)
            for column in values.indices {
                guard values[column].isFinite else { throw .notFinite(source.describe(name), row: 0, column: column) }
                let panel = column / matrices.columnsPerPanel
                let place = panel * PanelLayout.width + part * PanelLayout.half + column % matrices.columnsPerPanel
                target[place] = values[column]
            }
        }
    }
}

extension MoEError {
    static func notFinite(_ tensor: String, row: Int, column: Int) -> MoEError {
        .weights(tensor: tensor, problem: "the value at [\(row), \(column)] is not finite; expected finite weights")
    }
}

extension WeightSource {
    /// The numbers' type of a tensor that is stored plainly.
    func plainType(of name: WeightName) -> ElementType {
        guard case .plain(let type) = format(of: name) else { return .float32 }
        return type
    }
}

/// Keeps the failure of the lowest task, so that the error does not depend on timing among those that were met.
private final class FirstFailure: @unchecked Sendable {
    private let lock = PosixMutex()
    private var kept: (task: Int, error: MoEError)?

    var error: MoEError? {
        lock.lock()
        defer { lock.unlock() }
        return kept?.error
    }

    func report(_ error: MoEError, task: Int) {
        lock.lock()
        defer { lock.unlock() }
        if kept.map({ task < $0.task }) ?? true { kept = (task, error) }
    }
}

private struct PackingWork: ParallelWork {
    let job: PackingJob
    let source: any WeightSource
    let scratch: UnsafeMutableRawPointer
    let stagingBytes: Int
    let failure: FirstFailure

    /// Panels in a task: enough that reading is sequential for a while.
    private var panelsPerChunk: Int { 16 }
    var chunks: Int { (job.matrices.panels + panelsPerChunk - 1) / panelsPerChunk }

    func run(task: Int, worker: Int) {
        if failure.error != nil { return }
        let group = task / chunks
        let first = task % chunks * panelsPerChunk
        let staged = scratch + worker * 2 * stagingBytes
        do throws(MoEError) {
            for panel in first..<min(first + panelsPerChunk, job.matrices.panels) {
                try pack(group: group, panel: panel, staged: staged, converted: staged + stagingBytes)
            }
        } catch {
            failure.report(error, task: task)
        }
    }

    /// Reads the rows that make up one panel and interleaves them. Slot s of the panel's 16 columns is one row of a tensor.
    private func pack(
        group: Int, panel: Int, staged: UnsafeMutableRawPointer, converted: UnsafeMutableRawPointer
    ) throws(MoEError) {
        let matrices = job.matrices
        let depth = matrices.depth
        let wanted = matrices.format.elementType
        let rowBytes = depth * wanted.byteCount
        // Absent columns stay zero.
        memset(converted, 0, 16 * rowBytes)
        let tensors = job.rows(group)
        if matrices.gated {
            for (part, tensor) in tensors.enumerated() {
                let start = panel * PanelLayout.half
                try stage(
                    tensor.name, start..<min(start + PanelLayout.half, tensor.count), staged,
                    converted + part * PanelLayout.half * rowBytes, wanted)
            }
        } else {
            // The panel's columns, cut where one tensor's rows end and the next one's begin.
            var first = 0
            let columns = panel * PanelLayout.width..<min((panel + 1) * PanelLayout.width, matrices.columns)
            for tensor in tensors {
                let part = columns.clamped(to: first..<first + tensor.count)
                if !part.isEmpty {
                    try stage(
                        tensor.name, part.lowerBound - first..<part.upperBound - first, staged,
                        converted + (part.lowerBound - columns.lowerBound) * rowBytes, wanted)
                }
                first += tensor.count
            }
        }
        let target = matrices.weights + group * matrices.groupBytes + panel * matrices.panelBytes
        switch wanted {
        case .float32: interleaveWords(converted, target, depth)
        case .bfloat16, .float16: interleaveHalves(converted, target, depth)
        }
    }

    /// Reads rows of a tensor, rejects what is not finite, and leaves them in the wanted type.
    private func stage(
        _ name: WeightName, _ rows: Range<Int>, _ staged: UnsafeMutableRawPointer,
        _ converted: UnsafeMutableRawPointer, _ wanted: ElementType
    ) throws(MoEError) {
        guard !rows.isEmpty else { return }
        let depth = job.matrices.depth
        let stored = source.plainType(of: name)
        let count = rows.count * depth
        let target = stored == wanted ? converted : staged
        try source.read(name, rows: rows, into: .init(start: target, count: count * stored.byteCount))
        if let odd = firstNotFinite(target, stored, count) {
            throw .notFinite(source.describe(name), row: rows.lowerBound + odd / depth, column: odd % depth)
        }
        guard stored != wanted else { return }
        convert(staged, stored, converted, wanted, count)
        if let odd = firstNotFinite(converted, wanted, count) {
            throw .weights(
                tensor: source.describe(name),
                problem:
                    "the value at [\(rows.lowerBound + odd / depth), \(odd % depth)] is too large for \(wanted.rawValue)"
            )
        }
    }
}

/// The index of the first infinity or NaN. Looks at all exponents first, which vectorises; searches only when one is found.
private func firstNotFinite(_ values: UnsafeRawPointer, _ type: ElementType, _ count: Int) -> Int? {
    switch type {
    case .float32:
        let bits = values.assumingMemoryBound(to: UInt32.self)
        var found: UInt32 = 0
        for index in 0..<count { found |= bits[index] & 0x7f80_0000 == 0x7f80_0000 ? 1 : 0 }
        return found == 0 ? nil : (0..<count).first { bits[$0] & 0x7f80_0000 == 0x7f80_0000 }
    case .bfloat16, .float16:
        let mask: UInt16 = type == .bfloat16 ? 0x7f80 : 0x7c00
        let bits = values.assumingMemoryBound(to: UInt16.self)
        var found: UInt16 = 0
        for index in 0..<count { found |= bits[index] & mask == mask ? 1 : 0 }
        return found == 0 ? nil : (0..<count).first { bits[$0] & mask == mask }
    }
}

/// Through fp32, which holds every 16-bit value exactly.
private func convert(
    _ source: UnsafeRawPointer, _ from: ElementType, _ target: UnsafeMutableRawPointer, _ to: ElementType, _ count: Int
) {
    let words = source.assumingMemoryBound(to: Float.self)
    let halves = source.assumingMemoryBound(to: UInt16.self)
    let outWords = target.assumingMemoryBound(to: Float.self)
    let outHalves = target.assumingMemoryBound(to: UInt16.self)
    for index in 0..<count {
        let value =
            switch from {
            case .float32: words[index]
            case .bfloat16: Float(BFloat16(bitPattern: halves[index]))
            case .float16: Half.value(halves[index])
            }
        switch to {
        case .float32: outWords[index] = value
        case .bfloat16: outHalves[index] = BFloat16(value).bitPattern
        case .float16: outHalves[index] = Half.bits(value)
        }
    }
}

/// k values taken together while interleaving: a cache line of each source row, read whole while it is there. Sixteen rows of a
/// power-of-two length share one cache set, so walking down the columns would miss on every value.
private let interleaveStep = 32

/// [16][depth] words → [depth][16] words.
private func interleaveWords(_ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer, _ depth: Int) {
    let rows = source.assumingMemoryBound(to: UInt32.self)
    let out = target.assumingMemoryBound(to: UInt32.self)
    var start = 0
    while start < depth {
        let end = min(start &+ interleaveStep, depth)
        for column in 0..<16 {
            let row = rows + column &* depth
            for k in start..<end { out[k &* 16 &+ column] = row[k] }
        }
        start = end
    }
}

/// [16][depth] halves → [depth][8] words, column i low and column 8 + i high.
private func interleaveHalves(_ source: UnsafeRawPointer, _ target: UnsafeMutableRawPointer, _ depth: Int) {
    let rows = source.assumingMemoryBound(to: UInt16.self)
    let out = target.assumingMemoryBound(to: UInt32.self)
    var start = 0
    while start < depth {
        let end = min(start &+ interleaveStep, depth)
        for column in 0..<8 {
            let low = rows + column &* depth
            let high = rows + (column &+ 8) &* depth
            for k in start..<end { out[k &* 8 &+ column] = UInt32(low[k]) | UInt32(high[k]) << 16 }
        }
        start = end
    }
}
