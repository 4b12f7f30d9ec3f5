import Synchronization
import Testing

@testable import MoEKernel

/// The order of the experts' tasks, for many batches and threads: complete, within its memory, and such that whatever a task waits for
/// stands before it.
@Suite struct ExpertScheduleTests {
    struct Batch: Sendable, CustomTestStringConvertible {
        var rows: [Int]
        var tokens = 0
        var shared = false
        var innerPanels = 12
        var downPanels = 9
        var testDescription: String { "\(rows.count) experts, \(rows.reduce(0, +)) rows, shared: \(shared)" }
    }

    static let batches: [Batch] = [
        Batch(rows: []), Batch(rows: [0, 0, 0]), Batch(rows: [1]), Batch(rows: [1, 0, 1, 1, 0, 1, 1, 1, 1, 1]),
        Batch(rows: [700]), Batch(rows: [128, 130, 90, 0, 164], innerPanels: 256, downPanels: 32),
        Batch(rows: (0..<128).map { 20 + $0 % 25 }, innerPanels: 96, downPanels: 128),
        Batch(rows: (0..<300).map { $0 % 4 }, tokens: 150, shared: true),
        Batch(rows: [3, 500, 2], tokens: 500, shared: true, innerPanels: 1, downPanels: 1),
        Batch(rows: Array(repeating: 1, count: 1000), innerPanels: 400, downPanels: 400),
        // Wide enough to use up all room for cutting finer, with many units in flight when it ends.
        Batch(rows: Array(repeating: 1, count: 1000), innerPanels: 1 << 20, downPanels: 1 << 20),
        Batch(rows: Array(repeating: 1, count: 90), innerPanels: 1 << 24, downPanels: 1 << 24),
    ]

    static let placements =
        [1, 2, 5, 64, 512].map { WorkerPlacement(threads: $0, processors: $0) }
        + [
            WorkerPlacement(nodeOfWorker: [0, 1, 0], processorsOfNode: [[0, 2], [1]], processors: 3),
            WorkerPlacement(nodeOfWorker: (0..<64).map { $0 % 2 }, processorsOfNode: [[0], [1]], processors: 64),
            WorkerPlacement(
                nodeOfWorker: (0..<12).map { $0 < 9 ? 0 : $0 - 8 }, processorsOfNode: [[0], [1], [2], [3]],
                processors: 12),
        ]

    @Test(arguments: batches, placements) func everythingOnceAndInOrder(_ batch: Batch, _ placement: WorkerPlacement) {
        let threads = placement.threads
        let tuning = CPUTuning(instructionSet: .avx2, firstLevelBytes: 0, secondLevelBytes: 0)
        for (unitTiles, packsShared, packsLoneRows) in [
            (1, false, true), (8, false, true), (30, false, false), (1, true, true), (8, true, false),
            (1, false, false),
        ] {
            func tiles(_ rows: Int) -> Int { (rows + tuning.tileRows - 1) / tuning.tileRows }
            let all = batch.rows.reduce(0) { $0 + tiles($1) } + (batch.shared ? tiles(batch.tokens) : 0)
            let bufferTiles = ExpertSchedule.bufferTiles(of: all, unitTiles: unitTiles, placement: placement)
            let capacity = ExpertSchedule.taskCapacity(units: all, tuning: tuning, threads: threads)
            let units = UnsafeMutablePointer<ExpertUnit>.allocate(capacity: all + 1)
            // More than a schedule may use, so that one that overruns is told and does no harm.
            let tasks = UnsafeMutablePointer<ExpertTask>.allocate(capacity: 2 * capacity + 1000)
            let progress = UnsafeMutablePointer<ExpertProgress>.allocate(capacity: all + 1)
            let firstTasks = UnsafeMutablePointer<Int>.allocate(capacity: placement.nodes + 1)
            defer {
                firstTasks.deallocate()
                units.deallocate()
                tasks.deallocate()
                progress.deallocate()
            }
            var schedule = ExpertSchedule(
                units: units, tasks: tasks, progress: progress, taskCapacity: capacity, firstTasks: firstTasks,
                unitTiles: unitTiles, bufferTiles: bufferTiles, tuning: tuning, placement: placement)
            if batch.shared { schedule.add(expert: -1, firstRow: 0, rows: batch.tokens) }
            var first = 0
            for (expert, rows) in batch.rows.enumerated() {
                schedule.add(expert: expert, firstRow: first, rows: rows)
                first += rows
            }
            let shared = (inner: 3, down: 5)
            schedule.cut(
                experts: batch.rows.count, inner: .init(routed: batch.innerPanels, shared: shared.inner),
                down: .init(routed: batch.downPanels, shared: shared.down), packsShared: packsShared,
                packsLoneRows: packsLoneRows)
            #expect(schedule.taskCount <= capacity)
            #expect(schedule.unitCount <= all)

            #expect(firstTasks[0] == 0 && firstTasks[placement.nodes] == schedule.taskCount)

            // What a task waits for has been listed whole before it, and for the same node.
            var listed = [ExpertTask.Step: [Int: Int]]()
            func panels(_ step: ExpertTask.Step, _ unit: Int) -> Int {
                let isShared = units[unit].expert < 0
                return switch step {
                case .pack: isShared ? packsShared ? 1 : 0 : units[unit].rows == 1 && !packsLoneRows ? 0 : 1
                case .inner: isShared ? shared.inner : batch.innerPanels
                case .down: isShared ? shared.down : batch.downPanels
                }
            }
            func isWhole(_ step: ExpertTask.Step, _ unit: Int) -> Bool {
                unit < 0 || listed[step, default: [:]][unit, default: 0] == panels(step, unit)
            }
            var problems: [String] = []
            var node = 0
            var firstUnit = 0
            for index in 0..<schedule.taskCount {
                let task = tasks[index]
                let unit = Int(task.unit)
                while index >= firstTasks[node + 1] {
                    node += 1
                    firstUnit = (firstTasks[node]..<firstTasks[node + 1]).map { Int(tasks[$0].unit) }.min() ?? firstUnit
                }
                let expert = Int(units[unit].expert)
                let experts = placement.first(of: batch.rows.count, node: node)
                if expert >= placement.first(of: batch.rows.count, node: node + 1) || (expert < experts && node > 0) {
                    problems.append("task \(index) of expert \(expert) is listed for node \(node)")
                }
                let before = Int(units[unit].predecessor)
                let waits: Bool =
                    switch task.step {
                    case .pack: isWhole(.inner, before)
                    case .inner: isWhole(.pack, unit) && isWhole(.down, before)
                    case .down: isWhole(.inner, unit)
                    }
                if before >= 0 && before < firstUnit { problems.append("task \(index) waits for another node") }
                if !waits { problems.append("task \(index) waits for a later one") }
                // Panels follow one another.
                let done = listed[task.step, default: [:]][unit, default: 0]
                if task.step != .pack, done != Int(task.firstPanel) { problems.append("task \(index) leaves a gap") }
                listed[task.step, default: [:]][unit] = done + (task.step == .pack ? 1 : Int(task.panels))
            }
            for unit in 0..<schedule.unitCount {
                for step in [ExpertTask.Step.pack, .inner, .down] where !isWhole(step, unit) {
                    problems.append("\(step) of unit \(unit) is not whole")
                }
                if Int(units[unit].place + units[unit].tiles) > bufferTiles {
                    problems.append("unit \(unit) stands outside the buffers")
                }
                let (start, end) = (units[unit].place, units[unit].place + units[unit].tiles)
                // Units that overlap in the buffers are each other's predecessors, by a chain.
                for other in 0..<unit where units[other].place < end && units[other].place + units[other].tiles > start
                {
                    var ancestor = Int(units[unit].predecessor)
                    while ancestor > other { ancestor = Int(units[ancestor].predecessor) }
                    if ancestor != other { problems.append("units \(other) and \(unit) share a place") }
                }
                let tasksOf = (0..<schedule.taskCount).filter { Int(tasks[$0].unit) == unit }
                for (step, left) in [
                    (ExpertTask.Step.pack, progress[unit].pack.load(ordering: .relaxed)),
                    (.inner, progress[unit].inner.load(ordering: .relaxed)),
                    (.down, progress[unit].down.load(ordering: .relaxed)),
                ] where Int(left) != tasksOf.count(where: { tasks[$0].step == step }) {
                    problems.append("unit \(unit) counts its tasks of \(step) wrongly")
                }
                if schedule.unitCount > 200 && unit > 100 { break }
            }
            // Every row of every expert, once.
            var rows = [Int: Int]()
            for unit in 0..<schedule.unitCount { rows[Int(units[unit].expert), default: 0] += Int(units[unit].rows) }
            for (expert, count) in batch.rows.enumerated() where rows[expert, default: 0] != count {
                problems.append("expert \(expert) has \(rows[expert, default: 0]) rows of \(count)")
            }
            #expect(problems.isEmpty)
        }
    }
}
