import Foundation
import MoEKernel
import Testing

@testable import MoEBench

@Suite struct NamedWorkloadTests {
    private static let folder = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Benchmarks/Workloads")

    private static func files() throws -> [URL] {
        try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .filter { $0.pathExtension == "json" }.sorted { $0.lastPathComponent < $1.lastPathComponent }
    }

    /// `Benchmarks/workloads.sh` writes the embedded ones anew.
    @Test func embeddedFilesAreTheRepositorys() throws {
        let texts = try Self.files().map { try String(contentsOf: $0, encoding: .utf8) }
        #expect(texts.count >= 15)
        #expect(Set(EmbeddedWorkloads.files.map { $0 + "\n" }) == Set(texts))
        #expect(EmbeddedWorkloads.files.count == texts.count)
        for (file, text) in zip(try Self.files(), texts) {
            let workload = try NamedWorkload(Data(text.utf8), file: file.path)
            #expect(workload.name + ".json" == file.lastPathComponent)
            #expect(workload.layer.name == workload.name && workload.model != nil && workload.source != nil)
        }
    }

    /// The layer that the library reads out of the quoted keys of the model's config.json is the file's.
    @Test func figuresAreTheModels() throws {
        let place = FileManager.default.temporaryDirectory.appending(path: "moe-workloads-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: place) }
        for file in try Self.files() {
            let data = try Data(contentsOf: file)
            let workload = try NamedWorkload(data, file: file.path)
            let object = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
            let published = try #require(object["published"] as? [String: Any])
            try JSONSerialization.data(withJSONObject: published).write(to: place.appending(path: "config.json"))
            let summary = try CheckpointSummary(of: place.path)
            #expect(summary.moeLayers.count == workload.layers, "\(workload.name)")
            #expect(summary.groups.count == 1, "\(workload.name)")
            // A quantised layer's numbers are of no type of their own, as in a checkpoint's.
            var layer = workload.layer
            layer.quantisation = "int8"
            #expect(try layer.configuration() == summary.groups.first?.configuration, "\(workload.name)")
        }
    }

    /// Experts are most of every one of these models: their parameters are nearly all that its card tells.
    @Test func parametersAreTheCards() throws {
        for workload in try NamedWorkload.all() {
            let layers = try #require(workload.layers), billions = try #require(workload.billionParameters)
            let (total, active) = try workload.layer.parameters()
            let share = Double(layers * total) * 1e-9 / billions
            #expect((0.9...1.03).contains(share), "\(workload.name): \(share)")
            #expect(active < total)
        }
        // Three matrices of 4096 × 14336 for each of eight experts, and a router of 8 × 4096.
        let mixtral = try NamedWorkload.named("mixtral-8x7b")
        let parameters = try mixtral.layer.parameters()
        #expect(parameters.total == 8 * 3 * 4096 * 14_336 + 8 * 4096)
        #expect(parameters.active == 2 * 3 * 4096 * 14_336 + 8 * 4096)
        #expect(try mixtral.layer.expertBytes("bf16") == 2 * 8 * 3 * 4096 * 14_336)
        #expect(try mixtral.layer.expertBytes("mxfp4") == 8 * 3 * 4096 * 14_336 * 9 / 16)
        let lines = try WorkloadsText(Terminal(hasStyle: false, hasProgress: false)).lines(NamedWorkload.all())
        #expect(lines.contains { $0.hasPrefix("mixtral-8x7b") && $0.contains(Format.bytes(2 * 8 * 3 * 4096 * 14_336)) })
        #expect(lines.allSatisfy { $0.count <= 140 })
    }

    @Test func unknownNamesAreSuggested() {
        let error = #expect(throws: UsageError.self) { try NamedWorkload.named("mixtral-8x7") }
        #expect(error?.description.contains("Did you mean mixtral-8x7b?") == true)
    }

    @Test func ownFiles() throws {
        func read(_ text: String) throws -> NamedWorkload { try NamedWorkload(Data(text.utf8), file: "/x/own.json") }
        let own = try read(
            #"{"hidden": 64, "expertHidden": 48, "experts": 8, "topK": 2, "rules": {"shared": {"width": 32}}}"#)
        #expect(own.name == "own" && own.layer.sharedWidth == 32 && own.model == nil)
        for (text, problem) in [
            ("", "is not JSON"), ("[]", "of another type"), (#"{"hidden": 64}"#, "is missing"),
            (#"{"hidden": 64, "expertHidden": 48, "experts": 8, "topk": 2}"#, "did you mean \"topK\""),
            (#"{"hidden": "64", "expertHidden": 48, "experts": 8, "topK": 2}"#, "\"hidden\" is of another type"),
            (#"{"hidden": 64, "expertHidden": 48, "experts": 8, "topK": 9}"#, "topK is 9"),
            (#"{"name": "x", "layer": {"hidden": 64, "experts": 8, "topK": 2}}"#, "layer.expertHidden\" is missing"),
            (
                #"{"hidden": 64, "expertHidden": 48, "experts": 8, "topK": 2, "rules": {"score": "softmx"}}"#,
                "rules.score"
            ),
        ] {
            let error = #expect(throws: MoEError.self) { try read(text) }
            #expect(error.map { "\($0)" }?.contains(problem) == true, "\(text): \(error.map { "\($0)" } ?? "")")
        }
        #expect(throws: MoEError.self) { try NamedWorkload.read("/nonexistent/own.json") }
    }

    /// Layers with everything that models have, small: every row is checked by the oracle.
    @Test(arguments: ["deepseek-v3", "gpt-oss-20b", "llama-4-scout", "phi-3.5-moe", "qwen3-next-80b-a3b"])
    func smallLayersRun(_ name: String) throws {
        var layer = try NamedWorkload.named(name).layer
        (layer.hidden, layer.expertHidden, layer.experts, layer.tokens) = (64, 48, 16, 12)
        layer.topK = min(layer.topK, 4)
        layer.rules?.shared?.width = 32
        layer.rules?.groups?.count = 4
        layer.rules?.groups?.kept = 2
        let report = try WorkloadRunTests.report(layer, budget: 0.02)
        #expect(report.comparison.results.count >= 6)
        for result in report.comparison.results { #expect(result.failure == nil, "\(result.subject.name)") }
        // The router's product, k experts and the shared one, for 12 tokens.
        let whole = try #require(report.comparison.results.first { $0.subject.name == "whole layer" }?.measurement)
        let perToken = 16 * 64 + layer.topK * 3 * 64 * 48 + 3 * 64 * layer.sharedWidth
        #expect(whole.work.flops == 2 * 12 * perToken)
    }
}
