import Foundation
import MoEKernel
import Testing

@testable import MoEBench

/// What `moe-bench quantize` prints and writes.
@Suite
struct QuantiseRunTests {
    private func run(_ form: String, _ interruption: Interruption = Interruption()) throws
        -> (code: ExitCode, lines: [String], json: [String: Any], outputs: [String])
    {
        let folder = try InspectTests.Folder()
        let place = folder.path + "-out"
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: place) }
        var quantise = QuantiseRun(model: folder.path, output: place + "/quantised", form: form)
        quantise.threads = 2
        quantise.json = place + "/report.json"
        var lines: [String] = []
        let code = try quantise.run(interruption) { lines += $0.split(separator: "\n").map(String.init) }
        let report = FileManager.default.contents(atPath: place + "/report.json")
        let json = try report.map { try JSONSerialization.jsonObject(with: $0) as? [String: Any] ?? [:] } ?? [:]
        if code == .success {
            #expect(try MoECheckpoint(at: place + "/quantised").moeLayers == [0, 1])
            let text = try InspectReport(model: place + "/quantised").text(
                Terminal(hasStyle: false, hasProgress: false))
            #expect(text.contains { $0.contains("experts int8") }, "\(text)")
        }
        return (code, lines, json, try FileManager.default.contentsOfDirectory(atPath: place).sorted())
    }

    @Test func aLineALayer() throws {
        let (code, lines, json, outputs) = try run("int8")
        #expect(code == .success && outputs == ["quantised", "report.json"])
        #expect(lines.count == 5)
        #expect(lines[0].hasPrefix("layer 0  9 matrices  432 B →") && lines[1].hasPrefix("layer 1  9 matrices"))
        #expect(lines[2].hasPrefix("int8  ") && lines[2].contains("in 1 file"))
        // All weights are 0, which every form holds exactly.
        #expect(lines[3] == "relative error of weights: gate 0 %, up 0 %, down 0 %")
        #expect(lines[4].hasPrefix("worst 0 %: model.layers.0.block_sparse_moe.experts.0.w1.weight in "))
        #expect(json["form"] as? String == "int8" && json["threads"] as? Int == 2)
        #expect((json["layers"] as? [[String: Any]])?.map { $0["layer"] as? Int } == [0, 1])
        #expect(json["bytesBefore"] as? Int == 2 * (3 * InspectTests.Folder.expertBytes + 3 * 4 * 2))
        #expect((json["errors"] as? [String: Double]) == ["gate": 0, "up": 0, "down": 0])
    }

    @Test func interrupted() throws {
        let interruption = Interruption()
        interruption.request()
        let (code, lines, _, outputs) = try run("fp8", interruption)
        #expect(code == .interrupted && lines.isEmpty && outputs == [])
    }

    @Test func refusals() throws {
        let group = #expect(throws: MoEError.self) { _ = try run("int4") }
        #expect("\(group!)".contains("group is 32"))
        let form = #expect(throws: MoEError.self) { _ = try run("int5") }
        #expect("\(form!)".contains("form is int5; expected one of int8, int8-block"))
    }

    @Test func anOperandStandsForItsOption() throws {
        let options = [Option("model", "DIR", help: ""), Option("to", "FORM", help: "")]
        #expect(try Arguments(["a", "--to", "b"], options: options, operand: "model").text("model") == "a")
        #expect(try Arguments(["--to=b", "a"], options: options, operand: "model").text("model") == "a")
        #expect(try Arguments(["--model", "a"], options: options, operand: "model").text("model") == "a")
        #expect(throws: UsageError.self) { _ = try Arguments(["a", "b"], options: options, operand: "model") }
        #expect(throws: UsageError.self) { _ = try Arguments(["a"], options: options) }
    }
}
