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
    private let terminal = Terminal.current()

    package init(_ settings: Settings) { self.settings = settings }

    package func run() throws(MoEError) -> ExitCode {
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
        Terminal.print(
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
        func write(isPartial: Bool) throws(MoEError) {
            guard let json = settings.json else { return }
            let file = ResultsFile(
                reports: reports, build: build, command: settings.command, machine: machine,
                device: device.map(DeviceRecord.init), partial: isPartial)
            try file.write(to: json)
        }
        let kept = KeptLayer()
        var rows: [(values: [String], report: WorkloadReport)] = []
        for (index, point) in settings.points.enumerated() where !interruption.isRequested {
            let workload = point.workload
            do throws(MoEError) {
                let report: WorkloadReport
                if let deviceRunner {
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
                        interruption: interruption, progress: ProgressLine(terminal))
                    runner.contest = point.contest
                    runner.caches = settings.caches
                    report = try runner.run(workload, budget: point.budget, kept: kept)
                }
                let heading = settings.varied.isEmpty ? [] : [heading(point, index)]
                let gains =
                    if case .ablation(let ablation) = point.contest {
                        AblationText(terminal).gains(ablation, report)
                    } else { [String]() }
                Terminal.print("\n" + (heading + text.workload(report) + gains).joined(separator: "\n"))
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
            Terminal.print("\n" + table.joined(separator: "\n"))
        }
        let isPartial = interruption.isRequested || problem != nil
        try write(isPartial: isPartial)
        if let save = settings.save {
            try save.keep(
                ResultsFile(
                    reports: reports, build: build, command: settings.command, machine: machine, partial: isPartial))
        }
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

    private func heading(_ point: SweepPoint, _ index: Int) -> String {
        let values = Sweep.combination(settings.varied, point.values)
        return terminal.styled("run \(index + 1) of \(settings.points.count): \(values)", .faint)
    }
}

extension WorkloadReport {
    /// Whether a contender failed, other than by an interruption.
    package var hasFailures: Bool {
        comparison.results.contains { $0.failure != nil && $0.failure != .interrupted }
    }
}
