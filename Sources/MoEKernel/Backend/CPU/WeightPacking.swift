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
        let placement = pool.placement
        pool.run(byNode: PageTouch(matrices: matrices, placement: placement), bound: true)
        if isTransposed(source) {
            let work = try TransposedPacking(job: self, source: source, workers: pool.threads, failure: failure)
            pool.run(byNode: GroupsByNode(work, groups: matrices.groups, tasksPerGroup: work.runs, placement))
        } else {
            let work = try PanelRowPacking(
                job: self, source: source, configuration: configuration, workers: pool.threads, failure: failure)
            pool.run(byNode: GroupsByNode(work, groups: matrices.groups, tasksPerGroup: work.chunks, placement))
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
///
/// The system takes a page from the node of the thread that touches it first: so a node's workers, and only they, touch the pages of
/// its experts' matrices. A page on the border of two experts belongs to the first.
struct PageTouch: NodeWork {
    let matrices: PackedMatrices
    let placement: WorkerPlacement

    static let pageBytes = 1 << 21
    /// What the system gives where it has no large pages.
    private static let smallPageBytes = 1 << 12
    private var address: Int { Int(bitPattern: matrices.weights) }
    private var byteCount: Int { matrices.groups * matrices.groupBytes }
    private var firstPage: Int { address / Self.pageBytes }

    /// Pages that the memory has a part in; none where it is too small to bother.
    func firstTask(ofNode node: Int) -> Int {
        guard byteCount >= Self.pageBytes, node > 0 else { return 0 }
        // A lone matrix is cut anywhere.
        let offset =
            matrices.groups > 1
            ? placement.first(of: matrices.groups, node: node) * matrices.groupBytes
            : placement.first(of: byteCount, node: node)
        return (address + offset + Self.pageBytes - 1) / Self.pageBytes - firstPage
    }

    func run(task: Int, worker: Int) {
        let page = (firstPage + task) * Self.pageBytes - address
        // One touch brings a whole large page. Where it does not, packing does the rest, unless the node matters.
        let step = placement.nodes > 1 ? Self.smallPageBytes : Self.pageBytes
        for offset in stride(from: page, to: min(page + Self.pageBytes, byteCount), by: step) where offset + step > 0 {
            // What is not packed yet is zero.
            matrices.weights.storeBytes(of: 0, toByteOffset: max(offset, 0), as: UInt8.self)
        }
    }
}

/// Tasks that run through a layer's groups in order, so many a group, as those of the nodes that the groups belong to.
struct GroupsByNode<Work: ParallelWork>: NodeWork {
    private let work: Work
    private let groups: Int
    private let tasksPerGroup: Int
    private let placement: WorkerPlacement

    init(_ work: Work, groups: Int, tasksPerGroup: Int, _ placement: WorkerPlacement) {
        self.work = work
        self.groups = groups
        self.tasksPerGroup = tasksPerGroup
        self.placement = placement
    }

    func firstTask(ofNode node: Int) -> Int {
        groups > 1
            ? placement.first(of: groups, node: node) * tasksPerGroup : placement.first(of: tasksPerGroup, node: node)
    }

    func run(task: Int, worker: Int) { work.run(task: task, worker: worker) }
}
