import MoEKernel

/// Runs comparisons with peers one after the other, prints each as it is done, and writes the results file however the run ends.
package struct PeerSuite {
    package struct Settings: Sendable {
        package var entries: [Workload]
        /// Of timed calls, for each workload.
        package var seconds: Double
        package var launch: PeerLaunch
        package var peers: Set<Peer>
        package var threads: Int?
        package var instructionSet: CPUInstructionSet?
        package var tuning: CPUTuning?
        package var json: String?
        package var keep: String?
        package var terminal = Terminal.current()
        package var command: [String]

        package init(
            entries: [Workload], seconds: Double, launch: PeerLaunch, peers: Set<Peer>, command: [String]
        ) {
            self.entries = entries
            self.seconds = seconds
            self.launch = launch
            self.peers = peers
            self.command = command
        }
    }

    /// What is compared when nothing is asked for: prefill, and decode.
    package static let workloads = [
        Workload(name: "prefill", tokens: 512, hidden: 512, expertHidden: 2048, experts: 8, topK: 2),
        Workload(name: "decode", tokens: 1, hidden: 2048, expertHidden: 768, experts: 128, topK: 8),
    ]

    private let settings: Settings
    private var terminal: Terminal { settings.terminal }

    package init(_ settings: Settings) { self.settings = settings }

    package func run() throws(MoEError) -> ExitCode {
        if let json = settings.json { try ResultsFile.checkWritable(json) }
        let machine = Machine()
        for workload in settings.entries { try workload.checkMemory(machine.memoryBytes) }
        let signals = Signals()
        defer { withExtendedLifetime(signals) {} }
        let interruption = signals.interruption
        let build = BuildIdentity.ofThisProcess()
        let pool = try ThreadPool(threads: settings.threads)
        let instructionSet = if let chosen = settings.instructionSet { chosen } else { try CPUInstructionSet.chosen() }
        let tuning = if let chosen = settings.tuning { chosen } else { try CPUTuning.chosen(instructionSet) }
        try tuning.check(for: instructionSet)
        terminal.print(
            SuiteText(terminal).machine(
                machine, threads: pool.threads, instructionSet: instructionSet.rawValue,
                tuning: tuning == .detected(instructionSet) ? nil : tuning.description, build: build
            ).joined(separator: "\n"))
        var runner = PeerRunner(
            WorkloadRunner(
                pool: pool, instructionSet: instructionSet, tuning: tuning, build: build, interruption: interruption,
                progress: ProgressLine(terminal)), settings.launch, peers: settings.peers)
        runner.keep = settings.keep

        var reports: [WorkloadReport] = []
        var problem: MoEError?
        func write(isPartial: Bool) throws(MoEError) {
            guard let json = settings.json else { return }
            let file = ResultsFile(
                reports: reports, build: build, command: settings.command, machine: machine, partial: isPartial)
            try file.write(to: json)
        }
        for workload in settings.entries where !interruption.isRequested {
            do throws(MoEError) {
                let report = try runner.run(workload, budget: settings.seconds)
                terminal.print("\n" + PeerText(terminal).workload(report).joined(separator: "\n"))
                for failure in report.failures { terminal.printIfQuiet(failure) }
                reports.append(report)
            } catch {
                if !interruption.isRequested { problem = error }
                break
            }
            try write(isPartial: reports.count < settings.entries.count)
        }
        try write(isPartial: interruption.isRequested || problem != nil)
        if let problem { throw problem }
        if interruption.isRequested {
            Terminal.complain("interrupted; results so far are \(settings.json.map { "in \($0)" } ?? "above")")
            return .interrupted
        }
        guard reports.contains(where: { !$0.external.isEmpty }) else {
            Terminal.complain("moe-bench: no peer ran; Benchmarks/Peers/setup-cpu.sh makes an environment for them")
            return .failure
        }
        return reports.contains { $0.hasFailures } ? .failure : .success
    }
}
