import MoEKernel

/// What the runs at several rates share.
package struct ServingSession: Sendable {
    package let settings: ServeSettings
    package let layers: [MoELayer]
    package let build: String
    package let interruption: Interruption
    package let progress: ProgressLine
    private let prompts: PromptRows

    package init(
        settings: ServeSettings, layers: [MoELayer], build: String, interruption: Interruption, progress: ProgressLine
    ) {
        self.settings = settings
        self.layers = layers
        self.build = build
        self.interruption = interruption
        self.progress = progress
        prompts = PromptRows(
            width: settings.workload.hidden, longest: settings.load.prompt.maximum, seed: settings.load.seed)
    }

    /// One run on an engine of its own.
    ///
    /// - Throws: ``MoEError``; the first failure of a request of the warm-up; ``ServingAccounts/Mismatch`` when a request was lost.
    package func serve(rate: Double) async throws -> ServingRecord {
        let recorder = StepRecorder()
        let engine = try MoEEngine(MoELayerStack(layers), limits: settings.limits) { recorder.note($0) }
        try await warmUp(engine)
        let before = await engine.statistics

        var load = settings.load
        load.rate = rate
        let schedule = load.schedule()
        let memory = PeakMemory()
        let clock = RealServingClock(interruption)
        recorder.start(clock)
        let ticker = Task { await tick(engine, clock, rate: rate, seconds: schedule.last?.arrival ?? 0) }
        let generator = LoadGenerator(engine: engine, clock: clock, interruption: interruption) { [prompts] in
            prompts.rows(for: $0)
        }
        let answers = await generator.run(schedule)
        ticker.cancel()
        await ticker.value
        progress.clear()
        await engine.shutdown()
        let isPartial = interruption.isRequested
        let requests = answers.map(\.request)
        try ServingAccounts.check(
            requests, scheduled: isPartial ? requests.count : schedule.count, before: before,
            after: await engine.statistics)
        if let failure = answers.lazy.compactMap(\.failure).first { Terminal.complain("a request failed: \(failure)") }
        return ServingRecord(
            workload: settings.workload, layers: layers.count, threads: layers.first?.pool?.threads ?? 0,
            instructionSet: layers.first?.instructionSet?.rawValue ?? "", device: "cpu", build: build,
            arrivals: load.arrivals.rawValue, rate: rate, seed: load.seed,
            maximumWaiting: settings.limits.maximumWaiting, maximumRunning: settings.limits.maximumRunning,
            maximumBatchTokens: settings.limits.maximumBatchTokens, objective: settings.objective,
            seconds: requests.map(\.end).max() ?? clock.now, peakBytes: memory.bytes,
            mostWaiting: recorder.extremes.mostWaiting, requests: requests, steps: recorder.steps, partial: isPartial)
    }

    /// Requests like those to come, all at once: memory is touched, threads are awake.
    private func warmUp(_ engine: MoEEngine<MoELayerStack>) async throws {
        var load = settings.load
        load.seed = ~load.seed
        load.extent = .requests(settings.warmUp)
        load.cancelled = 0
        try await withThrowingTaskGroup(of: Void.self) { group in
            for request in load.schedule() {
                group.addTask {
                    if interruption.isRequested { return }
                    let generation = try await engine.submitWhenRoom(
                        prompt: prompts.rows(for: request), outputTokens: request.outputTokens)
                    for try await _ in generation where interruption.isRequested { return }
                }
            }
            try await group.waitForAll()
        }
    }

    private func tick(
        _ engine: MoEEngine<MoELayerStack>, _ clock: RealServingClock, rate: Double, seconds: Double
    ) async {
        guard progress.isShown else { return }
        while !Task.isCancelled {
            let now = await engine.statistics
            progress.show(
                "\(Format.significant(rate)) requests/s: \(Format.fixed(clock.now, 0)) of \(Format.fixed(seconds, 0)) s, "
                    + "\(now.running) running, \(now.waiting) waiting")
            do { try await Task.sleep(for: .milliseconds(250)) } catch { return }
        }
    }
}

/// Rows that prompts are cut from: to make them while requests come would take the engine's time.
struct PromptRows: Sendable {
    private let width: Int
    private let rows: [Float]

    /// - Parameter longest: Rows of the longest prompt.
    init(width: Int, longest: Int, seed: UInt64) {
        self.width = width
        let workload = Workload(
            name: "prompts", tokens: longest + 1024, hidden: width, expertHidden: 1, experts: 1, topK: 1, seed: seed)
        rows = Inputs(workload).batches[0]
    }

    /// Where they are cut follows from the request.
    func rows(for request: ServingLoad.Request) -> [Float] {
        var generator = SplitMix64(seed: request.arrival.bitPattern)
        let first = Int.random(in: 0...(rows.count / width - request.promptTokens), using: &generator)
        return Array(rows[first * width..<(first + request.promptTokens) * width])
    }
}
