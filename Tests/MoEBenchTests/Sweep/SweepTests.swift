import MoEKernel
import Testing

@testable import MoEBench

@Suite struct SweepTests {
    private static let base = SweepPoint(
        Workload(name: "run", tokens: 4, hidden: 64, expertHidden: 32, experts: 8, topK: 2), budget: 0.05)

    private static func axis(_ name: String, _ path: WritableKeyPath<Workload, Int> & Sendable, _ values: [Int])
        -> SweepAxis
    {
        SweepAxis(name, values, text: { "\($0)" }) { $0.workload[keyPath: path] = $1 }
    }

    private static func sweep(_ axes: [SweepAxis], skips: Bool = false) throws -> Sweep {
        try Sweep(base, axes, skipsImpossible: skips) { (point) throws(MoEError) in
            _ = try point.workload.configuration()
        }
    }

    /// The last varies fastest; what has one value is set, but not told.
    @Test func productInOrder() throws {
        let sweep = try Self.sweep([
            Self.axis("experts", \.experts, [8, 16]), Self.axis("hidden", \.hidden, [128]),
            Self.axis("tokens", \.tokens, [1, 2, 3]),
        ])
        #expect(sweep.varied == ["experts", "tokens"])
        #expect(
            sweep.points.map(\.values) == [
                ["8", "1"], ["8", "2"], ["8", "3"], ["16", "1"], ["16", "2"], ["16", "3"],
            ])
        #expect(sweep.points.map(\.workload.experts) == [8, 8, 8, 16, 16, 16])
        #expect(sweep.points.map(\.workload.tokens) == [1, 2, 3, 1, 2, 3])
        #expect(sweep.points.allSatisfy { $0.workload.hidden == 128 })
        #expect(try Self.sweep([]).points.count == 1)
    }

    @Test func impossibleCombinationsAreNamed() throws {
        let axes = [Self.axis("experts", \.experts, [2, 4]), Self.axis("top-k", \.topK, [2, 3, 4])]
        let error = #expect(throws: Sweep.Impossible.self) { try Self.sweep(axes) }
        let text = try #require(error?.description)
        #expect(text.hasPrefix("experts 2, top-k 3: configuration: topK is 3"))
        #expect(text.contains("1 more of 6") && text.contains("--skip-impossible"))

        let skipping = try Self.sweep(axes, skips: true)
        #expect(skipping.points.map(\.values) == [["2", "2"], ["4", "2"], ["4", "3"], ["4", "4"]])
        #expect(skipping.skipped.map(\.combination) == ["experts 2, top-k 3", "experts 2, top-k 4"])
        // Where nothing is left, nothing is skipped; a lone configuration says itself what is wrong with it.
        #expect(throws: Sweep.Impossible.self) {
            try Self.sweep([Self.axis("top-k", \.topK, [9, 10])], skips: true)
        }
        #expect(throws: MoEError.self) { try Self.sweep([Self.axis("top-k", \.topK, [9])]) }
    }

    @Test func absurdNumbersAreRefused() {
        let error = #expect(throws: UsageError.self) {
            try Self.sweep([
                Self.axis("tokens", \.tokens, Array(1...101)), Self.axis("hidden", \.hidden, Array(1...10)),
            ])
        }
        #expect(error?.description == "these lists are 1010 runs; expected at most 1000")
    }

    /// Points of other tokens share a layer; those of other weights do not.
    @Test func layersAreKept() throws {
        let set = try CPUInstructionSet.chosen()
        let pool = try ThreadPool(threads: 1)
        let kept = KeptLayer()
        var made = 0
        func layer(_ change: (inout Workload) -> Void, _ pool: ThreadPool) throws -> MoELayer {
            var workload = Self.base.workload
            change(&workload)
            return try kept.layer(workload, pool: pool, instructionSet: set, tuning: .detected(set)) {
                () throws(MoEError) in
                made += 1
                return try MoELayer(workload.configuration(), weights: workload.weights, pool: pool)
            }
        }
        let first = try layer({ _ in }, pool)
        #expect(try layer({ $0.tokens = 9 }, pool) === first)
        #expect(try layer({ $0.name = "other" }, pool) === first)
        #expect(made == 1)
        #expect(try layer({ $0.seed = 2 }, pool) !== first)
        _ = try layer({ $0.experts = 4 }, pool)
        _ = try layer({ $0.experts = 4 }, try ThreadPool(threads: 1))
        #expect(made == 4)
    }

    /// One row a run, with what it reached, and what was left out.
    @Test func table() throws {
        let report = try WorkloadRunTests.report(Self.base.workload, budget: 0.02)
        let lines = SweepText(Terminal(hasStyle: false, hasProgress: false)).table(
            varied: ["tokens", "threads"], rows: [(["4", "1"], report), (["4", "2"], report)],
            skipped: [("tokens 0", "configuration: tokens is 0")])
        #expect(lines.count == 5)
        #expect(lines[1].contains("tokens") && lines[1].contains("tokens/s") && lines[1].contains("of ceiling"))
        let median = try #require(report.comparison.results.first { $0.subject.name == "whole layer" }?.measurement)
        #expect(lines[2].contains(Format.time(try #require(median.summary).median)))
        #expect(lines[4].contains("left out: tokens 0"))
    }
}
