import MoEKernel
import Testing

@testable import MoEBench

@Suite struct ArgumentsTests {
    private let options = [
        Option("tokens", "N", help: "tokens"), Option("top-k", "N", aliases: ["k"], help: "experts a token"),
        Option("dtype", "TYPE", help: "storage"), Option("quiet", help: "say less"),
    ]

    private func parse(_ words: String...) throws(UsageError) -> Arguments { try Arguments(words, options: options) }

    @Test func spellings() throws {
        for words in [
            ["--top-k", "3"], ["--top-k=3"], ["--top_k", "3"], ["--top_k=3"], ["-k", "3"], ["-k", "1", "-k=3"],
        ] {
            #expect(try Arguments(words, options: options).number("top-k", in: 1...8) == 3)
        }
        #expect(try parse("--quiet").has("quiet"))
        #expect(try !parse().has("quiet"))
        #expect(try parse().number("tokens", in: 1...8) == nil)
    }

    @Test func mistakesAreNamed() {
        #expect(throws: UsageError("unknown option --tokns; did you mean --tokens?")) { try parse("--tokns", "3") }
        #expect(throws: UsageError("unknown option --zzzzzzzzzz")) { try parse("--zzzzzzzzzz") }
        #expect(throws: UsageError("unexpected argument \"extra\"")) { try parse("extra") }
        #expect(throws: UsageError("--tokens needs a value, N")) { try parse("--tokens") }
        #expect(throws: UsageError("--quiet takes no value")) { try parse("--quiet=yes") }
    }

    @Test(arguments: ["0", "9", "-1", "2.5", "", "9999999999999999999999", "three"]) func numbersOutOfBounds(
        value: String
    ) {
        #expect(throws: UsageError.self) { try parse("--tokens", value).number("tokens", in: 1...8) }
    }

    @Test func tunings() throws {
        let options = [Option("tuning", "LIST", help: "tuning")]
        let table = CPUTuning(instructionSet: .avx2, firstLevelBytes: 0, secondLevelBytes: 0)
        func tuning(_ list: String...) throws(UsageError) -> CPUTuning? {
            try Arguments(list, options: options).tuning("tuning", of: table)
        }
        var expected = table
        expected.tileRows = 4
        expected.directTiles = 0
        #expect(try tuning() == nil)
        #expect(try tuning("--tuning", "tile-rows=4,direct-tiles=0") == expected)
        #expect(try tuning("--tuning=tile_rows=4,direct_tiles=0") == expected)
        let unknown = #expect(throws: UsageError.self) { try tuning("--tuning", "tile-rows=4,task-per-thread=8") }
        #expect("\(try #require(unknown))".contains("Did you mean tasks-per-thread?"))
        #expect(throws: UsageError("--tuning has \"tile-rows=four\"; expected tile-rows=NUMBER")) {
            try tuning("--tuning", "tile-rows=four")
        }
        for list in ["", ",", "tile-rows", "tile-rows=4,,"] {
            #expect(throws: UsageError.self) { try tuning("--tuning", list) }
        }
    }

    @Test func choices() throws {
        #expect(try parse("--dtype", "bf16").choice("dtype", ElementType.self) == .bfloat16)
        let error = #expect(throws: UsageError.self) { try parse("--dtype", "bf15").choice("dtype", ElementType.self) }
        #expect("\(try #require(error))".contains("Did you mean bf16?"))
    }

    @Test func severalOperands() throws {
        let options = [Option("html", "FILE", help: "")]
        let arguments = try Arguments(["a.json", "--html", "-", "b.json"], options: options, operands: 2)
        #expect(arguments.operands == ["a.json", "b.json"])
        #expect(try arguments.text("html") == "-")
        #expect(throws: UsageError.self) { try Arguments(["a", "b", "c"], options: options, operands: 2) }
        #expect(try Arguments([], options: options, operands: 2).operands.isEmpty)
    }
}
