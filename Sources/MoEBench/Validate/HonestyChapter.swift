import MoEKernel

/// Whether this program can be made to print a wrong number: contenders that lie get no measurement, unlike measurements no ratio,
/// foreign files no reading.
struct HonestyChapter {
    let pool: ThreadPool
    let instructionSet: CPUInstructionSet
    let build: String

    func run(_ report: (Predicate) -> Void) throws(MoEError) {
        let workload = Workload(name: "honesty", tokens: 6, hidden: 48, expertHidden: 80, experts: 6, topK: 2)
        var honest: Measurement?
        for lie in Liar.Lie.allCases {
            let result = try measure(lie, workload)
            honest = honest ?? result.measurement
            let isRefused = result.failure != nil
            report(
                Predicate(
                    .honesty, lie.rawValue, value: result.failure.map { "refused: \($0)" } ?? "measured",
                    limit: lie == .honest ? "measured" : "refused", holds: isRefused == (lie != .honest)))
        }
        guard let honest else { return }
        report(sleep())
        var other = workload
        other.tokens -= 1
        report(unlike(honest, try measure(.honest, other).measurement))
        report(foreignFiles())
    }

    private func measure(_ lie: Liar.Lie, _ workload: Workload) throws(MoEError) -> ContenderResult {
        let configuration = try workload.configuration()
        let layer = try MoELayer(configuration, weights: workload.weights, pool: pool, instructionSet: instructionSet)
        let inputs = Inputs(workload)
        let oracle = try LayerOracle(
            configuration, source: try workload.weights.source(configuration), inputs: inputs, sample: workload.tokens,
            seed: 1)
        let everyToken = inputs.batches.map { _ in
            // Any spread of the choices: only their number counts here.
            [workload.tokens * workload.topK] + Array(repeating: 0, count: workload.experts - 1)
        }
        let subject = Subject(
            name: lie.rawValue, workload: workload, dtype: workload.dtype, threads: pool.threads,
            instructionSet: instructionSet.rawValue)
        let contender = Liar(
            lie,
            WholeLayer(
                layer, subject: subject, work: .experts(configuration, tokensPerExpert: everyToken), inputs: inputs))
        let sampler = try CeilingSampler(workingSets: [contender.work.workingSet]) {
            (bytes: Int) throws(MoEError) -> any MachineProbe in
            try CeilingProbe(pool: pool, instructionSet: instructionSet, readBytes: bytes, code: .int8)
        }
        let timer = InterleavedTimer(plan: SamplingPlan(budget: 0.05), build: build)
        return timer.compare(
            [Contender(contender, check: LayerCheck(oracle))], inputs: inputs, ceilings: sampler
        ).results[0]
    }

    /// The clock, against the system's own idea of a pause.
    private func sleep() -> Predicate {
        let pause = 0.002
        let measured: UInt64? = try? HostClock().nanoseconds { () throws(MoEError) in Pause.seconds(pause) }
        let seconds = Double(measured ?? 0) * 1e-9
        return Predicate(
            .honesty, "a pause of \(Format.time(pause)), timed", value: Format.time(seconds),
            limit: "no less, and no more than a tenth of a second", holds: seconds >= pause && seconds < 0.1)
    }

    private func unlike(_ a: Measurement, _ b: Measurement?) -> Predicate {
        let name = "the ratio of two different problems"
        guard let b else { return Predicate(.honesty, name, value: "not measured", limit: "refused", holds: false) }
        do throws(Speedup.Refused) {
            let speedup = try Speedup(of: a, over: b)
            return Predicate(.honesty, name, value: Format.fixed(speedup.ratio, 2), limit: "refused", holds: false)
        } catch {
            return Predicate(.honesty, name, value: "refused: \(error)", limit: "refused", holds: true)
        }
    }

    private func foreignFiles() -> Predicate {
        let texts = [
            "", "{}", "[1, 2]", "{\"schema\":\"somebody's results\",\"version\":1}",
            "{\"schema\":\"\(ResultsFile.schema)\",\"version\":\(ResultsFile.version + 1)}",
            "{\"schema\":\"\(ResultsFile.schema)\",\"version\":\(ResultsFile.version)}",
        ]
        let refused = texts.count { (try? RecordedResults.read(.init($0.utf8), file: "a file")) == nil }
        return Predicate(
            .honesty, "results files of another kind, of another version, or cut short: refused", refused,
            of: texts.count)
    }
}
