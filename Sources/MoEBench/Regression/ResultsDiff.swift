import MoEKernel

/// Two runs, row by row: what became slower or faster, beyond noise.
///
/// A row counts as slower only where three things agree. The median grew by more than ``threshold``. The interval of the ratio of the
/// two medians lies above 1; it is wide enough for all rows together to be wrong once in twenty comparisons, not each of them. And
/// beside the machine's ceilings, which were measured in the same runs, the row became slower too: a slower machine is no slower
/// program.
package struct ResultsDiff: Sendable {
    /// A change below this is not worth a verdict, however sure it is: code that did not change moves so much with its place in memory.
    package static let threshold = 0.02
    /// Chance that any row of two equal runs gets a verdict, as far as samples tell.
    package static let risk = 0.05

    /// A measured row of one file, with what it was measured beside.
    package struct Row: Sendable {
        package let timing: RecordedMeasurement
        package let caches: CacheState
        package let ceilings: RecordedCeilings
        package let isPartial: Bool
    }

    package enum Verdict: String, Sendable, Codable {
        case better
        case worse
        case same = "no difference beyond noise"
        case unlike
    }

    /// The later time over the earlier, or the same of times beside the machine's ceiling.
    package struct Ratio: Sendable {
        package let value: Double
        /// nil where there are too few samples for one.
        package let interval: ClosedRange<Double>?

        /// 1 slower, -1 faster, 0 neither.
        var direction: Int {
            guard let interval else { return 0 }
            if value > 1 + ResultsDiff.threshold, interval.lowerBound > 1 { return 1 }
            if value < 1 / (1 + ResultsDiff.threshold), interval.upperBound < 1 { return -1 }
            return 0
        }
    }

    package struct Pair: Sendable {
        package let first: Row
        package let second: Row
        package let verdict: Verdict
        /// nil where the rows are unlike or have no samples.
        package let change: Ratio?
        /// The change beside the ceiling that `yardstick` names; nil where one of the files has none.
        package let besideCeiling: Ratio?
        package let yardstick: Bound.Resource?
        /// Why the verdict is not what the change alone says, or why there is none.
        package let remarks: [String]
    }

    package let pairs: [Pair]
    /// Rows without a partner: "workload: row", and what became of it where the other file says.
    package let onlyFirst: [String]
    package let onlySecond: [String]
    /// Ways in which the machines differ; nothing was compared unless that was asked for.
    package let machines: [String]
    /// Nothing was compared, since the machines differ.
    package let isRefused: Bool
    /// A row was measured before and later not, and the later run does not say that it left it out: it failed, or the run ended before.
    package let hasLostRows: Bool

    package var compared: Int { pairs.count { $0.verdict != .unlike } }
    package func count(_ verdict: Verdict) -> Int { pairs.count { $0.verdict == verdict } }

    /// 2 on a regression; else 1 where something could not be compared that should have been, or failed; else 4 on an improvement.
    package var exitCode: ExitCode {
        if count(.worse) > 0 { return .regression }
        if compared == 0 || count(.unlike) > 0 || hasLostRows { return .failure }
        return count(.better) > 0 ? .improvement : .success
    }

    /// - Parameter acrossMachines: Compares also where the machines differ.
    package init(from first: RecordedResults, to second: RecordedResults, acrossMachines: Bool = false) {
        let machines = Likeness.differences(first.machine, second.machine)
        self.machines = machines
        let (matched, left, right) = Self.match(Self.rows(first), Self.rows(second))
        let isRefused = !machines.isEmpty && !acrossMachines
        self.isRefused = isRefused
        let alike = matched.count { $0.differences.isEmpty }
        // Bonferroni: so many looks share the risk of one.
        let confidence = 1 - Self.risk / Double(max(alike, 1))
        pairs = matched.map { a, b, differences in
            let unlike = differences + (isRefused ? ["machines"] : [])
            guard unlike.isEmpty else {
                return Pair(
                    first: a, second: b, verdict: .unlike, change: nil, besideCeiling: nil, yardstick: nil,
                    remarks: unlike)
            }
            return Self.judge(a, b, confidence: confidence)
        }
        onlyFirst = left.map { row in
            Self.name(row) + (Self.fate(of: row, in: second).map { ", \($0)" } ?? "")
        }
        onlySecond = right.map(Self.name)
        hasLostRows = left.contains { Self.isLost($0, in: second) }
    }

    private static func rows(_ results: RecordedResults) -> [Row] {
        results.entries.flatMap { entry in
            entry.measurements.map {
                Row(timing: $0, caches: entry.caches ?? .warm, ceilings: entry.ceilings, isPartial: entry.partial)
            }
        }
    }

    /// First those that are alike in everything, then, of what is left, those of one workload's and row's name with the fewest
    /// differences.
    private static func match(
        _ first: [Row], _ second: [Row]
    ) -> (pairs: [(Row, Row, differences: [String])], left: [Row], right: [Row]) {
        var partner = [Int?](repeating: nil, count: first.count)
        var free = Set(second.indices)
        let byName = Dictionary(grouping: second.indices) { second[$0].timing.subject.name }
        for (index, row) in first.enumerated() {
            let alike = (byName[row.timing.subject.name] ?? []).first {
                free.contains($0) && Likeness.differences(row, second[$0]).isEmpty
            }
            partner[index] = alike
            if let alike { free.remove(alike) }
        }
        for (index, row) in first.enumerated() where partner[index] == nil {
            let candidates = (byName[row.timing.subject.name] ?? []).filter {
                free.contains($0) && second[$0].timing.subject.workload.name == row.timing.subject.workload.name
            }
            let nearest = candidates.min {
                Likeness.differences(row, second[$0]).count < Likeness.differences(row, second[$1]).count
            }
            partner[index] = nearest
            if let nearest { free.remove(nearest) }
        }
        return (
            first.indices.compactMap { index in
                partner[index].map { (first[index], second[$0], Likeness.differences(first[index], second[$0])) }
            },
            first.indices.filter { partner[$0] == nil }.map { first[$0] }, free.sorted().map { second[$0] }
        )
    }

    private static func judge(_ a: Row, _ b: Row, confidence: Double) -> Pair {
        let before = RatioInterval.Factor(nanoseconds: a.timing.nanoseconds)
        let after = RatioInterval.Factor(nanoseconds: b.timing.nanoseconds)
        guard before.count > 0, after.count > 0, before.median > 0 else {
            return Pair(
                first: a, second: b, verdict: .same, change: nil, besideCeiling: nil, yardstick: nil,
                remarks: ["no samples, or calls that took no time"])
        }
        let change = Ratio(
            value: after.median / before.median,
            interval: RatioInterval.of([after], over: [before], confidence: confidence))
        // Work that is not counted is measured by how fast the machine multiplies: its clock and its load.
        let yardstick =
            a.ceilings.limit(of: a.timing.work, a.caches)?.bound.resource
            ?? (a.ceilings.isDevice ? .products : .multiplyAdd)
        var beside: Ratio?
        if let passesBefore = a.ceilings.series(of: yardstick, workingSet: a.timing.work.workingSet, a.caches),
            let passesAfter = b.ceilings.series(of: yardstick, workingSet: b.timing.work.workingSet, b.caches),
            passesBefore.rate > 0, passesAfter.rate > 0
        {
            beside = Ratio(
                value: change.value * passesAfter.rate / passesBefore.rate,
                interval: RatioInterval.of(
                    [after, RatioInterval.Factor(passesAfter.rates)],
                    over: [before, RatioInterval.Factor(passesBefore.rates)],
                    confidence: confidence))
        }
        var remarks: [String] = []
        if change.interval == nil { remarks.append("too few samples: \(before.count) and \(after.count)") }
        if a.isPartial || b.isPartial { remarks.append("partial") }
        var direction = change.direction
        if let beside, direction != beside.direction {
            let machine = beside.value / change.value - 1  // how much more the machine could do
            let moved = "\(Format.fixed(abs(machine) * 100, 1)) % \(machine < 0 ? "slower" : "faster")"
            if direction != 0 {
                remarks.append(
                    direction == beside.direction * -1
                        ? "the machine was \(moved), and beside its \(yardstick.rawValue) ceiling it is the other way round"
                        : "as the machine: its \(yardstick.rawValue) ceiling was \(moved)")
                direction = 0
            } else {
                remarks.append(
                    "beside its \(yardstick.rawValue) ceiling, which was \(moved), it is "
                        + (beside.direction > 0 ? "slower" : "faster") + "; measure again")
            }
        }
        return Pair(
            first: a, second: b, verdict: direction > 0 ? .worse : direction < 0 ? .better : .same, change: change,
            besideCeiling: beside, yardstick: beside == nil ? nil : yardstick, remarks: remarks)
    }

    private static func name(_ row: Row) -> String { "\(row.timing.subject.workload.name): \(row.timing.subject.name)" }

    /// Entries of the same workload.
    private static func entries(_ row: Row, in results: RecordedResults) -> [RecordedResults.Entry] {
        results.entries.filter {
            $0.workload == row.timing.subject.workload && $0.threads >= row.timing.subject.threads
        }
    }

    private static func failure(of row: Row, in results: RecordedResults) -> String? {
        entries(row, in: results).flatMap(\.failed).first { $0.name == row.timing.subject.name }?.reason
    }

    private static func isLost(_ row: Row, in results: RecordedResults) -> Bool {
        failure(of: row, in: results) != nil
            || !entries(row, in: results).flatMap(\.notRun).contains { $0.name == row.timing.subject.name }
    }

    private static func fate(of row: Row, in results: RecordedResults) -> String? {
        failure(of: row, in: results).map { "which failed: \($0)" }
            ?? entries(row, in: results).flatMap(\.notRun).first { $0.name == row.timing.subject.name }
            .map { "not run: \($0.reason)" }
    }
}
