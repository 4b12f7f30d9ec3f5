import MicroKernels
import Synchronization

/// A block of rows of one expert (or of the shared expert), which passes through three steps: its rows are packed, multiplied
/// by gate and up and activated, multiplied by down. A lone row may be read where it lies.
struct ExpertUnit {
    /// The expert; -1 for the shared one, whose rows are all tokens, already packed unless it wants rounded activations.
    var expert: Int32
    /// First row, among all experts' rows; for the shared expert, first tile and token.
    var firstTile: Int32
    var firstRow: Int32
    var rows: Int32
    var tiles: Int32
    /// Where its tiles stand in the buffers, and the unit that stood there before; -1 for none.
    var place: Int32
    var predecessor: Int32

    /// Whether it is one row of a routed expert.
    var isLoneRow: Bool { expert >= 0 && rows == 1 }
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
    let pack = Atomic<UInt32>(0)
    let inner = Atomic<UInt32>(0)
    let down = Atomic<UInt32>(0)
}

/// The order in which the experts' work is dealt out.
///
/// All three steps of all units form one list, so that no thread waits between them: while the last of one expert's gate and up
/// is still computed, others begin with the next. A unit's packing goes ahead of its gate and up, and its down follows, at a
/// distance of some units (`lag`); so what a task waits for was dealt out long before and is nearly always done. A task waits
/// only for earlier ones, and tasks are dealt in order: whoever is waited for is running, and there is no deadlock.
///
/// Packed rows and inner activations live in a ring of buffers that a few units at a time use, and stay near the cores: a large
/// batch's gathered activations as a whole are never stored.
///
/// On several memory nodes each has a list of its own, of its experts' units, and a ring of its own, so that no task waits for
/// another node's. The shared expert belongs to the first node; others help when they are done with theirs.
struct ExpertSchedule {
    let units: UnsafeMutablePointer<ExpertUnit>
    let tasks: UnsafeMutablePointer<ExpertTask>
    let progress: UnsafeMutablePointer<ExpertProgress>
    let taskCapacity: Int
    /// Where each node's tasks begin, and after the last node's, how many there are.
    let firstTasks: UnsafeMutablePointer<Int>
    /// The most tiles a unit has, and those that the buffers hold.
    let unitTiles: Int
    let bufferTiles: Int
    let tuning: CPUTuning
    let placement: WorkerPlacement
    private(set) var unitCount = 0
    private(set) var taskCount = 0
    private var tiles = 0
    private var packsShared = false
    private var packsLoneRows = true
    /// Tasks that must still be listed, were nothing cut finer: whatever is cut leaves room for them.
    private var owed = 0

    /// The longest lag: one unit where a unit has tasks for all threads, one more for each other thread where it has but one.
    private static func longestLag(threads: Int) -> Int { threads }

    /// Tiles that buffers need, of all `tiles` that a batch can have: those of the units that are packed ahead, computed, and
    /// not yet done with, on every node.
    static func bufferTiles(of tiles: Int, unitTiles: Int, placement: WorkerPlacement) -> Int {
        min(tiles, unitTiles * (0..<placement.nodes).reduce(0) { $0 + slots(of: $1, placement) })
    }

    /// Units that a node's ring holds.
    private static func slots(of node: Int, _ placement: WorkerPlacement) -> Int {
        longestLag(threads: placement.threads(of: node)) + 3
    }

    /// Room for the tasks of `units` units: three each, and some for cutting them finer.
    static func taskCapacity(units: Int, tuning: CPUTuning, threads: Int) -> Int {
        3 * units + 4 * threads * tuning.tasksPerThread
    }

    init(
        units: UnsafeMutablePointer<ExpertUnit>, tasks: UnsafeMutablePointer<ExpertTask>,
        progress: UnsafeMutablePointer<ExpertProgress>, taskCapacity: Int, firstTasks: UnsafeMutablePointer<Int>,
        unitTiles: Int, bufferTiles: Int, tuning: CPUTuning, placement: WorkerPlacement
    ) {
        self.units = units
        self.tasks = tasks
        self.progress = progress
        self.taskCapacity = taskCapacity
        self.firstTasks = firstTasks
        self.unitTiles = unitTiles
        self.bufferTiles = bufferTiles
        self.tuning = tuning
        self.placement = placement
    }

    /// Adds an expert's rows; experts come in order, the shared one first.
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

    /// Lists the tasks of all units, of a layer of `experts`.
    ///
    /// - Parameters:
    ///   - packsShared: Whether the shared expert's rows must be packed too.
    ///   - packsLoneRows: Whether a routed expert's lone row must be.
    mutating func cut(experts: Int, inner: Width, down: Width, packsShared: Bool, packsLoneRows: Bool) {
        self.packsShared = packsShared
        self.packsLoneRows = packsLoneRows
        owed = 3 * unitCount
        let areShared = tiles > bufferTiles
        var first = 0
        var slot = 0
        for node in 0..<placement.nodes {
            firstTasks[node] = taskCount
            let nextExpert = placement.first(of: experts, node: node + 1)
            var end = first
            while end < unitCount, Int(units[end].expert) < nextExpert { end += 1 }
            if first < end {
                let threads = placement.threads(of: node)
                let tasksPerUnit = max(threads * tuning.tasksPerThread / (end - first), 1)
                let lag = 1 + (threads - 1) / tasksPerUnit
                if areShared { shareBuffers(first..<end, slots: slot..<slot + lag + 3) }
                cut(
                    first..<end, lag: lag,
                    inner: Cutter(self, first..<end, width: inner, threads: threads),
                    down: Cutter(self, first..<end, width: down, threads: threads))
            }
            first = end
            slot += Self.slots(of: node, placement)
        }
        firstTasks[placement.nodes] = taskCount
    }

    /// Lists the tasks of one node's units.
    private mutating func cut(_ range: Range<Int>, lag: Int, inner: Cutter, down: Cutter) {
        var (inner, down) = (inner, down)
        for unit in range.prefix(lag + 1) { pack(unit) }
        for unit in range.lowerBound..<range.upperBound + lag {
            if range.contains(unit) { emit(unit, .inner, &inner) }
            if range.contains(unit - lag) { emit(unit - lag, .down, &down) }
            if range.contains(unit + lag + 1) { pack(unit + lag + 1) }
        }
    }

    /// Where the buffers do not hold all units, a node's are dealt out to its units in turn.
    private mutating func shareBuffers(_ range: Range<Int>, slots: Range<Int>) {
        for unit in range {
            let index = unit - range.lowerBound
            units[unit].place = Int32((slots.lowerBound + index % slots.count) * unitTiles)
            units[unit].predecessor = index < slots.count ? -1 : Int32(unit - slots.count)
        }
    }

    private mutating func pack(_ unit: Int) {
        owed -= 1
        guard units[unit].expert >= 0 ? packsLoneRows || !units[unit].isLoneRow : packsShared else { return }
        tasks[taskCount] = ExpertTask(unit: Int32(unit), step: .pack, firstPanel: 0, panels: 0)
        progress[unit].pack.store(1, ordering: .relaxed)
        taskCount += 1
    }

    private mutating func emit(_ unit: Int, _ step: ExpertTask.Step, _ cutter: inout Cutter) {
        let panels = cutter.width.panels(units[unit])
        var panel = 0
        var count: UInt32 = 0
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

    /// How wide the tasks of one product are: an even share each, smaller ones towards the end, so that threads finish
    /// together.
    private struct Cutter {
        let width: Width
        private let share: Int
        private let threads: Int
        private var left: Int

        init(_ schedule: ExpertSchedule, _ range: Range<Int>, width: Width, threads: Int) {
            self.width = width
            self.threads = threads
            left = 0
            for unit in range {
                left += Self.cost(schedule.units[unit]) * width.panels(schedule.units[unit])
            }
            share = left / (threads * schedule.tuning.tasksPerThread)
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
