import Foundation
import MoEKernel
import Testing

@testable import MoEBench

@Suite struct ResultsInputTests {
    private static func folder() throws -> URL {
        let folder = FileManager.default.temporaryDirectory.appending(path: "moe-bench-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        return folder
    }

    @Test func badFilesAreNamed() throws {
        let folder = try Self.folder()
        defer { try? FileManager.default.removeItem(at: folder) }
        let good = try ResultsFixture.file([])
        for (name, data, word) in [
            ("empty", Data(), "is empty"), ("text", Data("hello".utf8), "is not a results file"),
            ("foreign", Data(#"{"schema":"other","version":1}"#.utf8), "is not a results file"),
            ("cut", good.prefix(good.count / 2), "is not a results file"),
            ("later", try ResultsFixture.file([], version: 3), "schema version 3; expected 1 or 2"),
            ("list", Data("[1,2]".utf8), "is not a results file"),
        ] {
            let file = folder.appending(path: name)
            try data.write(to: file)
            let error = #expect(throws: MoEError.self) { try ResultsInput.read(file.path) }
            #expect("\(error!)".hasPrefix(file.path) && "\(error!)".contains(word), "\(error!)")
        }
        for (path, word) in [(folder.path, "is a folder"), (folder.path + "/none.json", "no such file")] {
            let error = #expect(throws: MoEError.self) { try ResultsInput.read(path) }
            #expect("\(error!)".contains(word), "\(error!)")
        }
    }

    /// Every number of a results file, replaced by one that cannot be: the file is refused with the number's name, or what is made of it
    /// is still a page. Nothing traps.
    @Test func absurdNumbers() throws {
        let workload = ResultsFixture.workload()
        let entry = ResultsFixture.entry(
            workload, [ResultsFixture.row("whole layer", workload, [5, 6, 7, 8, 9])], multiply: [170e9, 180e9],
            read: [40e9], load: [0, 1, 2, 3, 4, 5, 6, 7],
            external: [
                ResultsFixture.external(ResultsFixture.row("torch", workload, [5, 6, 7, 8, 9]), program: "torch")
            ])
        let text = String(
            decoding: try ResultsFixture.file([entry], serving: [ResultsFixture.serving(rate: 9, requests: 2)]),
            as: UTF8.self)
        var refused = 0, shown = 0
        // Numbers stand after a colon, a comma or a bracket.
        let numbers = try NSRegularExpression(pattern: "(?<=[:,\\[])-?[0-9][0-9.e+-]*(?=[,}\\]])")
        let matches = numbers.matches(in: text, range: NSRange(text.startIndex..., in: text))
        for match in matches {
            let range = try #require(Range(match.range, in: text))
            for number in ["0", "-1", "9223372036854775807", "4503599627370497"] {
                let changed = text.replacingCharacters(in: range, with: number)
                do {
                    let data = ReportData([try ResultsInput(path: "results.json", data: Data(changed.utf8))])
                    #expect(ParsedPage(ReportPage(data).html).failure == nil)
                    _ = ReportText.markdown(data, title: "")
                    _ = ReportText.csv(data)
                    _ = try ReportText.json(data)
                    shown += 1
                } catch let error as MoEError {
                    #expect("\(error)".hasPrefix("results.json: "))
                    refused += 1
                }
            }
        }
        #expect(matches.count > 60 && refused > 150 && shown > 50)
    }

    @Test func countsMatchSamples() throws {
        let workload = ResultsFixture.workload()
        var row = ResultsFixture.row("whole layer", workload, [5, 6, 7])
        row["count"] = 300
        let data = try ResultsFixture.file([ResultsFixture.entry(workload, [row])])
        let error = #expect(throws: MoEError.self) { try ResultsInput(path: "results.json", data: data) }
        #expect("\(error!)" == "results.json: is damaged: entries[0].measurements[0].count is 300 beside 3 samples")
    }

    @Test func nothingIsLostWhereAReportCannotBeWritten() throws {
        let folder = try Self.folder()
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appending(path: "report.html").path
        try ReportFile.text("old").write(to: file)
        try ReportFile.text("new").write(to: file)
        #expect(try String(contentsOfFile: file, encoding: .utf8) == "new")
        #expect(throws: MoEError.self) { try ReportFile.text("x").write(to: folder.path) }
        #expect(throws: MoEError.self) { try ReportFile.text("x").write(to: folder.path + "/none/report.html") }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["report.html"])
    }
}
