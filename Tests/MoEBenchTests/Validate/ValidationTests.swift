import MoEKernel
import Testing

@testable import MoEBench

@Suite struct ValidationTests {
    @Test func ratiosAndLimits() {
        let low = Predicate(.performance, "share", ratio: 0.54, atLeast: 0.55)
        #expect(!low.holds && low.value == "0.54" && low.limit == "at least 0.55")
        #expect(Predicate(.performance, "share", ratio: 0.55, atLeast: 0.55).holds)
        #expect(!Predicate(.performance, "share", ratio: .nan, atLeast: 0.55).holds)
        #expect(Predicate(.serving, "all", 3, of: 3).holds)
        #expect(!Predicate(.serving, "all", 2, of: 3, firstProblem: "the third").holds)
        // Nothing looked at is nothing shown.
        #expect(!Predicate(.serving, "all", 0, of: 0).holds)
    }

    /// Every lie is told, every one refused, and honest work is not.
    @Test func liarsAreRefused() throws {
        var predicates: [Predicate] = []
        let set = try CPUInstructionSet.chosen()
        try HonestyChapter(pool: ThreadPool(threads: 1), instructionSet: set, build: "test").run {
            predicates.append($0)
        }
        for lie in Liar.Lie.allCases {
            let predicate = try #require(predicates.first { $0.name == lie.rawValue })
            #expect(predicate.holds, "\(predicate)")
            #expect(predicate.value.hasPrefix(lie == .honest ? "measured" : "refused: "))
        }
        #expect(predicates.count == Liar.Lie.allCases.count + 3)
        #expect(predicates.filter { !$0.holds }.isEmpty)
    }
}
