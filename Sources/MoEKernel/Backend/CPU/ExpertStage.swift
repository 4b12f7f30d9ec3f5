import CPlatform
import MicroKernels
import Synchronization

/// The experts' work as the pool runs it, in the order of an ``ExpertSchedule``.
struct ExpertStage: NodeWork {
    let backend: CPUBackend
    /// What the routed experts read, and what the shared one does.
    let x: Activations
    let tokens: Activations
    /// A tile for each token, of which experts that have one row read it; nil where they read it packed.
    let loneRows: ActivationTiles?
    let plan: Dispatch
    let memory: CPUStageBuffers
    let schedule: ExpertSchedule
    let inner: InnerFunction

    func firstTask(ofNode node: Int) -> Int { schedule.firstTasks[node] }

    func run(task index: Int, worker: Int) {
        let task = schedule.tasks[index]
        let unit = schedule.units[Int(task.unit)]
        let before = unit.predecessor < 0 ? nil : schedule.progress + Int(unit.predecessor)
        let progress = schedule.progress + Int(task.unit)
        let panels = Int(task.firstPanel)..<Int(task.firstPanel + task.panels)
        switch task.step {
        case .pack:
            if let before { wait(for: before.pointee.inner) }
            pack(unit)
            finish(progress.pointee.pack)
        case .inner:
            wait(for: progress.pointee.pack)
            if let before { wait(for: before.pointee.down) }
            computeInner(unit, panels: panels, after: following(index), worker: worker)
            finish(progress.pointee.inner)
        case .down:
            wait(for: progress.pointee.inner)
            backend.sweep(
                downBlock(unit), panels: panels, epilogue: downEpilogue(unit), after: following(index),
                scratch: memory.scratch, worker: worker)
            finish(progress.pointee.down)
        }
    }

    /// Gate and up, and the activation of their sums.
    private func computeInner(_ unit: ExpertUnit, panels: Range<Int>, after: UnsafeRawPointer?, worker: Int) {
        let block = innerBlock(unit)
        let epilogue = innerEpilogue(unit)
        guard let kept = memory.keptSums, !block.matrices.format.roundsActivations else {
            return backend.sweep(
                block, panels: panels, epilogue: epilogue, after: after, scratch: memory.scratch, worker: worker)
        }
        let sums = kept + worker * memory.keptSumsFloats
        backend.sweep(
            block, panels: panels, epilogue: .keep(sums), after: after, scratch: memory.scratch, worker: worker)
        backend.finish(block, panels: panels, sums: sums, epilogue: epilogue)
    }

    private func wait(for left: borrowing Atomic<UInt32>) {
        backend.pool.parking.wait(for: left) { $0 == 0 }
    }

    /// One task less.
    private func finish(_ left: borrowing Atomic<UInt32>) {
        if left.wrappingSubtract(1, ordering: .sequentiallyConsistent).newValue == 0 { backend.pool.parking.wake(left) }
    }

    /// The weights that this worker will probably want after its task: as many tasks on as its node has workers.
    private func following(_ index: Int) -> UnsafeRawPointer? {
        let placement = schedule.placement
        var node = 0
        while index >= schedule.firstTasks[node + 1] { node += 1 }
        let next = index + placement.threads(of: node)
        guard next < schedule.firstTasks[node + 1], schedule.tasks[next].step != .pack else { return nil }
        let task = schedule.tasks[next]
        let unit = schedule.units[Int(task.unit)]
        let matrices = task.step == .inner ? innerMatrices(unit) : downMatrices(unit)
        return matrices.weights(ofGroup: max(Int(unit.expert), 0)) + Int(task.firstPanel) * matrices.panelBytes
    }

    private func innerMatrices(_ unit: ExpertUnit) -> PackedMatrices {
        unit.expert < 0 ? backend.weights.sharedInner! : backend.weights.inner
    }
    private func downMatrices(_ unit: ExpertUnit) -> PackedMatrices {
        unit.expert < 0 ? backend.weights.sharedDown! : backend.weights.down
    }
    private func split(_ unit: ExpertUnit) -> TileSplit { TileSplit(rows: Int(unit.rows), count: Int(unit.tiles)) }

    private func innerBlock(_ unit: ExpertUnit) -> RowBlock {
        let matrices = innerMatrices(unit)
        return RowBlock(
            matrices: matrices, group: max(Int(unit.expert), 0), activations: innerInput(unit, matrices),
            split: split(unit))
    }

    /// The rows that gate and up read.
    private func innerInput(_ unit: ExpertUnit, _ matrices: PackedMatrices) -> ActivationTiles {
        if unit.expert < 0, !matrices.format.roundsActivations {
            return backend.tokenTiles(tokens, depth: matrices.depth, packed: memory.tokenTiles).from(
                Int(unit.firstTile))
        }
        if let loneRows, unit.isLoneRow { return loneRows.from(Int(plan.rowTokens[Int(unit.firstRow)])) }
        return ActivationTiles(
            packed: memory.rowTiles + Int(unit.place) * memory.rowTileFloats, depth: matrices.depth,
            tileRows: backend.tuning.tileRows)
    }

    private func innerTiles(_ unit: ExpertUnit) -> UnsafeMutablePointer<Float> {
        memory.innerTiles + Int(unit.place) * memory.innerTileFloats
    }

    private func innerEpilogue(_ unit: ExpertUnit) -> Epilogue {
        let tileFloats = downMatrices(unit).tileFloats(backend.tuning.tileRows)
        return switch inner {
        case .elementwise(let code):
            .activate(
                code, gated: innerMatrices(unit).gated, tiles: innerTiles(unit), tileStride: tileFloats)
        case .clamped(let clamp): .activateClamped(clamp, tiles: innerTiles(unit), tileStride: tileFloats)
        }
    }

    private func downBlock(_ unit: ExpertUnit) -> RowBlock {
        let matrices = downMatrices(unit)
        return RowBlock(
            matrices: matrices, group: max(Int(unit.expert), 0),
            activations: innerInput(unit, innerMatrices(unit)).followed(
                by: innerTiles(unit), depth: matrices.depth, tileRows: backend.tuning.tileRows),
            split: split(unit))
    }

    private func downEpilogue(_ unit: ExpertUnit) -> Epilogue {
        let columns = downMatrices(unit).columns
        let rows = unit.expert < 0 ? memory.sharedRows : memory.rows
        return .store(rows + Int(unit.firstRow) * columns, columns: columns)
    }

    /// Gathers the unit's token rows while packing them; no other copy of the activations is made.
    private func pack(_ unit: ExpertUnit) {
        let split = split(unit)
        let matrices = innerMatrices(unit)
        let isShared = unit.expert < 0
        let input = isShared ? tokens : x
        let tileFloats = matrices.tileFloats(backend.tuning.tileRows)
        for tile in 0..<split.count {
            let row = Int(unit.firstRow) + split.start(tile)
            let pack = PackRows(
                source: input.base, bfloat16: input.type == .bfloat16, depth: matrices.depth,
                tokens: isShared ? nil : plan.rowTokens + row, firstToken: isShared ? row : 0,
                rows: split.start(tile + 1) - split.start(tile),
                factors: isShared ? nil : memory.rowWeights.map { UnsafePointer($0 + row) },
                tile: memory.rowTiles + (Int(unit.place) * memory.rowTileFloats + tile * tileFloats),
                blockStride: backend.tuning.tileRows * PanelLayout.block)
            if matrices.format.roundsActivations {
                backend.roundingKernels.pack(pack)
            } else {
                backend.kernels.pack(pack)
            }
        }
    }
}
