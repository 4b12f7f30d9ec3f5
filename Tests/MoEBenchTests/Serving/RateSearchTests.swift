import Testing

@testable import MoEBench

@Suite struct RateSearchTests {
    /// Wherever the limit lies, the search ends with it between two rates that are close.
    @Test(arguments: [0.7, 3, 19.9, 20.1, 33, 200, 1111])
    func theLimitIsFound(limit: Double) throws {
        var search = RateSearch(from: 20)
        while let rate = search.next { search.note(isKept: rate <= limit) }
        let held = try #require(search.held), failed = try #require(search.failed)
        #expect(held <= limit && failed > limit)
        #expect(failed / held <= RateSearch.precision + 1e-12 || search.runs == RateSearch.maximumRuns)
        #expect(search.runs <= RateSearch.maximumRuns)
    }

    @Test func itEndsWithoutALimit() {
        for kept in [true, false] {
            var search = RateSearch(from: 20)
            while search.next != nil { search.note(isKept: kept) }
            #expect(search.runs == RateSearch.maximumRuns)
            #expect((search.held == nil) == !kept && (search.failed == nil) == kept)
            #expect(!ServingText.finding(search).isEmpty)
        }
    }

    /// A noisy machine may keep a rate and miss a lower one; the search ends all the same.
    @Test func noiseEndsIt() {
        var search = RateSearch(from: 20)
        var answers = [true, false, false, true, false, true].makeIterator()
        while search.next != nil { search.note(isKept: answers.next() ?? true) }
        #expect(search.runs <= RateSearch.maximumRuns)
        search.note(isKept: true)
        #expect(search.next == nil)
    }
}
