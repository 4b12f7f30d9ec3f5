import Foundation
import Testing

@testable import MoEKernel

@Suite
struct CheckpointSafetensorsTests {
    /// A file that cannot be what it says: its bytes, the tensor the error names, and what it says.
    struct Malformed: Sendable, CustomTestStringConvertible {
        let kind: String
        let bytes: [UInt8]
        var tensor: String?
        let fragments: [String]
        var testDescription: String { kind }

        init(_ kind: String, _ bytes: [UInt8], tensor: String? = nil, _ fragments: String...) {
            (self.kind, self.bytes, self.tensor, self.fragments) = (kind, bytes, tensor, fragments)
        }

        /// One tensor `a` whose header entry is given.
        init(_ kind: String, entry: String, data: Int = 8, _ fragments: String...) {
            (self.kind, self.tensor, self.fragments) = (kind, "a", fragments)
            bytes = safetensors(#"{"a":\#(entry)}"#, data: data)
        }
    }

    static func entry(_ shape: String, _ first: Int, _ end: Int, type: String = "F32") -> String {
        #"{"dtype":"\#(type)","shape":\#(shape),"data_offsets":[\#(first),\#(end)]}"#
    }

    static let malformed: [Malformed] = [
        Malformed("empty file", [], "0 bytes long", "at least 8"),
        Malformed("seven bytes", [2, 0, 0, 0, 0, 0, 0], "7 bytes long", "at least 8"),
        Malformed(
            "header over the file", safetensors("{}", length: 3), "header of 3 bytes in a file of 10", "cut short"),
        Malformed("header over the limit", safetensors("{}", length: 100_000_001), "100000001", "at most 100000000"),
        Malformed("header of 2^64 - 1", safetensors("{}", length: .max), "18446744073709551615", "at most 100000000"),
        Malformed("header of 2^63", safetensors("{}", length: 1 << 63), "9223372036854775808", "at most"),
        Malformed(
            "Git LFS pointer", Array("version of a pointer\noid sha256:0\nsize 1\n".utf8),
            "Git LFS",
            "git lfs pull"),
        Malformed("no header", safetensors(""), "begins with {"),
        Malformed("header that is no object", safetensors("[]"), "begins with {"),
        Malformed("blank before the header", safetensors(" {}"), "begins with {"),
        Malformed("byte-order mark", safetensors("\u{feff}{}"), "byte 0", "byte-order mark"),
        Malformed(
            "invalid UTF-8", safetensors(header: Array(#"{""#.utf8) + [0xc3, 0x28], data: []), "byte 2", "invalid UTF-8"
        ),
        Malformed("header cut short", safetensors(#"{"a":{"dtype":"F32""#), "header", "byte 19", "ends where"),
        Malformed("not JSON", safetensors(#"{"a":{dtype:"F32"}}"#), "byte 6", "a key in quotes"),
        Malformed("trailing bytes in the header", safetensors("{}}"), "byte 2", "follows the end"),
        Malformed("NUL padding", safetensors("{}\0\0"), "byte 2", "follows the end"),
        Malformed(
            "tensor twice", safetensors(#"{"a":\#(entry("[1]", 0, 4)),"a":\#(entry("[1]", 4, 8))}"#, data: 8), "\"a\"",
            "twice"),
        Malformed("dtype twice", safetensors(#"{"a":{"dtype":"F32","dtype":"F32"}}"#), "\"dtype\"", "twice"),
        Malformed("shape twice", safetensors(#"{"a":{"shape":[],"shape":[]}}"#), "\"shape\"", "twice"),
        Malformed(
            "offsets twice", safetensors(#"{"a":{"data_offsets":[0,4],"data_offsets":[0,4]}}"#), "\"data_offsets\"",
            "twice"),
        Malformed("unknown member twice", safetensors(#"{"a":{"x":1,"x":1}}"#), "\"x\"", "twice"),
        Malformed("metadata twice", safetensors(#"{"__metadata__":{},"__metadata__":{}}"#), "__metadata__", "twice"),
        Malformed("metadata key twice", safetensors(#"{"__metadata__":{"k":"","k":""}}"#), "\"k\"", "twice"),
        Malformed("metadata that is no object", safetensors(#"{"__metadata__":1}"#), "an object"),
        Malformed("metadata number", safetensors(#"{"__metadata__":{"k":1}}"#), "__metadata__ \"k\"", "a string"),
        Malformed("metadata null", safetensors(#"{"__metadata__":{"k":null}}"#), "__metadata__ \"k\"", "a string"),
        Malformed(
            "nesting", safetensors(#"{"a":{"x":\#(String(repeating: "[", count: 100))"#), "nested deeper than 64"),
        Malformed("entry that is no object", entry: "3", "has to be an object"),
        Malformed("dtype missing", entry: #"{"shape":[2],"data_offsets":[0,8]}"#, "lacks dtype"),
        Malformed("shape missing", entry: #"{"dtype":"F32","data_offsets":[0,8]}"#, "lacks shape"),
        Malformed("offsets missing", entry: #"{"dtype":"F32","shape":[2]}"#, "lacks data_offsets"),
        Malformed("dtype number", entry: #"{"dtype":32,"shape":[2],"data_offsets":[0,8]}"#, "dtype has to be a string"),
        Malformed("unknown dtype", entry: entry("[2]", 0, 8, type: "F33"), "\"F33\" is unknown", "BF16"),
        Malformed("lower-case dtype", entry: entry("[2]", 0, 8, type: "f32"), "\"f32\" is unknown"),
        Malformed("shape number", entry: entry("2", 0, 8), "shape", "an array of whole numbers"),
        Malformed("shape null", entry: entry("null", 0, 8), "shape", "an array of whole numbers"),
        Malformed("shape of strings", entry: entry(#"["2"]"#, 0, 8), "shape", "a whole number of 0 or more"),
        Malformed("negative extent", entry: entry("[-2]", 0, 8), "shape", "a whole number of 0 or more"),
        Malformed("fractional extent", entry: entry("[2.0]", 0, 8), "shape", "a whole number of 0 or more"),
        Malformed(
            "overflowing extent", safetensors(#"{"a":\#(entry("[18446744073709551616]", 0, 8))}"#, data: 8), "64 bits"),
        Malformed(
            "too many extents", entry: entry("[\(Array(repeating: "1", count: 65).joined(separator: ","))]", 0, 8),
            "at most 64"),
        Malformed(
            "shape product overflows", entry: entry("[4294967296,4294967296]", 0, 8), "[4294967296, 4294967296]",
            "F32"),
        Malformed("shape × type overflows", entry: entry("[2305843009213693952]", 0, 8), "2305843009213693952", "2^60"),
        Malformed("half a byte", entry: entry("[3]", 0, 2, type: "F4"), "no whole number of bytes"),
        Malformed(
            "offsets number", entry: #"{"dtype":"F32","shape":[2],"data_offsets":8}"#, "data_offsets", "an array"),
        Malformed(
            "one offset", entry: #"{"dtype":"F32","shape":[2],"data_offsets":[8]}"#, "data_offsets", "two numbers"),
        Malformed(
            "three offsets", entry: #"{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}"#, "data_offsets",
            "at most 2"),
        Malformed("negative offset", entry: entry("[2]", -8, 0), "data_offsets", "0 or more"),
        Malformed(
            "fractional offset", entry: #"{"dtype":"F32","shape":[2],"data_offsets":[0,8.5]}"#, "data_offsets",
            "0 or more"),
        Malformed("offsets run backwards", entry: entry("[2]", 8, 0), "[8, 0] run backwards"),
        Malformed("offsets past the end", entry: entry("[4]", 0, 16), "cut short", "end at 16", "8 bytes of data"),
        Malformed("offsets far past the end", entry: entry("[2]", 0, .max), "cut short", "\(Int.max)"),
        Malformed("offsets that start late", entry: entry("[1]", 4, 8), "starts late, at 4"),
        Malformed("size over shape × type", entry: entry("[1]", 0, 8), "takes 4 bytes", "give it 8"),
        Malformed("size under shape × type", entry: entry("[3]", 0, 8), "takes 12 bytes", "give it 8"),
        Malformed("size of another type", entry: entry("[2]", 0, 8, type: "BF16"), "takes 4 bytes", "give it 8"),
        Malformed(
            "hole", safetensors(#"{"a":\#(entry("[1]", 0, 4)),"b":\#(entry("[1]", 8, 12))}"#, data: 12), tensor: "b",
            "a hole of 4 bytes", "\"a\""),
        Malformed(
            "overlap", safetensors(#"{"b":\#(entry("[2]", 4, 12)),"a":\#(entry("[2]", 0, 8))}"#, data: 12), tensor: "b",
            "from 4", "overlaps that of \"a\""),
        Malformed(
            "same data twice", safetensors(#"{"a":\#(entry("[2]", 0, 8)),"b":\#(entry("[2]", 0, 8))}"#, data: 8),
            tensor: "b",
            "overlaps that of \"a\""),
        Malformed(
            "trailing bytes", safetensors(#"{"a":\#(entry("[2]", 0, 8))}"#, data: 9), "1 bytes follow",
            "expected none"),
        Malformed("data without tensors", safetensors("{}", data: 5), "5 bytes follow"),
    ]

    @Test(arguments: malformed)
    func rejects(_ fixture: Malformed) throws {
        let scratch = try Scratch()
        let path = try scratch.write("bad.safetensors", fixture.bytes)
        expectCheckpointError(file: path, tensor: fixture.tensor, fixture.fragments) {
            _ = try SafetensorsFile(at: path)
        }
    }

    /// What is unusual and still a file of the format.
    @Test(arguments: [
        (safetensors("{}"), 0), (safetensors("{}   \n"), 0), (safetensors(#"{"__metadata__":{"k":"v"}}"#), 0),
        (safetensors(#"{"a":\#(entry("[]", 0, 4))}"#, data: 4), 1),
        (
            safetensors(
                #"{"a":\#(entry("[0,7]", 0, 0)),"b":\#(entry("[1]", 0, 4)),"c":\#(entry("[0]", 4, 4))}"#, data: 4), 3
        ),
        (safetensors(#"{"b":\#(entry("[1]", 4, 8)),"a":\#(entry("[1]", 0, 4))}"#, data: 8), 2),
        (safetensors(#"{"a":{"new":[{}],"data_offsets":[0,2],"shape":[2,2],"dtype":"F4"}}"#, data: 2), 1),
        (safetensors(#"{"":\#(entry("[1]", 0, 4))}"#, data: 4), 1),
    ])
    func accepts(_ bytes: [UInt8], _ count: Int) throws {
        let scratch = try Scratch()
        let file = try SafetensorsFile(at: try scratch.write("good.safetensors", bytes))
        #expect(file.tensors.count == count)
        for (a, b) in zip(file.tensors, file.tensors.dropFirst()) { #expect(a.bytes.upperBound == b.bytes.lowerBound) }
        for tensor in file.tensors { #expect(file[tensor.name] == tensor) }
    }

    @Test func knowsEveryType() throws {
        let scratch = try Scratch()
        for type in SafetensorsType.allCases {
            let bytes = 4 * type.bitCount / 8
            let header = #"{"a":\#(Self.entry("[2,2]", 0, bytes, type: type.rawValue))}"#
            let file = try SafetensorsFile(at: try scratch.write("t", safetensors(header, data: bytes)))
            #expect(file["a"]?.type == type)
            if type.elementType == nil {
                expectCheckpointError(file: file.path, tensor: "a", ["type \(type.rawValue)", "F32, BF16 or F16"]) {
                    _ = try file.activations("a")
                }
            }
        }
    }

    @Test func survivesDamage() throws {
        let bytes = safetensors(
            #"{"a":\#(Self.entry("[1,2]", 0, 8)),"b":\#(Self.entry("[1]", 8, 10, type: "F16"))}"#, data: 10)
        let header = Array(bytes[8..<bytes.count - 10])
        let data = 8 + header.count..<bytes.count
        _ = try SafetensorsHeader(header, data: data, file: "f")
        for end in header.indices {
            #expect(throws: MoEError.self) { try SafetensorsHeader(Array(header[..<end]), data: data, file: "f") }
        }
        for index in header.indices {
            for byte in UInt8.min...UInt8.max {
                var damaged = header
                damaged[index] = byte
                guard let read = try? SafetensorsHeader(damaged, data: data, file: "f") else { continue }
                #expect(read.tensors.reduce(0) { $0 + $1.bytes.count } == 10)
            }
        }
    }

    @Test func readsAHundredThousandTensors() throws {
        var members: [String] = []
        for index in 0..<100_000 {
            let name = "model.layers.\(index / 400).mlp.experts.\(index % 400).gate_up_and_down_proj.weight"
            members.append("\"\(name)\":\(Self.entry("[1,2]", index * 4, index * 4 + 4, type: "BF16"))")
        }
        let header = Array("{\(members.joined(separator: ","))}".utf8)
        let clock = ContinuousClock()
        // 0.3 s, or on a slow machine as long as hashing the header byte by byte, about four cycles a byte, takes eighteen times.
        var hash: UInt32 = 2_166_136_261
        let hashing = (0..<5).map { _ in
            clock.measure { for byte in header { hash = (hash ^ UInt32(byte)) &* 16_777_619 } }
        }.min()!
        #expect(hash != 0)
        let limit = max(.milliseconds(300), hashing * 18)
        var tensors = 0
        var best = Duration.seconds(60)
        // Other tests run at the same time; once in ten is proof enough.
        for _ in 0..<10 where best >= limit {
            let elapsed = try clock.measure {
                tensors = try SafetensorsHeader(header, data: 8 + header.count..<8 + header.count + 400_000, file: "f")
                    .tensors.count
            }
            best = min(best, elapsed)
        }
        #expect(tensors == 100_000)
        #expect(best < limit, "\(header.count) bytes in \(best)")
        print("100,000 tensors, \(header.count) bytes of header: \(best)")
    }

    @Test func noticesAFileCutShortAfterOpening() throws {
        let scratch = try Scratch()
        var writer = SafetensorsWriter()
        try writer.add("a", shape: [1000], [Float](repeating: 1, count: 1000))
        try writer.write(to: scratch["a.safetensors"])
        let file = try SafetensorsFile(at: scratch["a.safetensors"])
        let size = try Scratch.bytes(file.path).count
        #expect(truncate(file.path, off_t(size - 1)) == 0)
        expectCheckpointError(file: file.path, tensor: "a", ["data cut short", "byte \(size - 1)"]) {
            _ = try file.activations("a")
        }
    }

    @Test func refusesWhatIsNoFile() throws {
        let scratch = try Scratch()
        #expect(mkfifo(scratch["pipe"], 0o600) == 0)
        for path in [scratch.path, scratch["pipe"], "/dev/null"] {
            expectCheckpointError(file: path, ["is not a regular file"]) { _ = try SafetensorsFile(at: path) }
        }
        #expect(throws: MoEError.system(file: scratch["none"], operation: "open", reason: "No such file or directory"))
        {
            try SafetensorsFile(at: scratch["none"])
        }
        #expect(throws: MoEError.self) { try SafetensorsFile(at: "a\0b") }
    }

    @Test func convertsTypes() throws {
        let scratch = try Scratch()
        var writer = SafetensorsWriter(metadata: ["made by": "a \"test\"\n\u{1}é"])
        let values: [Float] = [0, -1.5, 3.25, 1e30, .infinity, 0x1p-20]
        try writer.add("f32", shape: [2, 3], values)
        try writer.add("bf16", try Tensor(shape: [6], values.map { BFloat16($0) }))
        try writer.add("f16", .f16, shape: [2], bytes: [0x00, 0x3c, 0x00, 0xc2])
        try writer.add("i64", shape: [2], [-5, 1 << 40] as [Int64])
        try writer.add("i32", shape: [1, 1], [-5] as [Int32])
        try writer.add("quote\"back\\slash", shape: [0], [] as [Float])
        try writer.write(to: scratch["a"])
        let file = try SafetensorsFile(at: scratch["a"])
        #expect(file.metadata == ["made by": "a \"test\"\n\u{1}é"])
        #expect(file["quote\"back\\slash"]?.shape == [0])
        #expect(try file.activations("f32") == Tensor(shape: [2, 3], values))
        #expect(try file.activations("f32", as: BFloat16.self).elements == values.map { BFloat16($0) })
        #expect(try file.activations("bf16").elements == values.map { Float(BFloat16($0)) })
        #expect(try file.activations("f16").elements == [1, -3])
        #expect(try file.integers("i64") == [-5, 1 << 40])
        #expect(try file.integers("i32") == [-5])
        for tensor in file.tensors { #expect(tensor.bytes.lowerBound.isMultiple(of: max(1, tensor.type.bitCount / 8))) }
        expectCheckpointError(file: file.path, tensor: "i32", ["type I32", "F32, BF16 or F16"]) {
            _ = try file.activations("i32")
        }
        expectCheckpointError(file: file.path, tensor: "f32", ["type F32", "I64, I32"]) {
            _ = try file.integers("f32")
        }
        expectCheckpointError(file: file.path, tensor: "none", ["is missing", "f32"]) {
            _ = try file.activations("none")
        }
        var buffer = [UInt8](repeating: 0, count: 8)
        #expect(throws: MoEError.self) {
            try buffer.withUnsafeMutableBytes { try file.read(try file.tensor("i32"), from: 0, into: $0) }
        }
    }
}

@Suite
struct CheckpointWriterTests {
    @Test func refusesWhatDoesNotFit() throws {
        var writer = SafetensorsWriter()
        try writer.add("a", shape: [2], [1, 2] as [Float])
        #expect(throws: MoEError.self) { try writer.add("a", shape: [2], [1, 2] as [Float]) }
        #expect(throws: MoEError.self) { try writer.add("b", shape: [3], [1, 2] as [Float]) }
        #expect(throws: MoEError.self) { try writer.add("c", shape: [-1, -2], [1, 2] as [Float]) }
        #expect(throws: MoEError.self) { try writer.add("__metadata__", shape: [2], [1, 2] as [Float]) }
        #expect(throws: MoEError.self) { try writer.add("d", .f4, shape: [3], bytes: [0, 0]) }
    }

    @Test func replacesTheOldFile() throws {
        let scratch = try Scratch()
        try scratch.write("y", "old")
        #expect(symlink("y", scratch["link"]) == 0)
        var writer = SafetensorsWriter()
        try writer.add("y", shape: [2], [1, 2] as [Float])
        try writer.write(to: scratch["link"])
        #expect(try SafetensorsFile(at: scratch["y"]).activations("y").elements == [1, 2])
        #expect(scratch.contents == ["link", "y"])
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: scratch["link"]) == "y")
    }

    @Test func leavesEverythingAsItWasAfterAFailure() throws {
        let scratch = try Scratch()
        try scratch.write("y", "old")
        let failure = MoEError.unavailable(what: "the second half", reason: "a test")
        var writer = SafetensorsWriter()
        try writer.add("y", .u8, shape: [4], byteCount: 4) { (consume) throws(MoEError) in
            try [1, 2].span.bytes.withUnsafeBytes { (bytes) throws(MoEError) in try consume(bytes) }
            throw failure
        }
        #expect(throws: failure) { try writer.write(to: scratch["y"]) }
        #expect(throws: failure) { try writer.write(to: scratch["z"]) }
        #expect(scratch.contents == ["y"])
        #expect(try Scratch.bytes(scratch["y"]) == Array("old".utf8))
    }

    @Test func refusesPlacesWhereNoFileCanBe() throws {
        let scratch = try Scratch()
        var writer = SafetensorsWriter()
        try writer.add("y", shape: [2], [1, 2] as [Float])
        for path in [scratch.path, "/dev/full", "/dev/null", scratch["none/y"], "/proc/y", "", scratch["a\0b"]] {
            do {
                try writer.write(to: path)
                Issue.record("wrote to \(path)")
            } catch {
                guard case .system = error else {
                    Issue.record("\(error)")
                    continue
                }
            }
        }
        #expect(scratch.contents == [])
        #expect(FileManager.default.fileExists(atPath: "/dev/null"))
    }

    #if os(Linux)
        /// A disk that is full: the process may write 4 KiB to a file and no more.
        @Test func leavesNothingWhenTheDiskIsFull() async throws {
            await #expect(processExitsWith: .exitCode(0)) {
                let scratch = try Scratch()
                try scratch.write("y", "old")
                signal(SIGXFSZ, SIG_IGN)
                var limit = rlimit(rlim_cur: 4096, rlim_max: 4096)
                guard setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0 else { exit(2) }
                var writer = SafetensorsWriter()
                try writer.add("y", shape: [4096], [Float](repeating: 1, count: 4096))
                do {
                    try writer.write(to: scratch["y"])
                    exit(3)
                } catch MoEError.system(_, "write", _) {
                    guard scratch.contents == ["y"], try Scratch.bytes(scratch["y"]) == Array("old".utf8) else {
                        exit(4)
                    }
                    try FileManager.default.removeItem(atPath: scratch.path)
                    exit(0)
                } catch {
                    exit(5)
                }
            }
        }
    #endif
}
