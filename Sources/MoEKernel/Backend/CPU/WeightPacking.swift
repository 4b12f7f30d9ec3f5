import MicroKernels

/// Fills packed matrices from a weight source, in parallel: rows of outputs a panel at a time (``PanelRowPacking``), rows of inputs in
/// runs of k (``TransposedPacking``). Every stored row is read once; what is staged at a time stays in the second-level cache.
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
        for group in 0..<matrices.groups {
            for tensor in rows(group) { _ = try source.validFormat(of: tensor.name) }
        }
        let failure = FirstFailure()
        let pages = PageTouch(base: matrices.weights, byteCount: matrices.groups * matrices.groupBytes)
        pool.run(pages, tasks: pages.count)
        if isTransposed(source) {
            let work = try TransposedPacking(job: self, source: source, workers: pool.threads, failure: failure)
            pool.run(work, tasks: matrices.groups * work.runs)
        } else {
            let work = try PanelRowPacking(
                job: self, source: source, configuration: configuration, workers: pool.threads, failure: failure)
            pool.run(work, tasks: matrices.groups * work.chunks)
        }
        if let error = failure.error { throw error }
        if matrices.hasBiases {
            for group in 0..<matrices.groups { try packBiases(group, configuration, from: source) }
        }
    }

    /// Whether all tensors store rows of inputs, and one tensor, or gate and up side by side, fills a panel.
    private func isTransposed(_ source: any WeightSource) -> Bool {
        (0..<matrices.groups).allSatisfy { group in
            let tensors = rows(group)
            return tensors.count == (matrices.gated ? 2 : 1)
                && tensors.allSatisfy { if case .transposed = source.format(of: $0.name) { true } else { false } }
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

/// Asks the system for memory one large page a task, before it is filled. Two threads that come upon the same absent page both clear
/// one, and one clears for nothing.
private struct PageTouch: ParallelWork {
    let base: UnsafeMutableRawPointer
    let byteCount: Int

    private static let pageBytes = 1 << 21
    private var first: Int { Int(bitPattern: base) / Self.pageBytes }
    /// Pages that the memory has a part in; none where it is too small to bother.
    var count: Int {
        byteCount < Self.pageBytes ? 0 : (Int(bitPattern: base) + byteCount - 1) / Self.pageBytes - first + 1
    }

    func run(task: Int, worker: Int) {
        let page = (first + task) * Self.pageBytes - Int(bitPattern: base)
        // What is not packed yet is zero.
        base.storeBytes(of: 0, toByteOffset: max(page, 0), as: UInt8.self)
    }
}
