import MicroKernels
import Synchronization

/// A block of rows of one expert (or of the shared expert), which passes through three steps: its rows are packed, multiplied by gate
/// and up and activated, multiplied by down.
struct ExpertUnit {
    /// The expert; -1 for the shared one, whose rows are all tokens and already packed.
    var expert: Int32
    /// First row, among all experts' rows; for the shared expert, first tile and token.
    var firstTile: Int32
    var firstRow: Int32
    var rows: Int32
    var tiles: Int32
    /// Where its tiles stand in the buffers, and the unit that stood there before; -1 for none.
    var place: Int32
    var predecessor: Int32
}

/// A piece of a unit's step that one worker does.
struct ExpertTask {
    enum Step: UInt8 { case pack, inner, down }
    var unit: Int32
    var step: Step
    var firstPanel: Int32
    var panels: Int32
}

/// What is left to do of each step of a unit.
struct ExpertProgress: ~Copyable {
    let pack = Atomic<Int32>(0)
    let inner = Atomic<Int32>(0)
    let down = Atomic<Int32>(0)
}

/// The order in which the experts' work is dealt out.
///
/// All three steps of all units form one list, so that no thread waits between them: while the last of one expert's gate and up is
/// still computed, others begin with the next. A unit's packing goes ahead of its gate and up, and its down follows, at a distance of
/// some units (`lag`); so what a task waits for was dealt out long before and is nearly always done. A task waits only for earlier
/// ones, and tasks are dealt in order: whoever is waited for is running, and there is no deadlock.
///
/// Packed rows and inner activations live in a ring of buffers that a few units at a time use, and stay near the cores: a large
/// batch's gathered activations as a whole are never stored.
struct ExpertSchedule {
    let units: UnsafeMutablePointer<ExpertUnit>
    let tasks: UnsafeMutablePointer<ExpertTask>
    let progress: UnsafeMutablePointer<ExpertProgress>
    let taskCapacity: Int
    /// The most tiles a unit has, and those that the buffers hold.
    let unitTiles: Int
    let bufferTiles: Int
    let tuning: CPUTuning
    let threads: Int
    private(set) var unitCount = 0
    private(set) var taskCount = 0
    private var tiles = 0
    private var packsShared = false
    /// Tasks that must still be listed, were nothing cut finer: whatever is cut leaves room for them.
    private var owed = 0

    /// The longest lag: one unit where a unit has tasks for all threads, one more for each other thread where it has but one.
    private static func longestLag(threads: Int) -> Int { threads }

    /// Tiles that buffers need, of all `tiles` that a batch can have: those of the units that are packed ahead, computed, and not yet
    /// done with.
    static func bufferTiles(of tiles: Int, unitTiles: Int, threads: Int) -> Int {
        min(tiles, unitTiles * (longestLag(threads: threads) + 3))
    }

    /// Room for the tasks of `units` units: three each, and some for cutting them finer.
    static func taskCapacity(units: Int, tuning: CPUTuning, threads: Int) -> Int {
        3 * units + 4 * threads * tuning.tasksPerThread
    }

    init(
        units: UnsafeMutablePointer<ExpertUnit>, tasks: UnsafeMutablePointer<ExpertTask>,
        progress: UnsafeMutablePointer<ExpertProgress>, taskCapacity: Int, unitTiles: Int, bufferTiles: Int,
        tuning: CPUTuning, threads: Int
    ) {
        self.units = units
        self.tasks = tasks
        self.progress = progress
        self.taskCapacity = taskCapacity
        self.unitTiles = unitTiles
        self.bufferTiles = bufferTiles
        self.tuning = tuning
        self.threads = threads
    }

    /// Adds an expert's rows.
    mutating func add(expert: Int, firstRow: Int, rows: Int) {
        let split = TileSplit(rows: rows, tileRows: tuning.tileRows)
        let blocks = split.blocks(of: unitTiles)
        var tile = 0
        for block in 0..<blocks where split.count > 0 {
            // Blocks of nearly equal size.
            let tiles = (split.count - tile + blocks - block - 1) / (blocks - block)
            let part = split.part(tiles: tile..<tile + tiles)
            units[unitCount] = ExpertUnit(
                expert: Int32(expert), firstTile: Int32(tile), firstRow: Int32(firstRow + split.start(tile)),
                rows: Int32(part.rows), tiles: Int32(tiles), place: Int32(self.tiles), predecessor: -1)
            (progress + unitCount).initialize(to: ExpertProgress())
            unitCount += 1
            tile += tiles
            self.tiles += tiles
        }
    }

    /// Panels of a product's matrix, of routed experts and of the shared one.
    struct Width {
        var routed: Int
        var shared: Int
        func panels(_ unit: ExpertUnit) -> Int { unit.expert < 0 ? shared : routed }
    }

    /// Lists the tasks of all units.
    ///
    /// - Parameter packsShared: Whether the shared expert's rows must be packed too.
    mutating func cut(inner: Width, down: Width, packsShared: Bool = false) {
        self.packsShared = packsShared
        guard unitCount > 0 else { return }
        let tasksPerUnit = max(threads * tuning.tasksPerThread / unitCount, 1)
        let lag = 1 + (threads - 1) / tasksPerUnit
        shareBuffers(lag: lag)
        owed = 3 * unitCount
        var innerCutter = Cutter(self, width: inner)
        var downCutter = Cutter(self, width: down)
        for unit in 0...lag { pack(unit) }
        for unit in 0..<unitCount + lag {
            if unit < unitCount { emit(unit, .inner, &innerCutter) }
            if unit >= lag { emit(unit - lag, .down, &downCutter) }
            pack(unit + lag + 1)
        }
    }

    /// Where the buffers do not hold all units, they are dealt out in turn.
    private mutating func shareBuffers(lag: Int) {
        guard tiles > bufferTiles else { return }
        let slots = min(lag + 3, bufferTiles / unitTiles)
        for unit in 0..<unitCount {
            units[unit].place = Int32(unit % slots * unitTiles)
            units[unit].predecessor = Int32(max(unit - slots, -1))
        }
    }

    private mutating func pack(_ unit: Int) {
        guard unit < unitCount else { return }
        owed -= 1
        guard units[unit].expert >= 0 || packsShared else { return }
        tasks[taskCount] = ExpertTask(unit: Int32(unit), step: .pack, firstPanel: 0, panels: 0)
        progress[unit].pack.store(1, ordering: .relaxed)
        taskCount += 1
    }

    private mutating func emit(_ unit: Int, _ step: ExpertTask.Step, _ cutter: inout Cutter) {
        let panels = cutter.width.panels(units[unit])
        var panel = 0
        var count: Int32 = 0
        owed -= 1
        while panel < panels {
            let canBeCut = taskCapacity - taskCount - owed > 1
            let width = canBeCut ? min(cutter.next(units[unit]), panels - panel) : panels - panel
            tasks[taskCount] = ExpertTask(
                unit: Int32(unit), step: step, firstPanel: Int32(panel), panels: Int32(width))
            cutter.take(units[unit], width)
            taskCount += 1
            count += 1
            panel += width
        }
        if step == .inner {
            progress[unit].inner.store(count, ordering: .relaxed)
        } else {
            progress[unit].down.store(count, ordering: .relaxed)
        }
    }

    /// How wide the tasks of one product are: an even share each, smaller ones towards the end, so that threads finish together.
    private struct Cutter {
        let width: Width
        private let share: Int
        private let threads: Int
        private var left: Int

        init(_ schedule: ExpertSchedule, width: Width) {
            self.width = width
            threads = schedule.threads
            left = 0
            for unit in 0..<schedule.unitCount {
                left += Self.cost(schedule.units[unit]) * width.panels(schedule.units[unit])
            }
            share = left / (schedule.threads * schedule.tuning.tasksPerThread)
        }

        /// Work of a panel: that of its rows, but at least the reading of its weights, which is that of about six rows.
        private static func cost(_ unit: ExpertUnit) -> Int { max(Int(unit.rows), 6) }

        func next(_ unit: ExpertUnit) -> Int {
            let cost = min(share, left / (4 * threads))
            return max(cost / Self.cost(unit) / CPUBackend.panelUnit, 1) * CPUBackend.panelUnit
        }

        mutating func take(_ unit: ExpertUnit, _ panels: Int) { left -= panels * Self.cost(unit) }
    }
}
