import MoEKernel

/// The peers of one workload: started, given its weights and inputs, and checked; in the end each is a row, or has a reason why not.
final class PeerContest {
    let inputs: Inputs
    /// Those that may be timed.
    private(set) var tracks: [PeerTurns.Track] = []
    private(set) var failures: [Peer: PeerFailure] = [:]
    private let workload: Workload
    private let settings: PeerRunner
    private let work: PeerWork
    private let exchange: PeerExchange
    private var workers: [PeerWorker] = []

    /// Starts peers and has each run every batch once.
    ///
    /// - Throws: what is wrong with the workload, and where files cannot be written; never what befalls a peer.
    init(_ settings: PeerRunner, _ workload: Workload) throws(MoEError) {
        let configuration = try workload.configuration()
        guard workload.expert == .gated, workload.activation == .silu, workload.router == .softmax else {
            throw .configuration(
                field: "workload", value: "another expert or router",
                expectation: "gated experts with silu, a softmax router")
        }
        self.settings = settings
        self.workload = workload
        // Inputs of 16 bits are what peers of 16 bits read; everyone gets them.
        inputs =
            workload.quantisation == nil && workload.weightType != .float32
            ? Inputs(workload).held(by: workload.weightType) : Inputs(workload)
        work = try PeerWork(workload, configuration, inputs: inputs, settings.runner)
        exchange = try PeerExchange(keep: settings.keep, name: workload.name)
        do throws(MoEError) {
            try prepare(configuration)
        } catch {
            end()
            throw error
        }
    }

    deinit { end() }

    /// Ends all peers and deletes what they were given.
    func end() {
        for worker in workers { worker.end() }
        exchange.remove()
    }

    private func prepare(_ configuration: MoEConfiguration) throws(MoEError) {
        let runner = settings.runner
        var wanted = Peer.all.filter(settings.peers.contains)
        let dense = work.of(.denseAllExperts)
        if dense.flops > runner.limits.denseFLOPs {
            for peer in wanted where peer.kind == .denseAllExperts {
                failures[peer] = .tooLong("\(Format.significant(Double(dense.flops) * 1e-9)) GFLOP a call")
            }
            wanted.removeAll { failures[$0] != nil }
        }
        if wanted.isEmpty { return }
        runner.progress.show("\(workload.name): writing weights for peers")
        try exchange.write(
            workload, configuration, iso: work.iso, inputs: inputs, threads: runner.pool.threads,
            isoCopies: work.isoCopies, interruption: runner.interruption)
        runner.progress.show("\(workload.name): float64 reference")
        let checks = try PeerChecks(workload, configuration, work.iso, inputs)
        for library in Peer.Library.allCases where !runner.interruption.isRequested {
            let mine = wanted.filter { $0.library == library }
            if mine.isEmpty { continue }
            let worker = PeerWorker(
                library, settings.launch, exchange, patience: settings.patience, interruption: runner.interruption)
            workers.append(worker)
            tracks += prepare(mine, worker, checks)
        }
        exchange.removeWeights()
    }

    /// Starts a library and has it build its layers. Where one of them ends the process, it starts again without that one.
    private func prepare(_ peers: [Peer], _ worker: PeerWorker, _ checks: PeerChecks) -> [PeerTurns.Track] {
        let runner = settings.runner
        while true {
            let left = peers.filter { failures[$0] == nil }
            if left.isEmpty { break }
            do throws(PeerFailure) {
                runner.progress.show("\(workload.name): starting \(worker.library.rawValue)")
                try work.checkMemory(for: worker.library)
                try worker.start(threads: runner.pool.threads)
            } catch {
                for peer in left { failures[peer] = error }
                break
            }
            var tracks: [PeerTurns.Track] = []
            for peer in left where worker.isAlive {
                runner.progress.show("\(workload.name): preparing \(peer.name)")
                do throws(PeerFailure) {
                    tracks.append(try track(peer, worker, checks.of(peer.kind)))
                } catch {
                    failures[peer] = error
                }
            }
            if worker.isAlive { return tracks }
            if runner.interruption.isRequested { break }
        }
        worker.end()
        return []
    }

    private func track(_ peer: Peer, _ worker: PeerWorker, _ check: PeerCheck) throws(PeerFailure) -> PeerTurns.Track {
        let elements = inputs.tokens * inputs.hidden
        let (y, times) = try worker.prepare(peer, batches: inputs.batches.count, elements: elements)
        var found: Double?
        do throws(WrongResult) {
            for batch in inputs.batches.indices {
                let part = Array(y[batch * elements..<(batch + 1) * elements])
                if let error = try check.error(of: part, batch: batch) { found = max(found ?? 0, error) }
            }
        } catch {
            throw .wrongResult(error)
        }
        guard let worst = found else { throw .wrongResult(WrongResult("no token could be checked")) }
        let seconds = Summary(times.map { Double($0) * 1e-9 })?.median ?? 0
        return PeerTurns.Track(peer, worker, check, seconds: seconds, error: worst)
    }

    /// Adds every peer that was asked for to a report of ours: as a measurement, or as one that was not run.
    func account(in report: inout WorkloadReport) {
        for track in tracks {
            do throws(PeerFailure) {
                report.external.append(try measurement(track, report.comparison))
            } catch {
                failures[track.peer] = error
            }
        }
        for peer in Peer.all where settings.peers.contains(peer) {
            let isMissing = !report.external.contains { $0.subject.name == peer.name }
            // Without a failure it was not begun.
            let failure = failures[peer] ?? (isMissing ? .interrupted : nil)
            if let failure { report.notRun.append(.init(name: peer.name, reason: "\(failure)")) }
        }
    }

    private func measurement(
        _ track: PeerTurns.Track, _ comparison: Comparison
    ) throws(PeerFailure) -> ExternalMeasurement {
        if let failure = track.failure { throw failure }
        guard let median = Summary(track.nanoseconds.map { Double($0) })?.median else {
            throw settings.runner.interruption.isRequested
                ? .interrupted : .failed("it had no turn: none of ours could be timed")
        }
        let done = work.of(track.peer.kind)
        // Only in plain fp32 the ceilings are those of a peer's arithmetic, and only with the widest vectors, which a peer may use whatever we
        // do; by the best pass, as our own rows.
        if workload.dtype == ElementType.float32.rawValue,
            settings.runner.instructionSet == CPUInstructionSet.supported.last,
            let bound = comparison.ceilings.limit(of: done), bound.share(ofSeconds: median * 1e-9) > bound.tolerance
        {
            throw .impossible(
                "\(Format.significant(Double(bound.amount) / median)) "
                    + "\(bound.resource.isTraffic ? "GB/s" : "GFLOP/s") on a machine that reaches "
                    + Format.significant(bound.ceiling * 1e-9))
        }
        return ExternalMeasurement(
            subject: Subject(
                name: track.peer.name, workload: workload, dtype: workload.dtype,
                threads: settings.runner.pool.threads, instructionSet: "its own"),
            program: track.worker.program, work: done, inputHash: comparison.inputHash, error: track.worstError,
            nanoseconds: track.nanoseconds)
    }
}
