import Foundation
import MoEKernel
import Testing

@testable import MoEBench

/// Comparisons with peers that are shell scripts: what counts, what does not, and why.
@Suite(.serialized, .timeLimit(.minutes(3))) struct PeerRunnerTests {
    private static func named(_ names: String) throws -> Set<Peer> { try Peer.named(names, option: "only") }

    private static func reason(_ report: WorkloadReport, _ name: String) throws -> String {
        try #require(report.notRun.first { $0.name == name }?.reason)
    }

    private static func reason(_ contest: PeerContest, _ name: String) throws -> String {
        try #require(contest.failures.first { $0.key.name == name }?.value.description)
    }

    @Test func honestPeersAreExternalMeasurements() throws {
        let peers = try Self.named("numpy,torch-eager")
        var fixture = try PeerFixture()
        var report = try fixture.report(peers)
        // Beside other tests a ceiling may be disturbed so much that ours is refused.
        for _ in 0..<5 where report.hasFailures {
            fixture = try PeerFixture()
            report = try fixture.report(peers)
        }
        #expect(
            report.external.map(\.subject.name) == [
                "numpy-loop", "numpy-dense-all-experts", "numpy-dense-iso-active", "torch-eager",
            ])
        for external in report.external {
            #expect(external.program == "Fake 1.0")
            #expect(external.nanoseconds.count >= 5 && Set(external.nanoseconds) == [200_000])
            #expect(external.error < 1e-7, "the truth, rounded to fp32")
            #expect(external.inputHash == report.comparison.inputHash)
            #expect(external.subject.threads == 1 && external.subject.dtype == "fp32")
        }
        let ours = report.comparison.results.compactMap(\.measurement)
        #expect(!ours.isEmpty)
        let names = ["whole layer": "numpy-loop", "dense-all-experts": "numpy-dense-all-experts"]
        for measurement in ours {
            let name = names[measurement.subject.name] ?? "numpy-dense-iso-active"
            #expect(report.external.first { $0.subject.name == name }?.work == measurement.work)
        }
        #expect(report.notRun.isEmpty)
        #expect(fixture.started.map(\.library) == ["numpy", "torch"])
        #expect(fixture.started.allSatisfy { !PeerFixture.exists($0.pid) })

        let lines = PeerText(Terminal(hasStyle: false, hasProgress: false)).workload(report)
        let row = try #require(lines.first { $0.contains("torch-eager") })
        #expect(row.contains("external") && row.contains("200 µs – 200 µs") && row.contains("×"))
        #expect(lines.contains { $0.contains("whole layer") && $0.contains("moe-bench") })
        #expect(lines.contains { $0.contains("Fake 1.0") })

        let file = ResultsFile(reports: [report], build: "test", command: [], machine: Machine(), partial: false)
        let read = try RecordedResults.read(try file.json(), file: "x.json")
        #expect(read.entries.first?.external == report.external)
    }

    /// Faster than the machine could be: it does not work, or counts wrongly.
    @Test func impossibleTimes() throws {
        var script = PeerFixture.Script()
        script.time = script.time.replacing("$(ones)", with: "$(ones | sed s/200000/1/g)")
        let report = try PeerFixture(script).report(try Self.named("numpy-loop"))
        #expect(report.external.isEmpty)
        #expect(try Self.reason(report, "numpy-loop").hasPrefix("impossible: "))
    }

    /// More time than passed.
    @Test func longTimes() throws {
        var script = PeerFixture.Script()
        script.time = script.time.replacing("$(ones)", with: "$(ones | sed s/200000/9000000000000/g)")
        let report = try PeerFixture(script).report(try Self.named("numpy-loop"))
        #expect(report.external.isEmpty)
        #expect(try Self.reason(report, "numpy-loop").contains("longer"))
    }

    /// Wrong from the beginning, and wrong later on: neither is timed.
    @Test(arguments: [true, false]) func wrongOutput(_ atOnce: Bool) throws {
        var script = PeerFixture.Script()
        let wrong = #"case $peer in *eager) cp "$folder/iso" "$output" ;; *) truth ;; esac;"#
        if atOnce {
            script.prepare = script.prepare.replacing("truth;", with: wrong)
        } else {
            script.time = script.time.replacing("truth;", with: wrong)
        }
        let report = try PeerFixture(script).report(try Self.named("torch-eager,torch-grouped-mm"))
        #expect(report.external.map(\.subject.name) == ["torch-grouped-mm"])
        #expect(try Self.reason(report, "torch-eager").hasPrefix("wrong result: "))
    }

    /// An output of an earlier request is not taken for this one's.
    @Test func noOutput() throws {
        var script = PeerFixture.Script()
        script.time = script.time.replacing("truth;", with: "")
        let report = try PeerFixture(script).report(try Self.named("numpy-loop"))
        #expect(report.external.isEmpty)
        #expect(try Self.reason(report, "numpy-loop").contains("no output"))
    }

    @Test func shortOutput() throws {
        var script = PeerFixture.Script()
        script.prepare = script.prepare.replacing("truth;", with: "printf 1234 >\"$output\";")
        let contest = try PeerFixture(script).contest(try Self.named("numpy-loop"))
        #expect(try Self.reason(contest, "numpy-loop").contains("output of 4 bytes"))
    }

    /// Who cannot says so, and the others of the library go on.
    @Test func unsupportedAndFailed() throws {
        var script = PeerFixture.Script()
        script.prepare = """
            case $peer in
            *eager) say '{"unsupported":"no such weights"}' ;;
            *all-experts) say '{"failed":"ValueError: of\\u001b[31m two\\nlines"}' ;;
            *) \(script.prepare) ;;
            esac
            """
        let contest = try PeerFixture(script).contest(try Self.named("torch"))
        #expect(contest.tracks.map(\.peer.name) == ["torch-grouped-mm", "torch-dense-iso-active"])
        #expect(try Self.reason(contest, "torch-eager") == "no such weights")
        #expect(try Self.reason(contest, "torch-dense-all-experts") == "failed: ValueError: of [31m two lines")
    }

    @Test func missingLibrary() throws {
        var script = PeerFixture.Script()
        script.hello = #"say '{"missing":"No module named torch"}'; exit 0"#
        let fixture = try PeerFixture(script)
        let report = try fixture.report(try Self.named("torch"))
        #expect(report.external.isEmpty)
        for peer in Peer.all where peer.library == .torch {
            #expect(try Self.reason(report, peer.name) == "missing: No module named torch")
        }
        #expect(report.comparison.results.allSatisfy { $0.failure != .interrupted }, "ours is measured all the same")
        #expect(fixture.started.count == 1)
    }

    @Test func missingInterpreter() throws {
        let contest = try PeerFixture().contest(try Self.named("numpy"), python: "/nonexistent/python")
        #expect(try Self.reason(contest, "numpy-loop").contains("/nonexistent/python: No such file"))
    }

    /// A layer that takes its process along costs the others of its library nothing but a new start.
    @Test func crashWhilePreparing() throws {
        var script = PeerFixture.Script()
        script.prepare = "case $peer in *eager) echo Segfault! >&2; kill -11 $$;; *) \(script.prepare) ;; esac"
        let fixture = try PeerFixture(script)
        let contest = try fixture.contest(try Self.named("torch-eager,torch-grouped-mm"))
        #expect(contest.tracks.map(\.peer.name) == ["torch-grouped-mm"])
        #expect(try Self.reason(contest, "torch-eager") == "was ended by signal 11: Segfault!")
        #expect(fixture.started.count == 2)
    }

    @Test func crashWhileTimed() throws {
        var script = PeerFixture.Script()
        script.time = "case $peer in *eager) exit 3;; *) \(script.time) ;; esac"
        let report = try PeerFixture(script).report(try Self.named("torch-eager,torch-grouped-mm,numpy-loop"))
        #expect(report.external.map(\.subject.name) == ["numpy-loop"])
        #expect(report.notRun.map(\.name) == ["torch-eager", "torch-grouped-mm"])
        #expect(try Self.reason(report, "torch-eager") == "ended with status 3")
        #expect(try Self.reason(report, "torch-grouped-mm").contains("ended before"))
    }

    /// A peer that says nothing more is ended, with what it started.
    @Test func hang() throws {
        var script = PeerFixture.Script()
        script.prepare = "sleep 600"
        let fixture = try PeerFixture(script)
        let contest = try fixture.contest(try Self.named("numpy-loop"), patience: 0.3)
        #expect(try Self.reason(contest, "numpy-loop") == "gave no answer within 300 ms")
        #expect(fixture.started.allSatisfy { !PeerFixture.exists($0.pid) })
    }

    @Test(arguments: [
        ("say rubbish", "\"rubbish\""), ("say '[]'", "\"[]\""),
        ("head -c 20000000 /dev/zero", "without an end of line"),
        ("say '{\"nanoseconds\":[]}'", "no times"), ("say '{\"nanoseconds\":[-4]}'", "nanoseconds"),
    ])
    func rubbish(_ answer: (says: String, found: String)) throws {
        var script = PeerFixture.Script()
        script.prepare = answer.says
        let contest = try PeerFixture(script).contest(try Self.named("numpy-loop"))
        let reason = try Self.reason(contest, "numpy-loop")
        #expect(reason.hasPrefix("gave an answer that is none: ") && reason.contains(answer.found))
        #expect(!reason.contains("\n") && reason.count < 400)
    }

    @Test func otherVersion() throws {
        var script = PeerFixture.Script()
        script.hello = #"say '{"hello":2,"program":"x"}'"#
        let contest = try PeerFixture(script).contest(try Self.named("numpy-loop"))
        #expect(try Self.reason(contest, "numpy-loop").contains("version 2"))
    }

    /// Between its turns a peer does not run, nor does what it started.
    @Test func peersStandStillBetweenTurns() throws {
        var script = PeerFixture.Script()
        script.hello = "(while :; do echo x >>\"$folder/busy\"; sleep 0.01; done) & \(script.hello)"
        let fixture = try PeerFixture(script)
        let exchange = try PeerExchange(keep: nil, name: "x")
        defer { exchange.remove() }
        let worker = PeerWorker(
            .numpy, try fixture.launch(), exchange, patience: PeerPatience(), interruption: Interruption())
        try worker.start(threads: 1)
        func lines() -> Int { (try? Data(contentsOf: fixture.folder.appending(path: "busy")).count) ?? 0 }
        usleep(50_000)
        let before = lines()
        usleep(150_000)
        #expect(lines() == before)
        let peer = try #require(Peer.all.first)
        _ = try worker.prepare(peer, batches: 1, elements: 64 * 16)
        // Asked, it goes on, if only as long as that takes.
        for _ in 0..<500 where lines() == before { _ = try worker.prepare(peer, batches: 1, elements: 64 * 16) }
        #expect(lines() > before)
        worker.end()
        usleep(50_000)
        let after = lines()
        usleep(100_000)
        #expect(lines() == after)
    }

    /// A wish to end is heard while a peer is waited for.
    @Test func interruption() throws {
        var script = PeerFixture.Script()
        script.prepare = "sleep 600"
        let fixture = try PeerFixture(script)
        let interruption = Interruption()
        let peers = try Self.named("numpy-loop,torch-eager")
        let runner = try fixture.runner(peers, interruption: interruption)
        let started = fixture.folder.appending(path: "started").path
        Thread.detachNewThread {
            for _ in 0..<6000 where !FileManager.default.fileExists(atPath: started) { usleep(10_000) }
            usleep(50_000)
            interruption.request()
        }
        let report = try runner.run(fixture.workload, budget: 0.05)
        #expect(report.external.isEmpty)
        #expect(report.notRun.map(\.name).sorted() == ["numpy-loop", "torch-eager"], "everybody is accounted for once")
        #expect(report.notRun.allSatisfy { $0.reason == "interrupted" })
        #expect(report.comparison.interrupted)
        #expect(fixture.started.count == 1 && fixture.started.allSatisfy { !PeerFixture.exists($0.pid) })
    }

    /// Files are deleted, unless they are to be kept; then they are what was said.
    @Test func exchangedFiles() throws {
        let fixture = try PeerFixture()
        let keep = fixture.folder.appending(path: "kept").path
        _ = try PeerContest(fixture.runner(Self.named("numpy-loop"), keep: keep), fixture.workload)
        let folder = keep + "/fake"
        let weights = try SafetensorsFile(at: folder + "/weights.safetensors")
        let shapes = Dictionary(uniqueKeysWithValues: weights.tensors.map { ($0.name, $0.shape) })
        #expect(
            shapes == [
                "router": [4, 16], "gate": [4, 24, 16], "up": [4, 24, 16], "down": [4, 16, 24],
                "iso_gate": [48, 16], "iso_up": [48, 16], "iso_down": [16, 48],
            ])
        let configuration = try fixture.workload.configuration()
        let source = try fixture.workload.weights.source(configuration)
        let data = try Data(contentsOf: URL(filePath: folder + "/weights.safetensors"))
        let up = try #require(weights.tensors.first { $0.name == "up" })
        let third = try source.floats(.expert(2, .up), configuration)
        let size = 4 * third.count
        let start = up.bytes.lowerBound + 2 * size
        #expect(third.withUnsafeBytes { Data($0) } == data.subdata(in: start..<start + size))
        let task = try JSONSerialization.jsonObject(with: Data(contentsOf: URL(filePath: folder + "/task.json")))
        #expect((task as? [String: Any])?["topK"] as? Int == 2)

        let exchange = try PeerExchange(keep: nil, name: "x")
        #expect(FileManager.default.fileExists(atPath: exchange.folder))
        exchange.remove()
        #expect(!FileManager.default.fileExists(atPath: exchange.folder))
    }

    @Test func scriptsThatAreNotThere() {
        #expect {
            try PeerLaunch(folder: "/nonexistent")
        } throws: {
            "\($0)".contains("there is no /nonexistent/cpu/worker.py") && "\($0)".contains("--peers DIR")
        }
    }

    @Test func namesOfPeers() throws {
        #expect(try Self.named("torch").count == 4)
        #expect(try Self.named("dense-iso-active").map(\.library).count == 4)
        #expect(try Self.named("ggml").map(\.name).sorted() == ["ggml-dense-iso-active", "ggml-moe"])
        #expect(try Self.named("onnxruntime-moe,numpy-loop").map(\.name).sorted() == ["numpy-loop", "onnxruntime-moe"])
        #expect {
            try Self.named("torch-egaer")
        } throws: { "\($0)".contains("Did you mean torch-eager?") }
    }
}
