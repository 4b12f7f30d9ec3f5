import Foundation
import MoEKernel
import Testing

@testable import MoEBench

@Suite struct BaselinesTests {
    @Test func namesArePlain() throws {
        let baselines = Baselines(folder: "folder")
        #expect(try baselines.place("main-2_0.1").path == "folder/main-2_0.1.json")
        for name in [
            "", ".", "..", ".hidden", "-x", "a/b", "../up", "a b", "a\nb", "ä", String(repeating: "a", count: 101),
        ] {
            #expect(throws: MoEError.self, "\(name)") { try baselines.place(name) }
        }
        #expect(try baselines.path("main") == "folder/main.json")
        #expect(try baselines.path("main.json") == "main.json")
        #expect(try baselines.path("../main") == "../main")
    }

    @Test func completeRunsAreKept() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "moe-bench-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let baselines = Baselines(folder: folder + "/deep")
        #expect(baselines.names.isEmpty)
        let place = try baselines.place("main")
        try place.prepare()
        func results(_ build: String, partial: Bool = false) -> ResultsFile {
            ResultsFile(build: build, command: [], machine: Machine(), partial: partial)
        }
        try place.keep(results("one"))
        try place.keep(results("two"))
        #expect(try ResultsInput.read(place.path).results.build == "two")
        // A run that was interrupted leaves what was there.
        try place.keep(results("three", partial: true))
        #expect(try ResultsInput.read(place.path).results.build == "two")

        let later = try baselines.place("later")
        try later.keep(results("four"))
        try FileManager.default.setAttributes(
            [.modificationDate: Date(timeIntervalSinceNow: 10)], ofItemAtPath: later.path)
        #expect(baselines.names == ["later", "main"])
    }
}
