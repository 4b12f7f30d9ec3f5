import MoEKernel

/// Serves a load with a real engine in this process, once or at several rates, prints what came of it, and writes the results file
/// however the run ends.
package struct ServeRun: Sendable {
    private let settings: ServeSettings
    private let terminal: Terminal

    package init(_ settings: ServeSettings, _ terminal: Terminal = .current()) {
        self.settings = settings
        self.terminal = terminal
    }

    package func run(_ interruption: Interruption, print: @Sendable (String) -> Void) async throws -> ExitCode {
        if let json = settings.json { try ResultsFile.checkWritable(json) }
        let machine = Machine()
        let build = BuildIdentity.ofThisProcess()
        let pool = try ThreadPool(threads: settings.threads)
        let instructionSet = if let chosen = settings.instructionSet { chosen } else { try CPUInstructionSet.chosen() }
        let tuning = if let chosen = settings.tuning { chosen } else { try CPUTuning.chosen(instructionSet) }
        try tuning.check(for: instructionSet)
        let text = ServingText(terminal)
        print(
            SuiteText(terminal).machine(
                machine, threads: pool.threads, instructionSet: instructionSet.rawValue,
                tuning: tuning == .detected(instructionSet) ? nil : tuning.description, build: build
            ).joined(separator: "\n"))
        let progress = ProgressLine(terminal)
        let served = try ServedLayers(
            settings.workload, layers: settings.layers, pool: pool, instructionSet: instructionSet, tuning: tuning,
            memoryBytes: machine.memoryBytes, progress: progress)
        let weightBytes = served.layers.reduce(0) { $0 + $1.weightByteCount }
        print(
            "\n"
                + text.head(settings, weightBytes: weightBytes, checkedTokens: served.checkedTokens)
                .joined(separator: "\n"))
        let session = ServingSession(
            settings: settings, layers: served.layers, build: build, interruption: interruption, progress: progress)

        var records: [ServingRecord] = []
        // The file is written after each run, so that whatever ends the process leaves what was measured.
        func write(isPartial: Bool) throws(MoEError) {
            guard let json = settings.json else { return }
            try ResultsFile(
                serving: records, build: build, command: settings.command, machine: machine, partial: isPartial
            ).write(to: json)
        }
        var search = RateSearch(from: settings.load.rate)
        while let rate = search.next, !interruption.isRequested {
            let record = try await session.serve(rate: rate)
            records.append(record)
            if !record.partial {
                if let isKept = ServingSummary(record).isObjectiveKept {
                    search.note(isKept: isKept)
                } else {
                    // So low a rate that no request came, or all gave up.
                    Terminal.complain(
                        "at \(Format.significant(rate)) requests/s too few came to say whether the objective is kept")
                    search.end()
                }
            }
            print("\n" + text.run(record).joined(separator: "\n"))
            guard settings.findsRate else { break }
            try write(isPartial: true)
        }
        if settings.findsRate { print("\n" + text.search(records, search).joined(separator: "\n")) }
        try write(isPartial: interruption.isRequested)
        if interruption.isRequested {
            Terminal.complain("interrupted; results so far are \(settings.json.map { "in \($0)" } ?? "above")")
            return .interrupted
        }
        let missed = settings.findsRate ? [] : records.flatMap { settings.targets.missed(by: ServingSummary($0)) }
        for line in missed {
            print("  " + terminal.styled(line, .red))
            terminal.printIfQuiet(line)
        }
        let failed = records.contains { ServingSummary($0).failed > 0 }
        return missed.isEmpty && !failed ? .success : .failure
    }
}
