import MoEKernel
import Testing

@testable import MoEBench

@Suite struct ServeOptionsTests {
    private static func settings(_ words: String...) throws -> ServeSettings {
        try ServeOptions.settings(Arguments(words, options: ServeOptions.options), seed: 1)
    }

    @Test func defaultsAreARunOfSomeSeconds() throws {
        let settings = try Self.settings()
        #expect(settings.load.extent == .seconds(10))
        #expect(settings.workload.tokens == settings.limits.maximumBatchTokens)
        #expect(
            settings.limits.maximumSequenceTokens == settings.load.prompt.maximum + settings.load.output.maximum)
        #expect(!settings.findsRate && settings.targets == ServeSettings.Targets())
        // Enough requests for p99.
        #expect(settings.load.schedule().count >= Summary.samplesForP99)
    }

    /// The spellings of the program that this one follows.
    @Test func otherSpellingsAreUnderstood() throws {
        let settings = try Self.settings(
            "--batch-size", "4", "--seq-len", "32", "--hidden-dim", "64", "--expert-dim", "48", "--num-experts", "6",
            "--top-k", "3", "--num-requests", "50", "--concurrent-requests", "10", "--warmup-requests", "2",
            "--target-latency-ms", "250", "--target-throughput", "1e3")
        #expect(settings.limits.maximumRunning == 4 && settings.limits.maximumWaiting == 6)
        #expect(settings.load.prompt == .fixed(32) && settings.load.extent == .requests(50))
        #expect(settings.workload.hidden == 64 && settings.workload.expertHidden == 48)
        #expect(settings.workload.experts == 6 && settings.workload.topK == 3)
        #expect(settings.warmUp == 2)
        #expect(settings.targets == ServeSettings.Targets(endToEnd: 0.25, tokensPerSecond: 1000))
        let few = try Self.settings("--concurrent_requests=1")
        #expect(few.limits.maximumRunning == 1 && few.limits.maximumWaiting == 1)
    }

    @Test func objectivesAreRead() throws {
        let both = try Self.settings("--objective", "ttft=1.5s,tpot=500us").objective
        #expect(both == .init(firstToken: 1.5, perToken: 500 * 1e-6))
        #expect(try Self.settings("--objective", "tpot=10ms").objective.perToken == 0.01)
        for bad in ["ttft", "ttft=5", "ttft=-5ms", "ttft=xms", "latency=5ms", "ttft=0s", "ttft=infs"] {
            #expect(throws: UsageError.self, "\(bad)") { try Self.settings("--objective", bad) }
        }
    }

    @Test func impossibleCombinationsAreRefused() {
        for words in [
            ["--requests", "5", "--seconds", "3"], ["--find-rate", "--requests", "5"], ["--rate", "0"],
            ["--rate", "nan"], ["--rate", "fast"], ["--cancel", "101"], ["--prompt", "0"], ["--output-tokens", "5-2"],
            ["--arrivals", "uniform"], ["--max-running", "64", "--max-batch-tokens", "32"], ["--layers", "0"],
            ["--concurrent-requests", "5", "--max-waiting", "5"], ["--find-rate", "--target-throughput", "5"],
            ["--dtype", "fp12"],
        ] {
            #expect(throws: UsageError.self, "\(words)") {
                try ServeOptions.settings(Arguments(words, options: ServeOptions.options), seed: 1)
            }
        }
        #expect(throws: MoEError.self) { try Self.settings("--top-k", "17") }
        #expect(throws: MoEError.self) { try Self.settings("--hidden", "0") }
    }

    /// A layer that computes something else is not served.
    @Test func aWrongLayerServesNothing() throws {
        let workload = Workload(name: "test", tokens: 16, hidden: 64, expertHidden: 48, experts: 4, topK: 2)
        var other = workload
        other.seed = 2
        let pool = try ThreadPool(threads: 2)
        let right = try MoELayer(workload.configuration(), weights: workload.weights, pool: pool)
        let wrong = try MoELayer(workload.configuration(), weights: other.weights, pool: pool)
        #expect(try ServedLayers.check(right, workload) >= 4)
        #expect(throws: WrongResult.self) { try ServedLayers.check(wrong, workload) }
    }

    @Test func layersThatNoMemoryHoldsAreRefused() throws {
        let workload = Workload(name: "test", tokens: 16, hidden: 8192, expertHidden: 8192, experts: 64, topK: 2)
        let set = try CPUInstructionSet.chosen()
        #expect(throws: MoEError.self) {
            try ServedLayers(
                workload, layers: 64, pool: ThreadPool(threads: 1), instructionSet: set, tuning: CPUTuning.chosen(set),
                memoryBytes: 1 << 34, progress: .silent)
        }
    }
}
