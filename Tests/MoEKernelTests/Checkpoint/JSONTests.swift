import Testing

@testable import MoEKernel

@Suite
struct CheckpointJSONTests {
    static func parse(_ text: String) throws(MoEError) -> JSONValue { try JSONValue(Array(text.utf8), file: "f.json") }

    static let accepted: [(String, JSONValue)] = [
        ("null", .null), (" true ", .bool(true)), ("\tfalse\r\n", .bool(false)),
        ("0", .integer(0)), ("-0", .integer(0)), ("10", .integer(10)), ("-7", .integer(-7)),
        ("9223372036854775807", .integer(.max)), ("-9223372036854775808", .integer(.min)),
        ("0.5", .number(0.5)), ("1e3", .number(1000)), ("-1.5E-2", .number(-0.015)), ("2e+1", .number(20)),
        ("1e-400", .number(0)), ("8.0", .number(8)),
        (#""""#, .string("")), (#""a""#, .string("a")), (#""\"\\\/\b\f\n\r\t""#, .string("\"\\/\u{8}\u{c}\n\r\t")),
        (#""\u00e9\u0000""#, .string("é\0")), (#""\ud83d\ude00""#, .string("😀")),
        (#""é😀\n߿ࠀ\uFFFF""#, .string("é😀\n߿ࠀ\u{ffff}")),
        ("\"\u{7f}\"", .string("\u{7f}")),
        ("[]", .array([])), ("[ ]", .array([])),
        ("[1,[2],{}]", .array([.integer(1), .array([.integer(2)]), .object([:])])),
        ("{}", .object([:])),
        (#"{"a":1 , "b" : {"a":null}}"#, .object(["a": .integer(1), "b": .object(["a": .null])])),
        (String(repeating: "[", count: 64) + String(repeating: "]", count: 64), nested(64)),
    ]

    static func nested(_ depth: Int) -> JSONValue { depth == 1 ? .array([]) : .array([nested(depth - 1)]) }

    @Test(arguments: accepted.indices)
    func accepts(_ index: Int) throws {
        let (text, value) = Self.accepted[index]
        #expect(try Self.parse(text) == value, "\(text)")
        // Passing over a value is as strict as reading it.
        var reader = JSONReader(Array(text.utf8), file: "f.json")
        try reader.skipValue()
        try reader.end()
    }

    /// Text, the byte at which the fault is, and what the message says of it.
    static let rejected: [(String, Int, String)] = [
        ("", 0, "ends where a value"), ("   ", 3, "ends where a value"), ("nul", 0, "true, false or null"),
        ("True", 0, "found T"), ("NaN", 0, "found N"), ("Infinity", 0, "found I"), ("-Infinity", 1, "a number"),
        ("1 2", 2, "follows the end"), ("{} x", 3, "follows the end"), ("[1]]", 3, "follows the end"),
        ("nullx", 4, "follows the end"),
        ("\u{feff}{}", 0, "byte-order mark"),
        ("01", 0, "leading zero"), ("-01", 0, "leading zero"), ("00", 0, "leading zero"), ("+1", 0, "found +"),
        (".5", 0, "found ."), ("1.", 2, "a digit"), ("1.e5", 2, "a digit"), ("1e", 2, "a digit"), ("1e+", 3, "a digit"),
        ("-", 1, "a number"), ("0x10", 1, "follows the end"), ("1_000", 1, "follows the end"),
        ("9223372036854775808", 0, "64 bits"), ("-9223372036854775809", 0, "64 bits"),
        ("123456789012345678901234567890", 0, "64 bits"), ("1e400", 0, "Double"), ("-1e999", 0, "Double"),
        ("[1,]", 3, "a value"), ("[,1]", 1, "a value"), ("[1 2]", 3, "a comma or ]"), ("[1", 2, "ends where a comma"),
        ("[", 1, "ends where a value"), ("[1}", 2, "found }"),
        ("{", 1, "a key in quotes"), ("{a:1}", 1, "a key in quotes"), ("{'a':1}", 1, "a key in quotes"),
        (#"{"a" 1}"#, 5, "a colon"), (#"{"a":1,}"#, 7, "a key in quotes"), (#"{"a":1 "b":2}"#, 7, "a comma or }"),
        (#"{"a":}"#, 5, "a value"), (#"{"a":1"#, 6, "ends where"), (#"{,"a":1}"#, 1, "a key"), ("{1:2}", 1, "a key"),
        (#"{"a":1,"a":2}"#, 12, "key \"a\" stands there twice"), (#"{"a":1,"\u0061":2}"#, 17, "twice"),
        (#"[{"b":{"x":1,"x":1}}]"#, 18, "twice"),
        ("\"a", 2, "ends inside a string"), ("\"a\nb\"", 2, "control character"), ("\"\t\"", 1, "control character"),
        ("\"\0\"", 1, "control character"),
        (#""\x""#, 1, "unknown escape"), (#""\u12"#, 1, "four hexadecimal"), (#""\u12g4""#, 1, "four hexadecimal"),
        (#""\"#, 1, "escape"),
        (#""\ud800""#, 1, "surrogate"), (#""\udc00""#, 1, "surrogate"), (#""\ud800x""#, 1, "surrogate"),
        (#""\ud800\n""#, 1, "surrogate"), (#""\ud800\ud800""#, 1, "surrogate"), (#""\ud800\u0041""#, 1, "surrogate"),
        ("// c\n1", 0, "found /"), ("[1,/**/2]", 3, "found /"), ("\u{a0}1", 0, "found 0xc2"),
        ("\u{b}1", 0, "found 0xb"),
        (String(repeating: "[", count: 65) + String(repeating: "]", count: 65), 64, "nested deeper than 64"),
        (String(repeating: #"{"a":"#, count: 100_000), 320, "nested deeper than 64"),
        (String(repeating: "[", count: 1_000_000), 64, "nested deeper than 64"),
    ]

    @Test(arguments: rejected.indices)
    func rejects(_ index: Int) {
        let (text, position, fragment) = Self.rejected[index]
        expectCheckpointError(file: "f.json", ["byte \(position): ", fragment]) { _ = try Self.parse(text) }
        #expect(throws: MoEError.self) {
            var reader = JSONReader(Array(text.utf8), file: "f.json")
            try reader.skipValue()
            try reader.end()
        }
    }

    /// Ill-formed UTF-8 inside a string: stray and missing continuations, overlong forms, surrogates, beyond U+10FFFF.
    static let illFormed: [[UInt8]] = [
        [0x80], [0xbf], [0xc2], [0xc2, 0x41], [0xc0, 0x80], [0xc1, 0xbf], [0xe0, 0x80, 0x80], [0xe0, 0x9f, 0xbf],
        [0xe2, 0x82],
        [0xe2, 0x82, 0x41], [0xed, 0xa0, 0x80], [0xed, 0xbf, 0xbf], [0xf0, 0x80, 0x80, 0x80], [0xf0, 0x8f, 0xbf, 0xbf],
        [0xf0, 0x9f, 0x98], [0xf4, 0x90, 0x80, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xff], [0xfe],
    ]

    @Test(arguments: illFormed)
    func rejectsIllFormedUTF8(_ sequence: [UInt8]) {
        let quote = UInt8(ascii: "\"")
        for text in [[quote, 0x61] + sequence + [quote], [quote, 0x61] + sequence] {
            expectCheckpointError(file: "f.json", ["byte 2: invalid UTF-8"]) { _ = try JSONValue(text, file: "f.json") }
        }
        // After an escape strings are read by other code.
        expectCheckpointError(file: "f.json", ["byte 3: invalid UTF-8"]) {
            _ = try JSONValue([quote, 0x5c, 0x6e] + sequence + [quote], file: "f.json")
        }
    }

    @Test func longTextIsCutInMessages() {
        let key = String(repeating: "k\u{301}", count: 100_000)
        expectCheckpointError(file: "f.json", ["…", "twice"]) { _ = try Self.parse(#"{"\#(key)":1,"\#(key)":1}"#) }
    }

    /// Every prefix and every one-byte change of a document is read or refused, never trapped on.
    @Test func survivesDamage() {
        let text = Array(#"{"a":[1,-2.5e3,"x\u00e9\ud83d\ude00é"],"b":{"c":null,"d":true}}"#.utf8)
        for end in text.indices { #expect(throws: MoEError.self) { try JSONValue(Array(text[..<end]), file: "f") } }
        for index in text.indices {
            for byte in UInt8.min...UInt8.max {
                var damaged = text
                damaged[index] = byte
                _ = try? JSONValue(damaged, file: "f")
            }
        }
    }
}
