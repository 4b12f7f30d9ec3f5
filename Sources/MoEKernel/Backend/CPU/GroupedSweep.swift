import MicroKernels

/// One task of a grouped GEMM: some row tiles of a group against some panels of its matrix.
struct SweepTask {
    var group: Int32
    /// The first tile and row within the group.
    var firstTile: Int32
    var firstRow: Int32
    var tiles: Int32
    var rows: Int32
    var firstPanel: Int32
    var panels: Int32
}

/// Cuts a grouped GEMM into tasks.
///
/// Rows are cut so that a task's activations stay in the second-level cache while its weights stream past; columns so that there
/// are about sixteen tasks a thread, which bounds the wait for the last one to a few percent. Tasks follow the groups, so each
/// weight is fetched from memory once a row block and neighbouring tasks share activations.
struct SweepPlanner {
    let tileRows: Int
    let threads: Int
    /// Bytes of activations a task may keep: half the second-level cache.
    let activationBytes: Int

    static let tasksPerThread = 16
    /// Panels are dealt in multiples of this, so that tiles of few rows find theirs together.
    static let panelUnit = 8

    /// An upper bound on the tasks of ``plan(rows:matrices:into:)``.
    static func capacity(tiles: Int, groups: Int, threads: Int) -> Int { tasksPerThread * threads + 2 * tiles + groups }

    /// Writes the tasks and returns how many. `rows` tells each group's row count.
    func plan(rows: (Int) -> Int, matrices: PackedMatrices, into tasks: UnsafeMutablePointer<SweepTask>) -> Int {
        let panels = matrices.panels
        var cost = 0
        for group in 0..<matrices.groups { cost += rows(group) * panels }
        let target = max(cost / (threads * Self.tasksPerThread), 1)
        let blockTiles = blockTiles(matrices)
        var count = 0
        for group in 0..<matrices.groups {
            let split = TileSplit(rows: rows(group), tileRows: tileRows)
            var tile = 0
            while tile < split.count {
                // Row blocks of one group of nearly equal size.
                let blocksLeft = (split.count - tile + blockTiles - 1) / blockTiles
                let tiles = (split.count - tile + blocksLeft - 1) / blocksLeft
                let first = split.start(tile)
                let blockRows = split.start(tile + tiles) - first
                let wanted = (target / blockRows + Self.panelUnit) / Self.panelUnit * Self.panelUnit
                var panel = 0
                while panel < panels {
                    let width = min(wanted, panels - panel)
                    tasks[count] = SweepTask(
                        group: Int32(group), firstTile: Int32(tile), firstRow: Int32(first), tiles: Int32(tiles),
                        rows: Int32(blockRows), firstPanel: Int32(panel), panels: Int32(width))
                    count += 1
                    panel += width
                }
                tile += tiles
            }
        }
        return count
    }

    private func blockTiles(_ matrices: PackedMatrices) -> Int {
        max(activationBytes / (matrices.tileFloats(tileRows) * 4), Self.minimumTiles)
    }

    /// The most rows a task of a layer can have.
    func largestBlockRows(_ weights: CPUWeights) -> Int {
        let all = [
            weights.router, weights.inner, weights.down, weights.latentIn, weights.latentOut, weights.sharedInner,
            weights.sharedDown,
        ]
        return all.reduce(tileRows) { max($0, $1.map { blockTiles($0) * tileRows } ?? 0) }
    }

    /// With fewer row tiles the weights would be read from memory too often for their use.
    private static let minimumTiles = 8
}

/// A grouped GEMM over packed activation tiles, as pool work.
struct GroupedSweep: ParallelWork {
    let kernels: any KernelSet
    let tasks: UnsafePointer<SweepTask>
    let matrices: PackedMatrices
    /// All groups' activation tiles, and the first tile of each group (nil: a single group from tile 0).
    let activations: UnsafePointer<Float>
    let groupTiles: UnsafePointer<Int32>?
    let result: Result
    /// Scratch, `scratchFloats` a worker: accumulators, then widened weights.
    let scratch: UnsafeMutablePointer<Float>
    let scratchFloats: Int

    enum Result {
        /// Activated values into the tiles of the next matrix.
        case activate(InnerFunction, tiles: UnsafeMutablePointer<Float>, tileFloats: Int)
        /// Row-major rows, those of a group from `groupRows` on (nil: from row 0).
        case store(UnsafeMutablePointer<Float>, groupRows: UnsafePointer<Int32>?)
    }

    /// Floats of scratch a worker needs for tasks of at most `rows` rows.
    static func scratchFloats(rows: Int, kernels: any KernelSet) -> Int {
        let accumulators = 16 * max(rows, kernels.tileRows * kernels.panelsTogether)
        return accumulators + PanelLayout.block * PanelLayout.width
    }

    func run(task index: Int, worker: Int) {
        let task = tasks[index]
        let group = Int(task.group)
        let tile = Int(groupTiles?[group] ?? 0) + Int(task.firstTile)
        let tileFloats = matrices.tileFloats(kernels.tileRows)
        let epilogue: Epilogue =
            switch result {
            case .activate(.elementwise(let code), let tiles, let outFloats):
                .activate(code, gated: matrices.gated, tiles: tiles + tile * outFloats, tileStride: outFloats)
            case .activate(.clamped(let clamp), let tiles, let outFloats):
                .activateClamped(clamp, tiles: tiles + tile * outFloats, tileStride: outFloats)
            case .store(let rows, let groupRows):
                .store(
                    rows + (Int(groupRows?[group] ?? 0) + Int(task.firstRow)) * matrices.columns,
                    columns: matrices.columns)
            }
        let mine = scratch + worker * scratchFloats
        kernels.sweep(
            PanelSweep(
                activations: activations + tile * tileFloats, tileStride: tileFloats,
                tiles: TileSplit(rows: Int(task.rows), count: Int(task.tiles)), depth: matrices.depth,
                weights: matrices.weights + group * matrices.groupBytes, format: matrices.format,
                panels: Int(task.firstPanel)..<Int(task.firstPanel) + Int(task.panels),
                biases: matrices.biases.map { UnsafePointer($0 + group * matrices.panels * PanelLayout.width) },
                accumulators: mine + PanelLayout.block * PanelLayout.width, widened: mine, epilogue: epilogue))
    }
}
