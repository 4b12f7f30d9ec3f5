import AllocationCounter
import CPlatform
import Foundation
import Testing

@testable import MoEKernel

@Suite struct BalanceUsageMonitorTests {
    @Test func nothingSeen() throws {
        let monitor = try UsageMonitor(experts: 4)
        #expect(monitor.shares == [0, 0, 0, 0])
        #expect(monitor.entropy == 0 && monitor.normalisedEntropy == 0 && monitor.maxOverMean == 0)
        #expect(monitor.dropRate == 0 && monitor.deadExperts.isEmpty && monitor.batches == 0)
    }

    @Test func evenAndOneSided() throws {
        var monitor = try UsageMonitor(experts: 4)
        try monitor.observe(tokensPerExpert: [5, 5, 5, 5].span)
        #expect(monitor.shares == [0.25, 0.25, 0.25, 0.25])
        #expect(abs(monitor.entropy - log(4)) < 1e-12 && abs(monitor.normalisedEntropy - 1) < 1e-12)
        #expect(monitor.maxOverMean == 1 && monitor.choices == 20)
        monitor.reset()
        #expect(monitor.batches == 0 && monitor.choices == 0 && monitor.maxOverMean == 0)
        try monitor.observe(tokensPerExpert: [0, 0, 9, 0].span, droppedChoices: 3)
        #expect(monitor.entropy == 0 && monitor.maxOverMean == 4)
        #expect(abs(monitor.dropRate - 0.25) < 1e-12)
        var single = try UsageMonitor(experts: 1)
        try single.observe(tokensPerExpert: [3].span)
        #expect(single.normalisedEntropy == 1 && single.maxOverMean == 1)
    }

    /// Averages against their definition as a weighted mean of everything seen.
    @Test(arguments: [0, 0.5, 0.9, 0.99]) func averages(_ decay: Double) throws {
        var generator = SeededGenerator(seed: 3)
        var monitor = try UsageMonitor(experts: 5, decay: decay)
        var seen: [(shares: [Double], drops: Double)] = []
        for _ in 0..<60 {
            let loads = (0..<5).map { _ in Int32.random(in: 0...20, using: &generator) }
            let dropped = Int.random(in: 0...10, using: &generator)
            let computed = loads.reduce(0) { $0 + Int($1) }
            guard computed > 0 else { continue }
            try monitor.observe(tokensPerExpert: loads.span, droppedChoices: dropped)
            seen.append(
                (loads.map { Double($0) / Double(computed) }, Double(dropped) / Double(computed + dropped)))
            let weights = seen.indices.map { pow(decay, Double(seen.count - 1 - $0)) }
            let total = weights.reduce(0, +)
            let shares = (0..<5).map { e in zip(weights, seen).reduce(0) { $0 + $1.0 * $1.1.shares[e] } / total }
            let drops = zip(weights, seen).reduce(0) { $0 + $1.0 * $1.1.drops } / total
            #expect(zip(monitor.shares, shares).allSatisfy { abs($0 - $1) < 1e-12 })
            #expect(abs(monitor.dropRate - drops) < 1e-12)
            #expect(abs(monitor.maxOverMean - shares.max()! * 5) < 1e-12)
            #expect(abs(monitor.entropy + shares.reduce(0) { $0 + ($1 > 0 ? $1 * log($1) : 0) }) < 1e-12)
        }
        #expect(monitor.batches == seen.count)
    }

    @Test func deadExperts() throws {
        var monitor = try UsageMonitor(experts: 3, deadAfter: 4)
        for step in 1...6 {
            // Expert 1 has its last token in call 2, expert 2 never has one.
            try monitor.observe(tokensPerExpert: [1, step == 2 ? 1 : 0, 0].span)
            #expect(monitor.deadExperts == (step < 4 ? [] : step < 6 ? [2] : [1, 2]), "after \(step)")
            #expect(monitor.deadExpertCount == monitor.deadExperts.count)
        }
        // Calls without tokens do not count, nor do calls in which everything was dropped.
        for _ in 0..<9 { try monitor.observe(tokensPerExpert: [0, 0, 0].span) }
        #expect(monitor.batches == 6)
        for _ in 0..<9 { try monitor.observe(tokensPerExpert: [0, 0, 0].span, droppedChoices: 2) }
        #expect(monitor.batches == 15 && !monitor.deadExperts.contains(0) && monitor.shares[0] > 0.9)
        try monitor.observe(tokensPerExpert: [0, 0, 1].span)
        #expect(monitor.deadExperts == [1])
    }

    @Test func routingsWithDrops() throws {
        let routing = try Routing(
            tokens: 2, experts: 3, topK: 2, logits: [0, 0, 0, 0, 0, 0], expertIndices: [0, 1, 0, 2],
            weights: [1, 1, 1, 1], kept: [true, true, false, true])
        var monitor = try UsageMonitor(experts: 3)
        try monitor.observe(routing)
        var plain = try UsageMonitor(experts: 3)
        try plain.observe(tokensPerExpert: [1, 1, 1].span, droppedChoices: 1)
        #expect(monitor.shares == plain.shares && monitor.dropRate == plain.dropRate && monitor.choices == 4)
        // Its room for counts starts afresh.
        try monitor.observe(routing)
        #expect(monitor.shares == monitor.shares.map { _ in monitor.shares[0] })
    }

    @Test func agreesWithTheWorkspace() throws {
        let layer = try MoELayer(
            MoEConfiguration(experts: 8, topK: 2, hidden: 80, expertHidden: 56), weights: .random(seed: 4),
            pool: ThreadPool(threads: 1))
        var workspace = MoEWorkspace()
        var fromWorkspace = try UsageMonitor(experts: 8)
        var fromRouting = fromWorkspace
        try fromWorkspace.observe(workspace)
        #expect(fromWorkspace.batches == 0)
        for tokens in [7, 1, 30] {
            let x = try Tensor<Float>.random([tokens, 80], seed: UInt64(tokens))
            var y = try Tensor<Float>(shape: [tokens, 80], repeating: 0)
            try layer.forward(x.span, into: &y.mutableSpan, workspace: &workspace)
            try fromWorkspace.observe(workspace)
            // In two steps, for the macro would copy the workspace.
            let routing = workspace.routing
            try fromRouting.observe(#require(routing))
            #expect(fromWorkspace.shares == fromRouting.shares)
            #expect(fromWorkspace.choices == fromRouting.choices)
        }
        var other = try UsageMonitor(experts: 9)
        #expect(throws: MoEError.self) { try other.observe(workspace) }
    }

    @Test func argumentsAreChecked() throws {
        for experts in [0, -1, 65_537] { #expect(throws: MoEError.self) { try UsageMonitor(experts: experts) } }
        for decay in [-0.1, 1, 1.5, .nan] {
            #expect(throws: MoEError.self) { try UsageMonitor(experts: 2, decay: decay) }
        }
        #expect(throws: MoEError.self) { try UsageMonitor(experts: 2, deadAfter: 0) }
        var monitor = try UsageMonitor(experts: 2)
        #expect(throws: MoEError.self) { try monitor.observe(tokensPerExpert: [1, 2, 3].span) }
        #expect(throws: MoEError.self) { try monitor.observe(tokensPerExpert: [1, -2].span) }
        #expect(throws: MoEError.self) { try monitor.observe(tokensPerExpert: [1, 2].span, droppedChoices: -1) }
        #expect(throws: MoEError.self) { try monitor.observe(tokensPerExpert: [1, 2].span, droppedChoices: .max) }
        let other = try Routing(tokens: 0, experts: 3, topK: 1, logits: [], expertIndices: [], weights: [])
        #expect(throws: MoEError.self) { try monitor.observe(other) }
        #expect(monitor.batches == 0)
    }

    #if os(Linux)
        /// In a process of its own: observing asks nothing of the heap.
        @Test(.enabled(if: allocation_counter_works())) func observingAllocatesNothing() async {
            await #expect(processExitsWith: .success) {
                allocation_counting_begin()
                let loads = [Int32](repeating: 2, count: 256)
                let routing = try Routing(
                    tokens: 64, experts: 256, topK: 8, logits: Array(repeating: 0, count: 64 * 256),
                    expertIndices: (0..<512).map { Int32($0 % 256) }, weights: Array(repeating: 1, count: 512))
                var monitor = try UsageMonitor(experts: 256)
                var capacity = try AdaptiveCapacity(experts: 256, topK: 8)
                // The process may allocate for its own ends now and then, but not in every one of five stretches.
                for _ in 0..<5 {
                    let before = allocation_totals_now().calls
                    for _ in 0..<100 {
                        try monitor.observe(tokensPerExpert: loads.span)
                        try monitor.observe(routing)
                        try capacity.observe(routing)
                        try capacity.observe(demand: loads.span)
                        _ = monitor.entropy + monitor.maxOverMean + Double(monitor.deadExpertCount)
                    }
                    if allocation_totals_now().calls == before && before > 0 { exit(0) }
                }
                exit(1)
            }
        }
    #endif

    /// Under a hundredth of a forward of 64 tokens, in a layer much smaller than any with as many experts.
    @Test func costsLittle() throws {
        let layer = try MoELayer(
            MoEConfiguration(experts: 256, topK: 8, hidden: 128, expertHidden: 128), weights: .random(seed: 4))
        let x = try Tensor<Float>.random([64, 128], seed: 1)
        var y = try Tensor<Float>(shape: [64, 128], repeating: 0)
        var workspace = MoEWorkspace()
        var monitor = try UsageMonitor(experts: 256)
        func fastest(_ repeats: Int, _ body: () throws -> Void) throws -> Double {
            var best = UInt64.max
            for _ in 0..<repeats {
                let start = cp_nanoseconds()
                try body()
                best = min(best, cp_nanoseconds() - start)
            }
            return Double(best)
        }
        let forward = try fastest(5) { try layer.forward(x.span, into: &y.mutableSpan, workspace: &workspace) }
        let observation = try fastest(50) { for _ in 0..<100 { try monitor.observe(workspace) } } / 100
        let last = workspace.routing
        let routing = try #require(last)
        let fromRouting = try fastest(20) { for _ in 0..<100 { try monitor.observe(routing) } } / 100
        print("UsageMonitor, 256 experts: \(observation) ns, from a routing \(fromRouting) ns; a forward \(forward) ns")
        #expect(observation < forward / 100)
    }
}
