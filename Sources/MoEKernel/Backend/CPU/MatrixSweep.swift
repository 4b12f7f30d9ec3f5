import MicroKernels

/// Rows of activations as sweeps read them: k by k in tiles. A row of fp32 is a tile of one row where it lies.
struct ActivationTiles: @unchecked Sendable {
    let base: UnsafePointer<Float>
    /// Floats from one tile to the next, and from one reduction block of a tile to the next.
    let tileStride: Int
    let blockStride: Int

    /// Tiles of at most `tileRows` packed rows, for a reduction of some depth.
    init(packed base: UnsafePointer<Float>, depth: Int, tileRows: Int) {
        self.base = base
        tileStride = PanelLayout.tileFloats(depth: depth, tileRows: tileRows)
        blockStride = tileRows * PanelLayout.block
    }

    /// Rows of fp32, each a tile.
    init(rows base: UnsafePointer<Float>, depth: Int) {
        self.base = base
        tileStride = depth
        blockStride = PanelLayout.block
    }

    private init(base: UnsafePointer<Float>, tileStride: Int, blockStride: Int) {
        self.base = base
        self.tileStride = tileStride
        self.blockStride = blockStride
    }

    /// Those from some tile on.
    func from(_ tile: Int) -> ActivationTiles {
        ActivationTiles(base: base + tile * tileStride, tileStride: tileStride, blockStride: blockStride)
    }

    /// What a sweep over these leaves for the next reduction, of some depth: its blocks are as far apart as these ones'.
    func followed(by base: UnsafePointer<Float>, depth: Int, tileRows: Int) -> ActivationTiles {
        ActivationTiles(
            base: base, tileStride: PanelLayout.tileFloats(depth: depth, tileRows: tileRows), blockStride: blockStride)
    }
}

/// Rows of activations, and one matrix of some packed matrices that they are multiplied by.
struct RowBlock {
    let matrices: PackedMatrices
    let group: Int
    /// How the rows are spread over the tiles.
    let activations: ActivationTiles
    let split: TileSplit
}

/// Scratch memory of a pool's workers for sweeps.
struct SweepScratch: @unchecked Sendable {
    let base: UnsafeMutablePointer<Float>
    let size: Size

    /// Floats of a worker.
    struct Size {
        /// Weights that were widened, or activations that are to be rounded.
        let widened: Int
        let accumulators: Int
        var total: Int { widened + accumulators }

        /// What blocks of at most `rows` rows need.
        ///
        /// - Parameter panelsTogether: The most panels that a lone tile of the kernels takes.
        init(rows: Int, tuning: CPUTuning, panelsTogether: Int, roundsActivations: Bool = false) {
            widened = max(
                tuning.sharedPanels * PanelLayout.block * PanelLayout.width,
                roundsActivations ? rows * RoundedActivations.group : 0)
            // A transposition reads eight rows even where fewer are left.
            let shared = max(tuning.sharedPanels, PanelLayout.mostPanelsPerRow)
            accumulators = 16 * (max(rows * shared, tuning.tileRows * panelsTogether) + 7)
        }
    }
}

extension CPUBackend {
    /// Panels are dealt in multiples of this, so that tiles of few rows find theirs together.
    static let panelUnit = 8

    /// Row tiles that a block may have so that its activations stay in the second-level cache, `depth` being the longest reduction
    /// that reads them. With fewer than eight the weights would be read from memory too often for their use.
    static func blockTiles(_ tuning: CPUTuning, depth: Int) -> Int {
        max(tuning.activationBytes / (PanelLayout.tileFloats(depth: depth, tileRows: tuning.tileRows) * 4), 8)
    }

    /// Multiplies a block of rows by some panels on this thread.
    ///
    /// - Parameter after: Weights that are wanted next, to be asked for meanwhile.
    func sweep(
        _ block: RowBlock, panels: Range<Int>, epilogue: Epilogue, after: UnsafeRawPointer?, scratch: SweepScratch,
        worker: Int
    ) {
        let matrices = block.matrices
        let mine = scratch.base + worker * scratch.size.total
        let sweep = PanelSweep(
            activations: block.activations.base, tileStride: block.activations.tileStride,
            blockStride: block.activations.blockStride, tiles: block.split, depth: matrices.depth,
            weights: matrices.weights(ofGroup: block.group), format: matrices.format, panels: panels,
            after: after,
            biases: matrices.biases.map {
                UnsafePointer($0 + block.group * matrices.panels * PanelLayout.width)
            },
            accumulators: mine + scratch.size.widened, widened: mine, epilogue: epilogue,
            tuning: tuning.sweep)
        if matrices.format.roundsActivations { roundingKernels.sweep(sweep) } else { kernels.sweep(sweep) }
    }

    /// What an epilogue does with the sums that a sweep kept, in a pass of its own.
    func finish(
        _ block: RowBlock, panels: Range<Int>, sums: UnsafeMutablePointer<Float>, epilogue: Epilogue
    ) {
        for panel in panels {
            // A sweep of no depth is its epilogue alone; neither activations nor weights are looked at.
            let place = sums + panel * block.split.rows * PanelLayout.width
            kernels.sweep(
                PanelSweep(
                    activations: block.activations.base, tileStride: 0, blockStride: block.activations.blockStride,
                    tiles: block.split, depth: 0, weights: UnsafeRawPointer(place), format: .float32,
                    panels: panel..<panel + 1, after: nil, biases: nil, accumulators: place, widened: place,
                    epilogue: epilogue, tuning: tuning.sweep))
        }
    }

    /// Multiplies all tokens by a lone matrix and stores the rows of its result, [tokens, columns].
    func multiply(
        _ matrices: PackedMatrices, _ tiles: ActivationTiles, into rows: UnsafeMutablePointer<Float>,
        _ memory: CPUStageBuffers
    ) {
        let work = MatrixSweep(backend: self, matrices: matrices, tiles: tiles, rows: rows, memory: memory)
        pool.run(work, tasks: work.count)
    }
}

/// A lone matrix against all tokens, cut into blocks of rows by runs of panels.
private struct MatrixSweep: ParallelWork {
    let backend: CPUBackend
    let matrices: PackedMatrices
    let tiles: ActivationTiles
    let rows: UnsafeMutablePointer<Float>
    let scratch: SweepScratch
    private let split: TileSplit
    private let tilesPerBlock: Int
    private let panelsPerTask: Int
    private let runs: Int

    init(
        backend: CPUBackend, matrices: PackedMatrices, tiles: ActivationTiles, rows: UnsafeMutablePointer<Float>,
        memory: CPUStageBuffers
    ) {
        self.backend = backend
        self.matrices = matrices
        self.tiles = tiles
        self.rows = rows
        scratch = memory.scratch
        split = TileSplit(rows: memory.tokens, tileRows: backend.tuning.tileRows)
        let blocks = split.blocks(of: CPUBackend.blockTiles(backend.tuning, depth: matrices.depth))
        tilesPerBlock = (split.count + blocks - 1) / blocks
        let wanted = max(backend.pool.threads * backend.tuning.tasksPerThread / blocks, 1)
        // A lone token's router is read from memory, which one core alone does not read as fast as all of them; but a task of less than some
        // microseconds is done before another core has heard of it.
        var unit = CPUBackend.panelUnit
        while unit > 2, blocks * matrices.panels < backend.pool.threads * unit, matrices.panelBytes * unit > 128 << 10 {
            unit /= 2
        }
        panelsPerTask = (matrices.panels / wanted + unit) / unit * unit
        runs = (matrices.panels + panelsPerTask - 1) / panelsPerTask
    }

    var count: Int { (split.count + tilesPerBlock - 1) / tilesPerBlock * runs }

    func run(task: Int, worker: Int) {
        let (block, run) = task.quotientAndRemainder(dividingBy: runs)
        let tile = block * tilesPerBlock
        let part = split.part(tiles: tile..<min(tile + tilesPerBlock, split.count))
        let panels = run * panelsPerTask..<min((run + 1) * panelsPerTask, matrices.panels)
        backend.sweep(
            RowBlock(
                matrices: matrices, group: 0, activations: tiles.from(tile), split: part),
            panels: panels,
            epilogue: .store(rows + split.start(tile) * matrices.columns, columns: matrices.columns), after: nil,
            scratch: scratch, worker: worker)
    }
}

extension TileSplit {
    /// Blocks that no more than `tiles` tiles each make.
    func blocks(of tiles: Int) -> Int { max((count + tiles - 1) / tiles, 1) }

    /// The rows of some neighbouring tiles, which they are spread over as here.
    func part(tiles: Range<Int>) -> TileSplit {
        TileSplit(rows: start(tiles.upperBound) - start(tiles.lowerBound), count: tiles.count)
    }
}
