import Testing

@testable import MoEBench

@Suite struct ValueListTests {
    private func integers(_ text: String, words: [String: Int] = [:]) throws(UsageError) -> [Int] {
        try ValueList.integers(text, option: "tokens", words: words)
    }

    @Test(arguments: [
        ("7", [7]), ("1,8,64", [1, 8, 64]), ("1-4", [1, 2, 3, 4]), ("16-64+16", [16, 32, 48, 64]),
        ("16-60+16", [16, 32, 48]), ("1-64*4", [1, 4, 16, 64]), ("3-20*2,1", [3, 6, 12, 1]), ("5-5", [5]),
        ("2,1-3", [2, 1, 3]), ("-3", [-3]), ("-3--1", [-3, -2, -1]),
        ("4611686018427387904-9223372036854775807*2", [1 << 62]),
    ]) func listsAndRanges(_ text: String, _ expected: [Int]) throws {
        #expect(try integers(text) == expected)
    }

    @Test func wordsStandForNumbers() throws {
        #expect(try integers("1-max*2,max", words: ["max": 6]) == [1, 2, 4, 6])
        #expect(throws: UsageError.self) { try integers("1-max") }
    }

    @Test(arguments: [
        "", ",", "1,", "x", "1-", "4-1", "1-8+0", "1-8*1", "0-8*2", "1-8*", "1-8+x", "1..8", "1-8*2*2",
        "1-9999999999", "1.5",
    ])
    func othersAreRefused(_ text: String) {
        let error = #expect(throws: UsageError.self) { try integers(text) }
        #expect(error?.description.contains("--tokens has") == true)
    }

    @Test func mistakesAreNamed() {
        #expect(throws: UsageError("--tokens has \"8-1\"; expected a range that rises")) { try integers("2,8-1") }
        #expect(throws: UsageError("--tokens has \"1-8*1\"; expected a factor of 2 or more")) { try integers("1-8*1") }
    }

    @Test func lists() throws {
        let options = [Option("dtype", "LIST", help: ""), Option("threads", "LIST", help: "")]
        let arguments = try Arguments(["--dtype", "bf16,fp32,bf16", "--threads", "1-3"], options: options)
        #expect(try arguments.choices("dtype", among: ["fp32", "bf16"]) == ["bf16", "fp32"])
        #expect(try arguments.numbers("threads", in: 1...3) == [1, 2, 3])
        #expect(throws: UsageError("--threads has 3; expected whole numbers from 1 to 2")) {
            try arguments.numbers("threads", in: 1...2)
        }
        let unknown = #expect(throws: UsageError.self) { try arguments.choices("dtype", among: ["bf15", "fp32"]) }
        #expect(unknown?.description.contains("Did you mean bf15?") == true)
        let empty = try Arguments(["--dtype", "bf16,,fp32"], options: options)
        #expect(throws: UsageError.self) { try empty.words("dtype") }
    }
}
