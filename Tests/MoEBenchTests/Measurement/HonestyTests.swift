import MoEKernel
import Testing

@testable import MoEBench

/// Everything that an implementation might do instead of its work, or to its numbers, is caught.
@Suite struct HonestyTests {
    let trial: Trial

    init() throws { trial = try Trial() }

    private func isWrong(_ result: ContenderResult) -> Bool {
        if case .wrongResult = result.failure { true } else { false }
    }

    @Test func honestWorkIsMeasured() throws {
        let result = try trial.measure(Fake(trial.subject("honest")) { y, batch, _ in y = trial.truth[batch] })
        let measurement = try #require(result.measurement, "\(result.outcome)")
        #expect(measurement.count == 25)  // 24 planned, one more that is always checked
        #expect(measurement.nanoseconds.count == 25)
        #expect(measurement.inputHash == trial.inputs.hash)
    }

    /// Experts that leave the rounding of activations out are off by a hundredth or a few thousandths, and caught.
    @Test(arguments: [ExpertArithmetic.int8Activations, .bfloat16Activations], [(48, 64), (192, 320), (256, 768)])
    func exactWorkForRoundedActivations(rounding: ExpertArithmetic, sizes: (hidden: Int, expertHidden: Int)) throws {
        let hidden = sizes.hidden
        let configuration = try MoEConfiguration(
            experts: 6, topK: 2, hidden: hidden, expertHidden: sizes.expertHidden,
            weightType: rounding == .bfloat16Activations ? .bfloat16 : nil)
        let random = MoEWeights.random(seed: 5)
        let weights = rounding == .int8Activations ? random.quantised(to: .int8) : random
        var generator = SplitMix64(seed: 6)
        let x = (0..<24 * hidden).map { _ in Float(generator.unit() * 2 - 1) }
        let inputs = Inputs(tokens: 24, hidden: hidden, batches: [x])
        let check = LayerCheck(
            try LayerOracle(
                configuration, source: try weights.source(configuration), inputs: inputs, sample: 24, seed: 1,
                arithmetic: rounding))
        for (arithmetic, isRight) in [(rounding, true), (.exact, false)] {
            let layer = try MoELayer(configuration, weights: weights, arithmetic: arithmetic)
            let y = try layer.forward(Tensor(shape: [24, hidden], x)).y.elements
            if isRight {
                try check.verify(.activations(y), batch: 0)
            } else {
                #expect(throws: WrongResult.self) { try check.verify(.activations(y), batch: 0) }
            }
        }
    }

    /// One token a call: a single one may be off by a flip as much as by leaving the rounding out, all batches together not.
    @Test(arguments: [ExpertArithmetic.int8Activations, .bfloat16Activations])
    func exactWorkForRoundedActivationsOfOneToken(rounding: ExpertArithmetic) throws {
        let hidden = 48
        let configuration = try MoEConfiguration(
            experts: 6, topK: 2, hidden: hidden, expertHidden: rounding == .int8Activations ? 32 : 64,
            weightType: rounding == .bfloat16Activations ? .bfloat16 : nil)
        let random = MoEWeights.random(seed: 5)
        let weights = rounding == .int8Activations ? random.quantised(to: .int8) : random
        var generator = SplitMix64(seed: 6)
        let batches = (0..<16).map { _ in (0..<hidden).map { _ in Float(generator.unit() * 2 - 1) } }
        let oracle = try LayerOracle(
            configuration, source: try weights.source(configuration),
            inputs: Inputs(tokens: 1, hidden: hidden, batches: batches), sample: 1, seed: 1, arithmetic: rounding)
        func outputs(_ arithmetic: ExpertArithmetic) throws -> [StageOutput] {
            let layer = try MoELayer(configuration, weights: weights, arithmetic: arithmetic)
            return try batches.map { .activations(try layer.forward(Tensor(shape: [1, hidden], $0)).y.elements) }
        }
        let check = LayerCheck(oracle)
        for (batch, output) in try outputs(rounding).enumerated() { try check.verify(output, batch: batch) }
        let exact = try outputs(.exact)
        let other = check.forOneContender()
        #expect(throws: WrongResult.self) {
            for (batch, output) in exact.enumerated() { try other.verify(output, batch: batch) }
        }
        // Not because of a batch that fails by itself; of bytes most do.
        guard rounding == .bfloat16Activations else { return }
        let alone = exact.enumerated().filter { batch, output in
            (try? LayerCheck(oracle).verify(output, batch: batch)) != nil
        }
        #expect(alone.count > 8)
        let passing = LayerCheck(oracle)
        #expect(throws: WrongResult.self) {
            for (batch, output) in alone { try passing.verify(output, batch: batch) }
        }
    }

    /// At the sizes of real layers, which tests cannot compute, what is allowed stays below half of what leaving the rounding out
    /// costs: some 0.0026 of an output for bf16, 0.01 for bytes.
    @Test(arguments: [(ExpertArithmetic.bfloat16Activations, 0.0026), (.int8Activations, 0.01)])
    func boundsAtRealSizes(rounding: ExpertArithmetic, cost: Double) throws {
        for (hidden, expertHidden, topK) in [(2048, 768, 8), (4096, 14_336, 2), (7168, 2048, 8)] {
            for shared in [SharedExpert.none, .dense(width: expertHidden)] {
                let configuration = try MoEConfiguration(
                    experts: 8, topK: topK, hidden: hidden, expertHidden: expertHidden, shared: shared)
                let flips = try #require(Tolerance().flips(configuration, rounding, logitScale: 1))
                let largest = flips.largest(weights: [1, 0.5])
                #expect(RoundingFlips.bound(largest: largest / 24, expected: flips.expected) < cost / 2)
            }
        }
    }

    @Test func oneElementSlightlyOff() throws {
        let result = try trial.measure(
            Fake(trial.subject("off")) { y, batch, _ in
                y = trial.truth[batch]
                y[trial.workload.hidden + 7] += 1e-4 * abs(y[trial.workload.hidden + 7]) + 1e-5
            })
        #expect(isWrong(result))
        #expect("\(try #require(result.failure))".contains("output[1, 7]"))
    }

    @Test func everyElementSlightlyOff() throws {
        let result = try trial.measure(
            Fake(trial.subject("off")) { y, batch, _ in y = trial.truth[batch].map { $0 * (1 + 1e-5) } })
        #expect(isWrong(result))
    }

    @Test func doingNothingAfterTheFirstCall() throws {
        let result = try trial.measure(
            Fake(trial.subject("lazy")) { y, batch, call in if call == 0 { y = trial.truth[batch] } })
        #expect(isWrong(result))
    }

    @Test(arguments: [2, 3, 5]) func doingNothingNowAndThen(every: Int) throws {
        let result = try trial.measure(
            Fake(trial.subject("lazy")) { y, batch, call in if call % every != 0 { y = trial.truth[batch] } })
        #expect(isWrong(result))
    }

    @Test func doingNothingInTheLastCalls() throws {
        let result = try trial.measure(
            Fake(trial.subject("lazy")) { y, batch, call in if call < 26 { y = trial.truth[batch] } })
        #expect(isWrong(result))
    }

    @Test func theFirstBatchAnswersForAll() throws {
        #expect(trial.inputs.batches.count > 1)
        let result = try trial.measure(Fake(trial.subject("cached")) { y, _, _ in y = trial.truth[0] })
        #expect(isWrong(result))
    }

    @Test func aTokenLeftOut() throws {
        let result = try trial.measure(
            Fake(trial.subject("short")) { y, batch, _ in
                y.replaceSubrange(0..<240, with: trial.truth[batch].prefix(240))
            })
        #expect(isWrong(result))
    }

    @Test func aTokenWithoutReferenceLeftOut() throws {
        let configuration = try trial.workload.configuration()
        let oracle = try LayerOracle(
            configuration, source: try MoEWeights.random(seed: 1).source(configuration), inputs: trial.inputs,
            sample: 1,
            seed: 1)
        let checked = try #require(oracle.batches[0].first?.index)
        var y = trial.truth[0]
        let other = (checked + 1) % trial.workload.tokens
        y[other * trial.workload.hidden] = .nan
        #expect(throws: WrongResult.self) { try LayerCheck(oracle).verify(.activations(y), batch: 0) }
    }

    /// A weight that a kernel forgets: one element of one expert's down matrix is zero.
    @Test func oneWeightDropped() throws {
        let configuration = try trial.workload.configuration()
        let source = try MoEWeights.random(seed: trial.workload.seed).source(configuration)
        func layer(_ source: any WeightSource) throws -> ScalarBaseline {
            try ScalarBaseline(
                configuration, source: source, subject: trial.subject("scalar"), work: .uncounted, inputs: trial.inputs)
        }
        #expect(try trial.measure(try layer(source)).failure == nil)
        let expert = trial.oracle.batches[0][0].experts[0]
        for projection in Projection.allCases {
            let lossy = Lossy(source: source, name: .expert(expert, projection), row: 3, column: 5)
            #expect(isWrong(try trial.measure(try layer(lossy))), "\(projection)")
        }
    }

    /// An expert whose contribution is forgotten.
    @Test func oneExpertDropped() throws {
        let configuration = try MoEConfiguration(
            experts: 6, topK: 1, hidden: 48, expertHidden: 80, weightType: .float32)
        let top1 = try LayerOracle(
            configuration, source: try MoEWeights.random(seed: 1).source(configuration), inputs: trial.inputs,
            sample: trial.workload.tokens, seed: 1)
        let truth = top1.batches.map { $0.flatMap { $0.y.map { Float($0) } } }
        #expect(isWrong(try trial.measure(Fake(trial.subject("top-1")) { y, batch, _ in y = truth[batch] })))
    }

    @Test func changingTheInput() throws {
        let inputs = trial.inputs
        let result = try trial.measure(
            Fake(trial.subject("vandal")) { y, batch, call in
                y = trial.truth[batch]
                guard call == 3 else { return }
                inputs.batches[0].withUnsafeBufferPointer {
                    UnsafeMutablePointer(mutating: $0.baseAddress!)[0] += 1
                }
            })
        #expect(result.failure == .inputChanged)
    }

    /// The right answer from a drawer: correct, but faster than the machine's arithmetic allows.
    @Test func fasterThanTheMachine() throws {
        let work = Work(flops: 1_000_000_000_000, bytes: 0)
        let result = try trial.measure(
            Fake(trial.subject("drawer"), work: work) { y, batch, _ in y = trial.truth[batch] }, probe: SlowProbe())
        guard case .impossible(let rate, let ceiling, _) = result.failure else {
            Issue.record("\(result.outcome)")
            return
        }
        #expect(rate > 1.03 * ceiling)
        #expect(result.measurement == nil)
    }

    /// A probe whose memory is slow makes nothing impossible: the second attempt has another.
    @Test func aSecondAttemptHasNewProbes() throws {
        final class Probes {
            var made = 0
        }
        let probes = Probes()
        let sampler = try CeilingSampler(workingSets: [1 << 30]) { _ in
            probes.made += 1
            return probes.made == 1 ? SlowProbe() as any MachineProbe : FastProbe()
        }
        let work = Work(flops: 0, bytes: 1 << 40, workingSet: 1 << 30)
        let fake = Fake(trial.subject("real"), work: work, clock: ScriptedClock { _ in 1_000_000_000 }) { y, batch, _ in
            y = trial.truth[batch]
        }
        let timer = InterleavedTimer(
            plan: SamplingPlan(budget: 1, minimumSamples: 5, maximumSamples: 5, rounds: 2), build: "test")
        let comparison = timer.compare(
            [Contender(fake, check: LayerCheck(trial.oracle))], inputs: trial.inputs, ceilings: sampler)
        #expect(comparison.results[0].measurement != nil, "\(comparison.results[0].outcome)")
        #expect(probes.made == 2)
    }

    /// A median above the median pass, on a machine of which one pass in four shows that it can do more, is that of a disturbed
    /// machine; above every pass it is impossible.
    @Test(arguments: [(1_000_000, true), (4_900_000, false)])
    func disturbedCeilings(fastest: UInt64, isPossible: Bool) throws {
        let fake = Fake(
            trial.subject(WorkloadRunner.wholeLayer), work: Work(flops: 1 << 39, bytes: 0),
            clock: ScriptedClock { _ in 1_000_000 }
        ) { y, batch, _ in y = trial.truth[batch] }
        // Two readings a pass: every fourth pass takes the last step.
        let clock = SteadyClock(steps: Array(repeating: 5_000_000, count: 7) + [fastest])
        let comparison = try trial.compare([fake], now: clock.now)
        #expect((comparison.results[0].measurement != nil) == isPossible, "\(comparison.results[0].outcome)")
        let bound = try #require(comparison.ceilings.bound(of: fake.work))
        #expect(bound.share(ofSeconds: 1e-3) > 1.03)
        #expect(comparison.ceilings.limit(of: fake.work)!.ceiling > bound.ceiling)
    }

    /// Products of a kind that the machine was not timed at cannot be believed, however slow they are.
    @Test func workWithoutACeiling() throws {
        let work = Work(flops: 1000, byteOperations: 1000, bytes: 0)
        let result = try trial.measure(
            Fake(trial.subject("uncapped"), work: work) { y, batch, _ in y = trial.truth[batch] })
        #expect(result.failure == .noCeiling(.byteDot))
        #expect(result.measurement == nil)
    }

    @Test func readingFasterThanTheMachine() throws {
        let work = Work(flops: 0, bytes: 1 << 40)
        let result = try trial.measure(
            Fake(trial.subject("drawer"), work: work) { y, batch, _ in y = trial.truth[batch] }, probe: SlowProbe())
        #expect(result.measurement == nil)
        #expect("\(try #require(result.failure))".contains("GB/s"))
    }

    /// There is no way to write a measurement down and have it believed: it cannot be decoded, and has no initialiser that
    /// this file, or any but the timer's, could call. Nothing in it can be scaled: every property is a `let`.
    @Test func measurementsCannotBeForged() throws {
        #expect((Measurement.self as Any.Type) is any Encodable.Type)
        #expect(!((Measurement.self as Any.Type) is any Decodable.Type))
        #expect((RecordedMeasurement.self as Any.Type) is any Decodable.Type)
    }

    @Test func oneFailureLeavesTheOthers() throws {
        let comparison = try trial.compare([
            Fake(trial.subject("honest")) { y, batch, _ in y = trial.truth[batch] },
            Fake(trial.subject("zero")) { y, _, _ in y = y.map { _ in 0 } },
        ])
        #expect(comparison.results[0].measurement != nil)
        #expect(isWrong(comparison.results[1]))
        #expect(!comparison.interrupted)
    }

    @Test func interruptionKeepsWhatIsThere() throws {
        let interruption = Interruption()
        let comparison = try trial.compare(
            [
                Fake(trial.subject("first")) { y, batch, call in
                    y = trial.truth[batch]
                    // After two calls and one on each other input to warm up.
                    if call == trial.truth.count + 3 { interruption.request() }
                },
                Fake(trial.subject("lazy")) { y, batch, call in if call < 4 { y = trial.truth[batch] } },
            ], interruption: interruption)
        #expect(comparison.interrupted)
        let count = try #require(comparison.results[0].measurement).count
        #expect(count > 0 && count < 24)
    }

    @Test func interruptionBeforeTheFirstSample() throws {
        let interruption = Interruption()
        interruption.request()
        let comparison = try trial.compare(
            [Fake(trial.subject("never")) { y, batch, _ in y = trial.truth[batch] }], interruption: interruption)
        #expect(comparison.results[0].failure == .interrupted)
    }
}

/// A weight source that loses one number.
private struct Lossy: WeightSource {
    let source: any WeightSource
    let name: WeightName
    let row: Int
    let column: Int

    func format(of name: WeightName) -> WeightFormat { source.format(of: name) }

    func read(
        _ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer
    ) throws(MoEError) {
        try source.read(name, rows: rows, into: destination)
        guard name == self.name, rows.contains(row) else { return }
        let width = if case .expert(_, .down) = name { 80 } else { 48 }
        destination.storeBytes(
            of: 0, toByteOffset: ((row - rows.lowerBound) * width + column) * 4, as: Float.self)
    }
}
