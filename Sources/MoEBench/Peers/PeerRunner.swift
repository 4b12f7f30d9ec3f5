import MoEKernel

/// Measures the layer, its dense baselines and peers on one workload, in turns, on the same weights and inputs.
package struct PeerRunner: Sendable {
    package let runner: WorkloadRunner
    package let launch: PeerLaunch
    package let peers: Set<Peer>
    package var patience = PeerPatience()
    /// Folder that keeps the files that peers were given.
    package var keep: String?

    /// - Parameter runner: Measures the layer; its contest is set here.
    package init(_ runner: WorkloadRunner, _ launch: PeerLaunch, peers: Set<Peer>) {
        var runner = runner
        runner.contest = .dense
        self.runner = runner
        self.launch = launch
        self.peers = peers
    }

    /// - Throws: what the layer throws, and what writing files throws; never what befalls a peer.
    package func run(_ workload: Workload, budget: Double) throws(MoEError) -> WorkloadReport {
        let configuration = try workload.configuration()
        guard workload.expert == .gated, workload.activation == .silu, workload.router == .softmax else {
            throw .configuration(
                field: "workload", value: "another expert or router", expectation: "gated, silu and softmax")
        }
        // bf16 inputs are what bf16 peers read; everyone gets them.
        let inputs =
            workload.quantisation == nil && workload.weightType != .float32
            ? Inputs(workload, heldBy: workload.weightType) : Inputs(workload)
        let work = try PeerWork(workload, configuration, inputs: inputs, runner)
        let exchange = try PeerExchange(keep: keep, name: workload.name)
        defer { exchange.remove() }
        var failures: [Peer: PeerFailure] = [:]
        var workers: [PeerWorker] = []
        defer { for worker in workers { worker.end() } }

        var wanted = Peer.all.filter(peers.contains)
        let dense = work.of(.denseAllExperts)
        if dense.flops > runner.limits.denseFLOPs {
            for peer in wanted where peer.kind == .denseAllExperts {
                failures[peer] = .tooLong("\(Format.significant(Double(dense.flops) * 1e-9)) GFLOP a call")
            }
            wanted.removeAll { failures[$0] != nil }
        }
        var tracks: [PeerTurns.Track] = []
        if !wanted.isEmpty {
            runner.progress.show("\(workload.name): writing weights for peers")
            try exchange.write(
                workload, configuration, iso: work.iso, inputs: inputs, threads: runner.pool.threads,
                isoCopies: work.isoCopies, interruption: runner.interruption)
            let checks = try PeerChecks(workload, configuration, work.iso, inputs)
            for library in Peer.Library.allCases {
                let mine = wanted.filter { $0.library == library }
                if mine.isEmpty { continue }
                let worker = PeerWorker(
                    library, launch, exchange, patience: patience, interruption: runner.interruption)
                workers.append(worker)
                tracks += prepare(mine, worker, checks, work, inputs, workload, &failures)
            }
            exchange.removeWeights()
        }

        // Ours are the layer, which counts double, and two dense ones.
        let share = Double(tracks.count) / Double(tracks.count + 4)
        let turns = PeerTurns(
            tracks, inputs: inputs, budget: budget * share, interruption: runner.interruption)
        var report = try runner.run(workload, budget: budget * (1 - share), inputs: inputs) {
            turns.take(round: $0, of: $1)
        }
        add(tracks, failures, work, workload, to: &report)
        return report
    }

    /// Starts a library and has it build its layers. Where one of them ends the process, it starts again without that one.
    private func prepare(
        _ peers: [Peer], _ worker: PeerWorker, _ checks: PeerChecks, _ work: PeerWork, _ inputs: Inputs,
        _ workload: Workload, _ failures: inout [Peer: PeerFailure]
    ) -> [PeerTurns.Track] {
        let elements = inputs.tokens * inputs.hidden
        while true {
            var tracks: [PeerTurns.Track] = []
            let left = peers.filter { failures[$0] == nil }
            if left.isEmpty { break }
            do throws(PeerFailure) {
                runner.progress.show("\(workload.name): starting \(worker.library.rawValue)")
                try work.checkMemory(for: workload)
                try worker.start(threads: runner.pool.threads)
            } catch {
                for peer in left { failures[peer] = error }
                break
            }
            for peer in left {
                runner.progress.show("\(workload.name): preparing \(peer.name)")
                let check = checks.of(peer.kind)
                do throws(PeerFailure) {
                    let (y, times) = try worker.prepare(peer, batches: inputs.batches.count, elements: elements)
                    var worst = 0.0
                    do throws(WrongResult) {
                        for batch in inputs.batches.indices {
                            let part = Array(y[batch * elements..<(batch + 1) * elements])
                            worst = max(worst, try check.error(of: part, batch: batch) ?? 0)
                        }
                    } catch {
                        throw PeerFailure.wrongResult(error)
                    }
                    let seconds = Summary(times.map { Double($0) * 1e-9 })?.median ?? 0
                    tracks.append(PeerTurns.Track(peer, worker, check, seconds: seconds, error: worst))
                } catch {
                    failures[peer] = error
                    if !worker.isAlive { break }
                }
            }
            if worker.isAlive || runner.interruption.isRequested { return tracks }
        }
        worker.end()
        return []
    }

    private func add(
        _ tracks: [PeerTurns.Track], _ failures: [Peer: PeerFailure], _ work: PeerWork, _ workload: Workload,
        to report: inout WorkloadReport
    ) {
        var failures = failures
        for track in tracks {
            if let failure = track.failure {
                failures[track.peer] = failure
                continue
            }
            guard let median = Summary(track.nanoseconds.map { Double($0) })?.median else {
                failures[track.peer] = .interrupted
                continue
            }
            let done = work.of(track.peer.kind)
            // Only of plain fp32 the ceilings are those of a peer's arithmetic.
            if workload.dtype == ElementType.float32.rawValue,
                let bound = report.comparison.ceilings.bound(of: done),
                bound.share(ofSeconds: max(median, 1) * 1e-9) > bound.tolerance
            {
                let rate = Double(bound.amount) / max(median, 1)
                failures[track.peer] = .impossible(
                    "\(Format.significant(rate)) \(bound.resource.isTraffic ? "GB/s" : "GFLOP/s") on a machine that "
                        + "reaches \(Format.significant(bound.ceiling * 1e-9))")
                continue
            }
            report.external.append(
                ExternalMeasurement(
                    subject: Subject(
                        name: track.peer.name, workload: workload, dtype: workload.dtype,
                        threads: runner.pool.threads, instructionSet: "its own"),
                    program: track.worker.program, work: done, inputHash: report.comparison.inputHash,
                    error: track.worstError, nanoseconds: track.nanoseconds))
        }
        report.notRun += Peer.all.compactMap { peer in
            if let failure = failures[peer] { return .init(name: peer.name, reason: "\(failure)") }
            return peers.contains(peer) ? nil : .init(name: peer.name, reason: PeerText.notAskedFor)
        }
    }
}

/// The arithmetic and traffic of a call of each kind of peer: that of ours.
struct PeerWork {
    let iso: MoEConfiguration
    let isoCopies: Int
    private let layer: Work
    private let everyone: Work
    private let dense: Work

    init(
        _ workload: Workload, _ configuration: MoEConfiguration, inputs: Inputs, _ runner: WorkloadRunner
    ) throws(MoEError) {
        iso = try workload.isoActiveConfiguration()
        // Where tokens go the router alone says: a layer of small experts sends them alike.
        var small = workload
        small.expertHidden = 1
        small.quantisation = nil
        small.activations = nil
        let router = try MoELayer(
            try small.configuration(), weights: small.weights, pool: runner.pool,
            instructionSet: runner.instructionSet, tuning: runner.tuning)
        let routed = try WorkloadRunner.tokensPerExpert(router, inputs)
        let gating = Work.gating(configuration, tokens: workload.tokens)
        let experts = Work.experts(
            configuration, form: workload.form, arithmetic: workload.arithmetic, tokensPerExpert: routed)
        layer = gating + experts
        everyone =
            gating
            + .experts(
                configuration, form: workload.form, arithmetic: workload.arithmetic,
                tokensPerExpert: routed.map { $0.map { _ in workload.tokens } })
        let one = Work.experts(
            iso, form: workload.form, arithmetic: workload.arithmetic,
            tokensPerExpert: routed.map { _ in [workload.tokens] })
        isoCopies = DenseIsoActive.copies(
            of: one.bytes, toCover: experts.workingSet, batches: inputs.batches.count)
        dense = Work(
            flops: one.flops, byteOperations: one.byteOperations, pairOperations: one.pairOperations, bytes: one.bytes,
            workingSet: one.bytes * isoCopies)
    }

    func of(_ kind: Peer.Kind) -> Work {
        switch kind {
        case .layer: layer
        case .denseAllExperts: everyone
        case .denseIsoActive: dense
        }
    }

    /// Refuses to start a library that, with our own layer, would not find room for its weights. Where the system does not tell how much is
    /// free, nothing is refused.
    func checkMemory(for workload: Workload) throws(PeerFailure) {
        guard let free = Machine.availableBytes else { return }
        let weights = everyone.bytes + dense.workingSet
        // The peer's, ours, and room to arrange its own.
        let needed = 2 * weights + weights / 2 + 512 << 20
        guard needed <= free else { throw .noMemory(needed: needed, free: free) }
    }
}

/// The references that peers' outputs are compared with.
private struct PeerChecks {
    private let layer: PeerCheck
    private let dense: PeerCheck

    init(
        _ workload: Workload, _ configuration: MoEConfiguration, _ iso: MoEConfiguration, _ inputs: Inputs
    ) throws(MoEError) {
        let checked = WorkloadRunner.checkedTokens(workload)
        func check(_ configuration: MoEConfiguration, sample: Int) throws(MoEError) -> PeerCheck {
            let oracle = try LayerOracle(
                configuration, source: try workload.weights.source(configuration), inputs: inputs, sample: sample,
                seed: workload.seed)
            return PeerCheck(oracle: oracle, workload: workload)
        }
        layer = try check(configuration, sample: checked)
        dense = try check(iso, sample: min(checked, 4))
    }

    func of(_ kind: Peer.Kind) -> PeerCheck { kind == .denseIsoActive ? dense : layer }
}
