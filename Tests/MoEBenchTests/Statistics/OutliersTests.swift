import Testing

@testable import MoEBench

@Suite struct OutliersTests {
    /// 1…99: quartiles 25.5 and 74.5, fences at −48 and 148, −121.5 and 221.5.
    private let bulk = (1...99).map(Double.init)

    @Test func countsOnBothSides() throws {
        #expect(try #require(Outliers(bulk)).mild + Outliers(bulk)!.severe == 0)
        let outliers = try #require(Outliers((bulk + [160, 190, 400, -60, -500]).shuffled()))
        #expect(outliers.count == 104)
        #expect(outliers.highMild == 2 && outliers.highSevere == 1)
        #expect(outliers.lowMild == 1 && outliers.lowSevere == 1)
        #expect("\(outliers)" == "3 mild and 2 severe of 104")
        #expect(!outliers.areMany)
    }

    @Test func aFifthIsMany() throws {
        let outliers = try #require(Outliers(Array(repeating: 1, count: 40) + Array(repeating: 3, count: 8)))
        #expect(outliers.severe == 8 && outliers.areMany)
    }

    @Test func tooFew() {
        #expect(Outliers([1, 2, 3, 4, 5, 6, 7, 8, 900]) == nil)
        let one = Outliers([1, 2, 3, 4, 5, 6, 7, 8, 9, 900])
        #expect(one?.severe == 1 && one?.areMany == false)
    }
}
