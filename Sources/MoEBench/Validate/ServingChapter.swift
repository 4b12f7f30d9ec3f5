import MoEKernel

/// Whether a real engine serves: no request is lost when twice as many come as it can take, its memory is bounded, and at half of what it
/// can take everybody is served in time.
struct ServingChapter: Sendable {
    let pool: ThreadPool
    let instructionSet: CPUInstructionSet
    let tuning: CPUTuning
    let build: String
    let interruption: Interruption
    let progress: ProgressLine

    /// Of each of the three runs, about.
    private static let seconds = 8.0
    private static let objective = ServingRecord.Objective(firstToken: 1, perToken: 0.1)

    func run() async throws -> [Predicate] {
        var predicates: [Predicate] = []
        func report(_ predicate: Predicate) { predicates.append(predicate) }
        let workload = Workload(
            name: "serve", tokens: 128, hidden: 512, expertHidden: 512, experts: 32, topK: 4, weightType: .bfloat16)
        let served = try ServedLayers(
            workload, layers: 2, pool: pool, instructionSet: instructionSet, tuning: tuning,
            memoryBytes: Machine().memoryBytes, progress: progress)
        report(try await sameRows(served.layers))

        // Far more than any processor takes: what is finished a second is what this one takes.
        let limits = try MoEEngineLimits(maximumRunning: 16, maximumWaiting: 32, maximumBatchTokens: workload.tokens)
        var load = ServingLoad(
            rate: 2000, extent: .seconds(1), prompt: .uniform(8...64), output: .uniform(4...24))
        load.cancelled = 0.05
        func session(_ load: ServingLoad) -> ServingSession {
            ServingSession(
                settings: ServeSettings(
                    workload: workload, layers: served.layers.count, load: load, limits: limits,
                    objective: Self.objective, warmUp: 8, findsRate: false),
                layers: served.layers, build: build, interruption: interruption, progress: progress)
        }
        let first = try await session(load).serve(rate: load.rate)
        let flood = ServingSummary(first)
        if interruption.isRequested { return predicates }
        let capacity = Double(flood.finished) / max(first.seconds, 1e-9)
        guard capacity > 0 else {
            report(Predicate(.serving, "requests a second", value: "none", limit: "some", holds: false))
            return predicates
        }

        load.extent = .seconds(Self.seconds)
        let overload = try await session(load).serve(rate: 2 * capacity)
        if interruption.isRequested { return predicates }
        let twice = ServingSummary(overload)
        report(
            Predicate(
                .serving, "at twice what it can take: requests with an end, of those scheduled", twice.scheduled,
                of: scheduled(load, rate: 2 * capacity)))
        report(
            Predicate(
                .serving, "at twice what it can take: requests that failed", value: "\(twice.failed)", limit: "0",
                holds: twice.failed == 0))
        report(
            Predicate(
                .serving, "at twice what it can take: the longest queue", value: "\(twice.mostWaiting)",
                limit: "at most \(limits.maximumWaiting)", holds: twice.mostWaiting <= limits.maximumWaiting))
        if let before = first.peakBytes, let after = overload.peakBytes {
            // A second run as long as it likes holds no more than a first: two dozen megabytes are results, not requests.
            let grown = after - before
            report(
                Predicate(
                    .serving, "at twice what it can take: memory beyond an earlier run's",
                    value: Format.bytes(max(grown, 0)), limit: "at most 24 MiB", holds: grown <= 24 << 20))
        }

        let half = ServingSummary(try await session(load).serve(rate: capacity / 2))
        if interruption.isRequested { return predicates }
        report(
            Predicate(
                .serving, "at half of it: requests with a first token within a second and 0.1 s a token",
                ratio: half.attainment ?? 0, atLeast: ServingSummary.requiredShare))
        return predicates
    }

    private func scheduled(_ load: ServingLoad, rate: Double) -> Int {
        var load = load
        load.rate = rate
        return load.schedule().count
    }

    /// A request's rows alone and in a crowd.
    private func sameRows(_ layers: [MoELayer]) async throws -> Predicate {
        let width = layers[0].configuration.hidden
        let workload = Workload(
            name: "rows", tokens: 12, hidden: width, expertHidden: 1, experts: 1, topK: 1)
        let prompt = Inputs(workload).batches[0]
        func rows(crowd: Int) async throws -> [[Float]] {
            let engine = try MoEEngine(MoELayerStack(layers))
            var others: [MoEGeneration<Float>] = []
            for index in 0..<crowd {
                let part = Array(prompt[index % 12 * width..<width * 12])
                others.append(try await engine.submit(prompt: part, outputTokens: 9))
            }
            var rows: [[Float]] = []
            for try await row in try await engine.submit(prompt: prompt, outputTokens: 6) { rows.append(row) }
            withExtendedLifetime(others) {}
            await engine.shutdown(.atOnce)
            return rows
        }
        let alone = try await rows(crowd: 0)
        let crowded = try await rows(crowd: 11)
        let same = zip(alone, crowded).count { zip($0, $1).allSatisfy { $0.bitPattern == $1.bitPattern } }
        return Predicate(.serving, "a request's rows with the same bits in a crowd as alone", same, of: 6)
    }
}
