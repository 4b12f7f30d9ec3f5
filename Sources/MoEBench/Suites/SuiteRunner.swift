import MoEKernel

/// Runs workloads one after the other, prints each as it is done, and writes the results file however the run ends.
package struct SuiteRunner {
    package struct Settings: Sendable {
        package var points: [SweepPoint]
        /// What differs between the points, by name; their values stand in each.
        package var varied: [String] = []
        /// Combinations that were left out before.
        package var skipped: [(combination: String, reason: String)] = []
        package var threads: Int?
        package var instructionSet: CPUInstructionSet?
        package var tuning: CPUTuning?
        package var device = Device.cpu
        package var caches = CacheState.warm
        package var json: String?
        /// Where a complete run is kept for comparisons.
        package var save: Baselines.Place?
        /// Tell what would be measured, and measure nothing.
        package var lists = false
        package var terminal = Terminal.current()
        package var command: [String]

        package init(
            entries: [(workload: Workload, budget: Double)], threads: Int? = nil,
            instructionSet: CPUInstructionSet? = nil, tuning: CPUTuning? = nil, json: String? = nil, command: [String]
        ) {
            self.init(
                points: entries.map { SweepPoint($0.workload, budget: $0.budget) }, threads: threads,
                instructionSet: instructionSet, tuning: tuning, json: json, command: command)
        }

        /// - Parameters:
        ///   - threads: Of points that do not say.
        ///   - instructionSet: The same.
        ///   - tuning: The same.
        package init(
            points: [SweepPoint], threads: Int? = nil, instructionSet: CPUInstructionSet? = nil,
            tuning: CPUTuning? = nil, json: String? = nil, command: [String]
        ) {
            self.points = points
            self.threads = threads
            self.instructionSet = instructionSet
            self.tuning = tuning
            self.json = json
            self.command = command
        }
    }

    private let settings: Settings
    private var terminal: Terminal { settings.terminal }

    package init(_ settings: Settings) { self.settings = settings }

    package func run() throws(MoEError) -> ExitCode {
        if settings.lists {
            let list = SuiteList(settings.points, varied: settings.varied, skipped: settings.skipped)
            Terminal.print(list.lines(terminal).joined(separator: "\n"))
            return .success
        }
        if let json = settings.json { try ResultsFile.checkWritable(json) }
        try settings.save?.prepare()
        let signals = Signals()
        defer { withExtendedLifetime(signals) {} }
        let interruption = signals.interruption
        let machine = Machine()
        let device: CUDADevice? =
            if case .cuda(let index) = settings.device { try CUDADevice.numbered(index) } else { nil }
        for point in settings.points {
            let memory = device.map { ($0.properties.memoryBytes, $0.properties.name) }
            try point.workload.checkMemory(memory?.0 ?? machine.memoryBytes, of: memory?.1 ?? "this machine")
            _ = try choice(point)
        }
        let build = BuildIdentity.ofThisProcess()
        let text = SuiteText(terminal)
        guard let first = settings.points.first else { return .success }
        // nil is as many as there are processors.
        var poolThreads = first.threads ?? settings.threads
        var pool = try ThreadPool(threads: poolThreads)
        let (instructionSet, tuning) = try choice(first)
        terminal.print(
            text.machine(
                machine, threads: pool.threads, instructionSet: instructionSet.rawValue,
                tuning: tuning == .detected(instructionSet) ? nil : tuning.description,
                device: device.map { "\(DeviceRecord($0))" }, build: build, caches: settings.caches,
                timing: try ClockOverhead.seconds()
            ).joined(separator: "\n"))
        let deviceRunner = device.map {
            DeviceRunner(
                device: $0, pool: pool, build: build, interruption: interruption, progress: ProgressLine(terminal))
        }

        var reports: [WorkloadReport] = []
        var problem: MoEError?
        // The file is written after each workload, so that whatever ends the process leaves what was measured.
        func results(isPartial: Bool) -> ResultsFile {
            ResultsFile(
                reports: reports, build: build, command: settings.command, machine: machine,
                device: device.map(DeviceRecord.init), partial: isPartial)
        }
        func write(isPartial: Bool) throws(MoEError) {
            if let json = settings.json { try results(isPartial: isPartial).write(to: json) }
        }
        let kept = KeptLayer()
        var rows: [(values: [String], report: WorkloadReport)] = []
        for (index, point) in settings.points.enumerated() where !interruption.isRequested {
            let workload = point.workload
            let progress = progress(index, reports)
            do throws(MoEError) {
                let report: WorkloadReport
                if var deviceRunner {
                    deviceRunner.progress = progress
                    report = try deviceRunner.run(workload, budget: point.budget)
                } else {
                    let (instructionSet, tuning) = try choice(point)
                    let threads = point.threads ?? settings.threads
                    if threads != poolThreads {
                        pool = try ThreadPool(threads: threads)
                        poolThreads = threads
                    }
                    var runner = WorkloadRunner(
                        pool: pool, instructionSet: instructionSet, tuning: tuning, build: build,
                        interruption: interruption, progress: progress)
                    runner.contest = point.contest
                    runner.caches = settings.caches
                    report = try runner.run(workload, budget: point.budget, kept: kept)
                }
                let heading = settings.varied.isEmpty ? [] : [heading(point, index)]
                let gains =
                    if case .ablation(let ablation) = point.contest {
                        AblationText(terminal).gains(ablation, report)
                    } else { [String]() }
                terminal.print("\n" + (heading + text.workload(report) + gains).joined(separator: "\n"))
                for failure in report.failures { terminal.printIfQuiet(failure) }
                reports.append(report)
                rows.append((point.values, report))
            } catch {
                problem = problem ?? error
                // On a GPU one workload may be too large and the next not; elsewhere, and on a lost context, all would fail alike.
                guard case .cuda(let failure) = error, failure.kind != .contextLost else { break }
                Terminal.complain("\(workload.name): \(error)")
            }
            try write(isPartial: reports.count < settings.points.count)
        }
        if !settings.varied.isEmpty, !rows.isEmpty {
            let table = SweepText(terminal).table(varied: settings.varied, rows: rows, skipped: settings.skipped)
            terminal.print("\n" + table.joined(separator: "\n"))
        }
        let isPartial = interruption.isRequested || problem != nil
        try write(isPartial: isPartial)
        if let save = settings.save { try save.keep(results(isPartial: isPartial), terminal) }
        if let problem { throw problem }
        if interruption.isRequested {
            Terminal.complain("interrupted; results so far are \(settings.json.map { "in \($0)" } ?? "above")")
            return .interrupted
        }
        return reports.contains { $0.hasFailures } ? .failure : .success
    }

    /// The kernels of a point and their tuning.
    private func choice(_ point: SweepPoint) throws(MoEError) -> (CPUInstructionSet, CPUTuning) {
        let chosen = point.instructionSet ?? settings.instructionSet
        let set = if let chosen { chosen } else { try CPUInstructionSet.chosen() }
        let given = point.tuning ?? settings.tuning
        let tuning = if let given { given } else { try CPUTuning.chosen(set) }
        try tuning.check(for: set)
        return (set, tuning)
    }

    /// Of the point at `index`, when `reports` are there.
    private func progress(_ index: Int, _ reports: [WorkloadReport]) -> ProgressLine {
        var progress = ProgressLine(terminal)
        guard settings.points.count > 1 else { return progress }
        progress.position = "\(index + 1) of \(settings.points.count)"
        let budgets = settings.points.map(\.budget)
        let planned = budgets.prefix(index).reduce(0, +)
        // Weights and references take longer than was planned, tight intervals less.
        let pace = planned > 0 ? reports.reduce(0) { $0 + $1.seconds } / planned : 1
        progress.laterSeconds = budgets.dropFirst(index + 1).reduce(0, +) * pace
        return progress
    }

    private func heading(_ point: SweepPoint, _ index: Int) -> String {
        let values = Sweep.combination(settings.varied, point.values)
        return terminal.styled("run \(index + 1) of \(settings.points.count): \(values)", .faint)
    }
}

extension WorkloadReport {
    /// Who failed and why, other than by an interruption.
    package var failures: [String] {
        comparison.results.compactMap { result in
            guard let failure = result.failure, failure != .interrupted else { return nil }
            return "\(workload.name): \(result.subject.name): \(failure)"
        }
    }

    package var hasFailures: Bool { !failures.isEmpty }
}
