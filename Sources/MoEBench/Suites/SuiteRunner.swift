import MoEKernel

/// Runs workloads one after the other, prints each as it is done, and writes the results file however the run ends.
package struct SuiteRunner {
    package struct Settings: Sendable {
        package var entries: [(workload: Workload, budget: Double)]
        package var threads: Int?
        package var instructionSet: CPUInstructionSet?
        package var tuning: CPUTuning?
        package var device = Device.cpu
        package var contest = WorkloadRunner.Contest.baselines
        package var json: String?
        package var command: [String]

        package init(
            entries: [(workload: Workload, budget: Double)], threads: Int? = nil,
            instructionSet: CPUInstructionSet? = nil, tuning: CPUTuning? = nil, json: String? = nil, command: [String]
        ) {
            self.entries = entries
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
        let signals = Signals()
        defer { withExtendedLifetime(signals) {} }
        let interruption = signals.interruption
        let machine = Machine()
        let device: CUDADevice? =
            if case .cuda(let index) = settings.device { try CUDADevice.numbered(index) } else { nil }
        for (workload, _) in settings.entries {
            if let device {
                try checkMemory(workload, device.properties.memoryBytes, of: device.properties.name)
            } else {
                try checkMemory(workload, machine.memoryBytes, of: "this machine")
            }
        }
        let build = BuildIdentity.ofThisProcess()
        let pool = try ThreadPool(threads: settings.threads)
        let instructionSet = if let chosen = settings.instructionSet { chosen } else { try CPUInstructionSet.chosen() }
        let tuning = if let chosen = settings.tuning { chosen } else { try CPUTuning.chosen(instructionSet) }
        try tuning.check(for: instructionSet)
        let text = SuiteText(terminal)
        Terminal.print(
            text.machine(
                machine, threads: pool.threads, instructionSet: instructionSet.rawValue,
                tuning: tuning == .detected(instructionSet) ? nil : tuning.description,
                device: device.map { "\(DeviceRecord($0))" }, build: build
            ).joined(separator: "\n"))
        var runner = WorkloadRunner(
            pool: pool, instructionSet: instructionSet, tuning: tuning, build: build, interruption: interruption,
            progress: ProgressLine(terminal))
        runner.contest = settings.contest
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
        for (workload, budget) in settings.entries where !interruption.isRequested {
            do throws(MoEError) {
                let report =
                    if let deviceRunner { try deviceRunner.run(workload, budget: budget) } else {
                        try runner.run(workload, budget: budget)
                    }
                Terminal.print("\n" + text.workload(report).joined(separator: "\n"))
                reports.append(report)
            } catch {
                problem = problem ?? error
                // On a GPU one workload may be too large and the next not; elsewhere, and on a lost context, all would fail alike.
                guard case .cuda(let failure) = error, failure.kind != .contextLost else { break }
                Terminal.complain("\(workload.name): \(error)")
            }
            try write(isPartial: reports.count < settings.entries.count)
        }
        let isPartial = interruption.isRequested || problem != nil
        try write(isPartial: isPartial)
        if let problem { throw problem }
        if interruption.isRequested {
            Terminal.complain("interrupted; results so far are \(settings.json.map { "in \($0)" } ?? "above")")
            return .interrupted
        }
        return reports.contains { $0.hasFailures } ? .failure : .success
    }

    /// Refuses at once what could not be held: weights once packed, activations, and the dense baseline.
    private func checkMemory(_ workload: Workload, _ memoryBytes: Int, of owner: String) throws(MoEError) {
        let configuration = try workload.configuration()
        let matrix = Double(configuration.hidden) * Double(configuration.expertHidden)
        let weights =
            Double(configuration.experts + configuration.topK) * matrix
            * Double(configuration.expert.projections.count)
            * (workload.form?.bits(inputs: configuration.hidden) ?? Double(8 * workload.weightType.byteCount)) / 8
        let perToken =
            Double(4 * configuration.hidden * (configuration.topK + 4))
            + Double(4 * configuration.expertHidden * configuration.topK)
        let needed = weights + Double(workload.tokens) * perToken
        let available = memoryBytes > 0 ? memoryBytes : 1 << 40
        guard needed > 0.9 * Double(available) else { return }
        throw .outOfMemory(
            bytes: needed < 0x1p62 ? Int(needed) : .max,
            purpose: "\(workload.sizes) in \(workload.dtype); \(owner) has " + Format.bytes(memoryBytes))
    }
}

extension WorkloadReport {
    /// Whether a contender failed, other than by an interruption.
    package var hasFailures: Bool {
        comparison.results.contains { $0.failure != nil && $0.failure != .interrupted }
    }
}
