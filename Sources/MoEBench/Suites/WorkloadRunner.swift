import MoEKernel

/// What one workload's run gave.
package struct WorkloadReport: Sendable {
    /// A contender that was left out, and why.
    package struct NotRun: Sendable, Hashable, Codable {
        package let name: String
        package let reason: String
    }

    /// How the router spread the tokens.
    package struct Load: Sendable, Hashable, Codable {
        /// Busiest expert's tokens over the mean, all batches together.
        package let maximumOverMean: Double
        /// Experts that had any token, all batches together.
        package let expertsTouched: Int
        package let batches: Int
        /// Choices that each expert got, all batches together; nil in files of a time when it was not recorded.
        package let tokensPerExpert: [Int]?
    }

    package let workload: Workload
    package let load: Load
    /// Bytes of the layer's packed weights.
    package let weightBytes: Int
    package let threads: Int
    package let instructionSet: String
    /// Every field, as `--tuning` takes it; nil on a GPU.
    package let tuning: String?
    /// The contender that others are compared with.
    package let reference: String
    /// Tokens of each batch whose output was checked.
    package let checkedTokens: Int
    /// Seconds of the first call, before anything was warm; nil where it was not timed.
    package var firstCall: Double?
    package let comparison: Comparison
    package var notRun: [NotRun]
    package let seconds: Double
    /// What earlier calls left in the processor's caches.
    package var caches = CacheState.warm
    /// The most memory that the process held while this workload ran, in bytes; nil where it is not known.
    package var peakBytes: Int?
    /// Implementations that ran in other programs.
    package var external: [ExternalMeasurement] = []
}

/// Measures the layer and what it is compared with on one workload.
package struct WorkloadRunner: Sendable {
    /// Who is measured.
    package enum Contest: Sendable, Hashable {
        /// The layer, its stages, and other ways to compute the same.
        case baselines
        /// The layer and dense layers: what other libraries are compared with.
        case dense
        /// The layer, and the layer without one of its design decisions.
        case ablation(Ablation)
    }

    /// What baselines may cost before they are left out.
    package struct Limits: Sendable {
        /// FLOPs of one call of dense-all-experts: about half a second a call on two cores.
        package var denseFLOPs = 100_000_000_000
        /// FLOPs of one call of scalar.
        package var scalarFLOPs = 1_000_000_000
        /// Bytes of fp32 weights that scalar keeps beside the layer's.
        package var scalarBytes = 1 << 30

        package init() {}
    }

    package let pool: ThreadPool
    package let instructionSet: CPUInstructionSet
    package let tuning: CPUTuning
    package let build: String
    package var limits = Limits()
    package var contest = Contest.baselines
    /// Makes what measures the ceilings, from bytes to read; nil takes the machine's. A test puts limits there that nothing reaches.
    var probe: (@Sendable (Int) throws(MoEError) -> any MachineProbe)?
    package var caches = CacheState.warm
    package let interruption: Interruption
    package let progress: ProgressLine

    package init(
        pool: ThreadPool, instructionSet: CPUInstructionSet, tuning: CPUTuning, build: String,
        interruption: Interruption, progress: ProgressLine
    ) {
        self.pool = pool
        self.instructionSet = instructionSet
        self.tuning = tuning
        self.build = build
        self.interruption = interruption
        self.progress = progress
    }

    /// Tokens of a batch that the oracle computes: its scalar float64 arithmetic may take about a second.
    package static func checkedTokens(_ workload: Workload) -> Int {
        let flops = Work.flopsPerToken(workload)
        let affordable = max(1, 1_500_000_000 / max(Work.product(flops, workload.inputBatches), 1))
        return min(workload.tokens, max(workload.tokens <= 64 ? affordable : min(affordable, 8), 1))
    }

    /// Measures one workload.
    ///
    /// - Parameters:
    ///   - budget: Seconds of timed calls.
    ///   - kept: The layer of an earlier run, used again where it is the same.
    ///   - inputs: nil for those that follow from the workload's seed.
    ///   - interlude: As ``InterleavedTimer/compare(_:inputs:ceilings:interlude:)`` calls it. Where there is one, sampling takes the whole
    ///     budget: whoever has a turn meanwhile counts on its rounds.
    package func run(
        _ workload: Workload, budget: Double, kept: KeptLayer = KeptLayer(), inputs given: Inputs? = nil,
        interlude: ((_ round: Int, _ rounds: Int) -> Void)? = nil
    ) throws(MoEError) -> WorkloadReport {
        let clock = ContinuousClock()
        let start = clock.now
        let memory = PeakMemory()
        let configuration = try workload.configuration()  // names a bad size before anything is made
        let weights = try workload.weights(for: configuration)
        let source = try weights.source(configuration)

        progress.show("\(workload.name): making weights")
        let layer = try kept.layer(workload, pool: pool, instructionSet: instructionSet, tuning: tuning) {
            () throws(MoEError) in
            try MoELayer(
                configuration, weights: weights, pool: pool, instructionSet: instructionSet,
                arithmetic: workload.arithmetic, tuning: tuning)
        }
        let inputs = if let given { given } else { try workload.inputs(configuration, source) }
        let tokensPerExpert = try Self.tokensPerExpert(layer, inputs)

        progress.show("\(workload.name): float64 reference")
        let checked = Self.checkedTokens(workload)
        let oracle = try LayerOracle(
            configuration, source: source, inputs: inputs, sample: checked, seed: workload.seed,
            arithmetic: workload.arithmetic)
        let trial = WorkloadTrial(
            workload: workload, configuration: configuration, weights: weights, source: source, layer: layer,
            inputs: inputs, oracle: oracle, gating: .gating(configuration, tokens: workload.tokens),
            experts: .experts(
                configuration, form: workload.form, arithmetic: workload.arithmetic, tokensPerExpert: tokensPerExpert,
                sharedTokens: workload.tokens), pool: pool, instructionSet: instructionSet, tuning: tuning)
        let (contenders, notRun) =
            switch contest {
            case .baselines, .dense: try baselines(trial)
            case .ablation(let ablation): (try ablation.contenders(trial), [])
            }
        let reference =
            switch contest {
            case .baselines, .dense: Self.wholeLayer
            case .ablation: contenders[0].implementation.subject.name
            }

        progress.show("\(workload.name): ceilings")
        let machine = ProbedMachine.processor(caches)
        let sampler = try CeilingSampler(
            workingSets: contenders.map(\.implementation.work.workingSet),
            arithmetic: workload.arithmetic, machine: machine
        ) { (bytes: Int) throws(MoEError) -> any MachineProbe in
            if let probe { return try probe(bytes) }
            return try CeilingProbe(
                pool: pool, instructionSet: instructionSet, readBytes: bytes,
                passBytes: machine.passBytes(ofBuffer: bytes), code: workload.form?.code ?? .int8)
        }
        let (progress, rounds) = (progress, clock.now)
        var plan = SamplingPlan(budget: budget)
        if interlude != nil { plan.relativeHalfWidth = 0 }
        let timer = InterleavedTimer(
            plan: plan, build: build, interruption: interruption,
            walk: caches == .cold ? try CacheWalk(pool: pool, instructionSet: instructionSet) : nil
        ) {
            progress.show(
                workload.name, round: $0, of: $1, elapsed: (clock.now - rounds) / .seconds(1), budget: budget)
        }
        let comparison = timer.compare(
            contenders, inputs: inputs, ceilings: sampler, interlude: interlude ?? { _, _ in })
        progress.clear()
        return WorkloadReport(
            workload: workload, load: Self.load(tokensPerExpert), weightBytes: layer.weightByteCount,
            threads: pool.threads, instructionSet: instructionSet.rawValue, tuning: tuning.description,
            reference: reference,
            checkedTokens: checked, comparison: comparison, notRun: notRun, seconds: (clock.now - start) / .seconds(1),
            caches: caches, peakBytes: memory.bytes)
    }

    private func baselines(_ trial: WorkloadTrial) throws(MoEError) -> ([Contender], [WorkloadReport.NotRun]) {
        let (workload, configuration, inputs) = (trial.workload, trial.configuration, trial.inputs)
        let (gating, experts) = (trial.gating, trial.experts)
        let check = LayerCheck(trial.oracle)
        var contenders: [Contender] = []
        let stages: [(LayerStage.Stage, Work)] = [(.gating, gating), (.routing, .uncounted), (.experts, experts)]
        for (stage, work) in contest == .dense ? [] : stages {
            let implementation = try LayerStage(
                stage, of: trial.layer, subject: trial.subject(stage.rawValue), work: work, inputs: inputs)
            contenders.append(Contender(implementation, check: check, weight: 2))
        }
        contenders.append(
            Contender(
                WholeLayer(
                    trial.layer, subject: trial.subject(Self.wholeLayer), work: gating + experts, inputs: inputs),
                check: check,
                weight: 2))

        var notRun: [WorkloadReport.NotRun] = []
        let everyone = Array(
            repeating: Array(repeating: workload.tokens, count: workload.experts), count: workload.inputBatches)
        let denseWork =
            gating
            + Work.experts(
                configuration, form: workload.form, arithmetic: workload.arithmetic, tokensPerExpert: everyone,
                sharedTokens: workload.tokens)
        if denseWork.flops <= limits.denseFLOPs {
            let dense = DenseAllExperts(
                trial.layer, subject: trial.subject(DenseAllExperts.name), work: denseWork, inputs: inputs)
            contenders.append(Contender(dense, check: check))
        } else {
            notRun.append(.init(name: DenseAllExperts.name, reason: tooLong(denseWork)))
        }

        progress.show("\(workload.name): dense baseline")
        contenders.append(
            try isoActive(
                workload, subject: trial.subject(DenseIsoActive.name), inputs: inputs,
                workingSet: experts.workingSet))

        if contest == .dense { return (contenders, notRun) }
        if let lack = ScalarBaseline.lack(for: configuration) {
            notRun.append(.init(name: ScalarBaseline.name, reason: lack))
        } else if workload.arithmetic != .exact {
            notRun.append(.init(name: ScalarBaseline.name, reason: "it does not round activations"))
        } else if experts.flops <= limits.scalarFLOPs, 4 * Self.expertWeights(configuration) <= limits.scalarBytes {
            let scalar = try ScalarBaseline(
                configuration, source: trial.source,
                subject: trial.subject(ScalarBaseline.name, threads: 1, instructionSet: "plain Swift"),
                work: gating + experts,
                inputs: inputs)
            contenders.append(
                Contender(scalar, check: LayerCheck(trial.oracle, tolerance: Tolerance(chain: Tolerance.singleChain))))
        } else {
            notRun.append(.init(name: ScalarBaseline.name, reason: tooLong(experts)))
        }
        return (contenders, notRun)
    }

    package static let wholeLayer = "whole layer"

    private func isoActive(
        _ workload: Workload, subject: Subject, inputs: Inputs, workingSet: Int
    ) throws(MoEError) -> Contender {
        let configuration = try workload.isoActiveConfiguration()
        let weights = workload.weights
        let work = Work.experts(
            configuration, form: workload.form, arithmetic: workload.arithmetic,
            tokensPerExpert: inputs.batches.map { _ in [workload.tokens] })
        var copies: [MoELayer] = []
        for _ in 0..<DenseIsoActive.copies(of: work.bytes, toCover: workingSet, batches: inputs.batches.count) {
            copies.append(
                try MoELayer(
                    configuration, weights: weights, pool: pool, instructionSet: instructionSet,
                    arithmetic: workload.arithmetic, tuning: tuning))
        }
        let oracle = try LayerOracle(
            configuration, source: try weights.source(configuration), inputs: inputs,
            sample: min(Self.checkedTokens(workload), 4), seed: workload.seed, arithmetic: workload.arithmetic)
        let implementation = try DenseIsoActive(
            copies, subject: subject,
            work: Work(
                flops: work.flops, byteOperations: work.byteOperations, pairOperations: work.pairOperations,
                bytes: work.bytes,
                workingSet: work.bytes * copies.count), inputs: inputs)
        return Contender(implementation, check: LayerCheck(oracle))
    }

    private static func expertWeights(_ configuration: MoEConfiguration) -> Int {
        configuration.experts * configuration.expert.projections.count * configuration.hidden
            * configuration.expertHidden
    }

    private func tooLong(_ work: Work) -> String { "\(Format.significant(Double(work.flops) * 1e-9)) GFLOP a call" }

    /// Tokens of every expert, for each batch.
    static func tokensPerExpert(_ layer: MoELayer, _ inputs: Inputs) throws(MoEError) -> [[Int]] {
        var counts: [[Int]] = []
        for batch in inputs.batches {
            let x = try Tensor(shape: [inputs.tokens, inputs.hidden], batch)
            var count = [Int](repeating: 0, count: layer.configuration.experts)
            for expert in try layer.forward(x).routing.expertIndices { count[Int(expert)] += 1 }
            counts.append(count)
        }
        return counts
    }

    static func load(_ tokensPerExpert: [[Int]]) -> WorkloadReport.Load {
        let totals = tokensPerExpert[0].indices.map { expert in tokensPerExpert.reduce(0) { $0 + $1[expert] } }
        let mean = Double(totals.reduce(0, +)) / Double(totals.count)
        return WorkloadReport.Load(
            maximumOverMean: Double(totals.max() ?? 0) / mean, expertsTouched: totals.count { $0 > 0 },
            batches: tokensPerExpert.count, tokensPerExpert: totals)
    }
}

extension Work {
    static func flopsPerToken(_ workload: Workload) -> Int {
        let matrices = product(2, workload.kind.projections.count, workload.hidden)
        return sum(product(matrices, workload.topK, workload.expertHidden), product(matrices, workload.sharedWidth))
    }
}
