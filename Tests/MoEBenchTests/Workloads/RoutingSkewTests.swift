import Foundation
import MoEKernel
import Testing

@testable import MoEBench

@Suite struct RoutingSkewTests {
    private static let pool = Result { try ThreadPool(threads: 1) }

    private static func workload(_ skew: RoutingSkew, tokens: Int = 64, router: Workload.Router = .softmax) -> Workload
    {
        var workload = Workload(name: "skewed", tokens: tokens, hidden: 96, expertHidden: 16, experts: 32, topK: 4)
        workload.skew = skew
        workload.router = router
        return workload
    }

    /// What the layer's own router makes of the inputs, sets of experts by token.
    private static func chosen(_ workload: Workload) throws -> [[Set<Int32>]] {
        let configuration = try workload.configuration()
        let weights = try workload.weights(for: configuration)
        let layer = try MoELayer(configuration, weights: weights, pool: pool.get())
        let inputs = try workload.inputs(configuration, weights.source(configuration))
        return try inputs.batches.map { batch in
            let routing = try layer.route(Tensor(shape: [workload.tokens, workload.hidden], batch))
            return (0..<workload.tokens).map { Set(routing.expertIndices[$0 * 4..<($0 + 1) * 4]) }
        }
    }

    /// Every token of every batch goes where it is wished to go, by every router that can be steered.
    @Test(arguments: [Workload.Router.softmax, .grouped], [1, 20])
    func everyWishIsReached(_ router: Workload.Router, _ tokens: Int) throws {
        for skew in [RoutingSkew.zipf(exponent: 1.5), .hot(share: 0.5)] {
            var workload = Self.workload(skew, tokens: tokens, router: router)
            for type in [ElementType.float32, .bfloat16] {
                workload.weightType = type
                let wished = try skew.choices(workload, workload.configuration())
                #expect(wished.count == workload.inputBatches)
                let reached = try Self.chosen(workload)
                for (batch, experts) in wished.enumerated() {
                    for token in 0..<tokens {
                        let wish = experts[token * 4..<(token + 1) * 4]
                        #expect(Set(wish).count == 4)
                        #expect(reached[batch][token] == Set(wish.map { Int32($0) }))
                    }
                }
            }
        }
    }

    /// Rounded to bf16, as a GPU gets them, inputs still choose so.
    @Test func roundedInputsChooseTheSame() throws {
        let workload = Self.workload(.zipf(exponent: 1), tokens: 64)
        let configuration = try workload.configuration()
        let weights = try workload.weights(for: configuration)
        let inputs = try workload.inputs(configuration, weights.source(configuration)).held(by: .bfloat16)
        let layer = try MoELayer(configuration, weights: weights, pool: Self.pool.get())
        let routing = try layer.route(Tensor(shape: [64, 96], inputs.batches[0]))
        let wished = try workload.skew!.choices(workload, configuration)[0]
        for token in 0..<64 {
            #expect(
                Set(routing.expertIndices[token * 4..<(token + 1) * 4])
                    == Set(wished[token * 4..<(token + 1) * 4].map { Int32($0) }))
        }
    }

    @Test(arguments: [0, 0.25, 1.0]) func oneHotExpert(_ share: Double) throws {
        let workload = Self.workload(.hot(share: share), tokens: 64)
        var counts = [Int](repeating: 0, count: 32)
        for experts in try Self.chosen(workload).flatMap({ $0 }) {
            for expert in experts { counts[Int(expert)] += 1 }
        }
        let hot = share == 0 ? counts.min()! : counts.max()!
        #expect(abs(Double(hot) - 64 * share) <= 1)
        // The others are drawn evenly.
        let others = counts.sorted().dropFirst(share == 0 ? 1 : 0).dropLast(share == 0 ? 0 : 1)
        #expect(Double(others.max()!) < 3 * Double(others.reduce(0, +)) / Double(others.count))
    }

    /// The steeper the law, the more of the load the busiest expert has; an even router has less than any.
    @Test func loadRisesWithTheExponent() throws {
        func busiest(_ skew: RoutingSkew?) throws -> Double {
            var workload = Self.workload(.zipf(exponent: 1), tokens: 256)
            workload.skew = skew
            var counts = [Int](repeating: 0, count: 32)
            for experts in try Self.chosen(workload).flatMap({ $0 }) {
                for expert in experts { counts[Int(expert)] += 1 }
            }
            return Double(counts.max()!) / (Double(counts.reduce(0, +)) / 32)
        }
        let loads = [try busiest(nil), try busiest(.zipf(exponent: 0.7)), try busiest(.zipf(exponent: 2))]
        #expect(loads[0] < loads[1] && loads[1] < loads[2])
        // Nearly every token visits the expert of the first rank: 1 of 4 choices, 8 times an even share.
        #expect(loads[2] > 6 && loads[2] <= 8)
    }

    @Test func recordedRoutingIsReplayed() throws {
        let place = FileManager.default.temporaryDirectory.appending(path: "moe-routing-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: place) }
        let rows = [[0, 9, 31, 4], [9, 8, 7, 6], [9, 30, 2, 1]]
        let json = place.appending(path: "r.json").path
        try JSONEncoder().encode(["topk_indices": rows]).write(to: URL(filePath: json))
        var writer = SafetensorsWriter()
        try writer.add("topk_indices", shape: [3, 4], rows.flatMap { $0 }.map { Int64($0) })
        let tensors = place.appending(path: "r.safetensors").path
        try writer.write(to: tensors)

        let recorded = try #require(try RoutingSkew.parse("file:\(json)"))
        #expect(try RoutingSkew.parse("file:\(tensors)") == recorded)
        #expect("\(recorded)" == "file:r.json")
        let workload = Self.workload(recorded, tokens: 5)
        let reached = try Self.chosen(workload)
        // Over all batches, from the first row again after the last.
        for (index, experts) in reached.flatMap({ $0 }).enumerated() {
            #expect(experts == Set(rows[index % 3].map { Int32($0) }))
        }
        // In results stands what was replayed, not the replay.
        let written = try JSONEncoder().encode(workload)
        #expect(!String(decoding: written, as: UTF8.self).contains(place.path))
        let read = try JSONDecoder().decode(Workload.self, from: written)
        #expect(read == workload)
        #expect(throws: MoEError.self) {
            try read.inputs(read.configuration(), read.weights.source(read.configuration()))
        }

        for (text, problem) in [
            ("[]", "no choices"), ("[[1, 2], [1]]", "token 1 has 1"), ("[[1, 1]]", "twice"), ("[[-1]]", "expert -1"),
            ("{}", "no recorded routing"),
        ] {
            try Data(text.utf8).write(to: URL(filePath: json))
            let error = #expect(throws: MoEError.self) { try RoutingSkew.parse("file:\(json)") }
            #expect(error.map { "\($0)" }?.contains(problem) == true)
        }
    }

    @Test func texts() throws {
        #expect(try RoutingSkew.parse("uniform") == nil)
        #expect(try RoutingSkew.parse("zipf:1.5") == .zipf(exponent: 1.5))
        #expect(try RoutingSkew.parse("hot:0.25") == .hot(share: 0.25))
        #expect("\(RoutingSkew.zipf(exponent: 2))" == "zipf:2")
        for text in ["", "zipf", "zipf:", "zipf:-1", "zipf:nan", "hot:1.5", "hot:", "file:", "even", "uniform:1"] {
            #expect(throws: MoEError.self) { try RoutingSkew.parse(text) }
        }
    }

    /// What cannot be steered is refused before anything is made.
    @Test func impossibleWishes() throws {
        func problem(_ workload: Workload) throws -> String {
            let error = #expect(throws: MoEError.self) { try workload.checkSkew(workload.configuration()) }
            return error.map { "\($0)" } ?? ""
        }
        #expect(try problem(Self.workload(.zipf(exponent: 1), router: .hierarchical)).contains("zipf:1"))
        var narrow = Self.workload(.zipf(exponent: 1))
        narrow.hidden = 63
        #expect(try problem(narrow).contains("64, or more"))
        var all = Self.workload(.hot(share: 0.5))
        all.topK = 32
        #expect(try problem(all).contains("hot:0.5"))
        let recorded = try RecordedRouting([[1, 2]], file: "r.json")
        #expect(try problem(Self.workload(.recorded(routing: recorded))).contains("2 experts a token"))
    }

    /// The whole harness on skewed routing: every contender agrees with the oracle, and the load is what was reached.
    @Test func measuredUnderSkew() throws {
        var workload = Self.workload(.hot(share: 1), tokens: 16)
        workload.rules = LayerRules()
        workload.rules?.score = .sigmoid
        workload.rules?.hasSelectionBias = true
        workload.rules?.shared = LayerRules.Shared(width: 24)
        let report = try WorkloadRunTests.report(workload, budget: 0.02)
        for result in report.comparison.results { #expect(result.failure == nil, "\(result.subject.name)") }
        // One of four choices of every token, over a mean of 1/32.
        #expect(report.load.maximumOverMean == 8)
        #expect(report.load.tokensPerExpert?.max() == 16 * workload.inputBatches)
        let lines = SuiteText(Terminal(hasStyle: false, hasProgress: false)).workload(report)
        #expect(lines[0].contains("routing hot:1"))
    }
}
