import MoEKernel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Runs the chapters, prints every predicate as it is known, and says whether all hold.
package struct Validation {
    private let chapters: [Predicate.Chapter]
    private let threads: Int?
    private let instructionSet: CPUInstructionSet?
    private let seconds: Double
    private let json: String?
    private let terminal: Terminal

    /// - Parameters:
    ///   - seconds: Of timed calls for each workload.
    ///   - json: Where the predicates are written, too.
    package init(
        chapters: [Predicate.Chapter], threads: Int?, instructionSet: CPUInstructionSet?, seconds: Double,
        json: String?, terminal: Terminal = .current()
    ) {
        self.chapters = chapters
        self.threads = threads
        self.instructionSet = instructionSet
        self.seconds = seconds
        self.json = json
        self.terminal = terminal
    }

    private struct File: Encodable {
        let schema = "moe-bench validation"
        let version = 1
        let build: String
        let machine: Machine
        let predicates: [Predicate]
        let partial: Bool
    }

    package func run() throws -> ExitCode {
        if let json { try ResultsFile.checkWritable(json) }
        let signals = Signals()
        defer { withExtendedLifetime(signals) {} }
        let interruption = signals.interruption
        let build = BuildIdentity.ofThisProcess()
        let pool = try ThreadPool(threads: threads)
        let set = if let instructionSet { instructionSet } else { try CPUInstructionSet.chosen() }
        var predicates: [Predicate] = []
        func report(_ predicate: Predicate) {
            predicates.append(predicate)
            terminal.print(line(predicate))
            if !predicate.holds { terminal.printIfQuiet(line(predicate)) }
        }
        for chapter in chapters where !interruption.isRequested {
            terminal.print(terminal.styled(chapter.rawValue, .bold))
            do {
                switch chapter {
                case .correctness: try CorrectnessChapter(pool: pool, interruption: interruption).run(report)
                case .honesty: try HonestyChapter(pool: pool, instructionSet: set, build: build).run(report)
                case .performance:
                    let runner = WorkloadRunner(
                        pool: pool, instructionSet: set, tuning: try CPUTuning.chosen(set), build: build,
                        interruption: interruption, progress: ProgressLine(terminal))
                    try PerformanceChapter(runner: runner, interruption: interruption, seconds: seconds).run(report)
                case .serving:
                    let serving = ServingChapter(
                        pool: pool, instructionSet: set, tuning: try CPUTuning.chosen(set), build: build,
                        interruption: interruption, progress: ProgressLine(terminal))
                    for predicate in try Waiting.forResult(of: { try await serving.run() }) { report(predicate) }
                }
            } catch {
                report(Predicate(chapter, "ran to its end", value: "\(error)", limit: "no error", holds: false))
            }
        }
        let failed = predicates.count { !$0.holds }
        if let json {
            let file = File(
                build: build, machine: Machine(), predicates: predicates, partial: interruption.isRequested)
            try ResultsFile.write(
                {
                    let encoder = JSONEncoder()
                    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
                    return try encoder.encode(file) + Data("\n".utf8)
                }, to: json)
        }
        terminal.print("\(predicates.count - failed) of \(predicates.count) predicates hold")
        if interruption.isRequested {
            Terminal.complain("interrupted; the rest was not looked at")
            return .interrupted
        }
        return failed == 0 ? .success : .failure
    }

    private func line(_ predicate: Predicate) -> String {
        let mark = predicate.holds ? "ok      " : terminal.styled("FAILED  ", .red)
        return "  \(mark)\(predicate.name): \(predicate.value) (\(predicate.limit))"
    }
}
