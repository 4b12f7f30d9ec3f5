import MoEKernel
import Testing

@testable import MoEBench

@Suite struct AblationTests {
    private static func tiny(_ tokens: Int, _ type: ElementType) -> Workload {
        Workload(
            name: "tiny", tokens: tokens, hidden: 64, expertHidden: 48, experts: 8, topK: 2, weightType: type)
    }

    private static func report(_ ablation: Ablation, _ type: ElementType) throws -> WorkloadReport {
        try WorkloadRunTests.report(
            tiny(type == .float32 ? 24 : 1, type), budget: 0.02, contest: .ablation(ablation))
    }

    /// Every study's variants are real code that computes the same: each passes its checks, and its gain is told with an interval.
    @Test(arguments: Ablation.allCases) func everyVariantIsRight(_ ablation: Ablation) throws {
        let report = try Self.report(ablation, .float32)
        let results = report.comparison.results
        for result in results { #expect(result.failure == nil, "\(result.subject.name)") }
        #expect(results.first?.subject.name == report.reference)
        let gains = AblationText(Terminal(hasStyle: false, hasProgress: false)).gains(ablation, report)
        #expect(gains.count == results.count - 1)
        for gain in gains {
            #expect(gain.contains("\(ablation.rawValue): \(report.reference) over ") && gain.contains("interval"))
        }
        let lines = SuiteText(Terminal(hasStyle: false, hasProgress: false)).workload(report)
        for other in results.dropFirst() {
            #expect(lines.contains { $0.contains(other.subject.name) && $0.contains("×") }, "\(other.subject.name)")
        }

        let subjects = results.map(\.subject)
        switch ablation {
        case .specialisation: #expect(subjects.map(\.name) == ["specialised", "generic"])
        case .scalar:
            #expect(subjects.map(\.threads) == [1, 1] && subjects[1].instructionSet == "plain Swift")
        case .instructionSets:
            #expect(subjects.map(\.instructionSet) == CPUInstructionSet.supported.reversed().map(\.rawValue))
        case .threads: #expect(subjects.map(\.threads) == [2, 1])
        case .gather: #expect(subjects.map(\.name) == ["gathered in packing", "gathered first"])
        case .activation: #expect(subjects.map(\.name) == ["activated in the product", "activated in a pass"])
        case .workspace: #expect(subjects.map(\.name) == ["workspace kept", "workspace a call"])
        }
    }

    /// The same with one token, rotating inputs and bf16 weights.
    @Test(arguments: [Ablation.gather, .activation, .workspace, .threads])
    func decodeVariants(_ ablation: Ablation) throws {
        for result in try Self.report(ablation, .bfloat16).comparison.results {
            #expect(result.failure == nil, "\(result.subject.name)")
        }
    }

    /// A variant that computes something else has no row, and no gain.
    @Test func wrongVariantsAreSeen() throws {
        let trial = try Trial()
        let expected = trial.truth.map { $0.map { $0 + 1 } }
        let check = SameBits(LayerCheck(trial.oracle), expected: expected, of: "another")
        let fake = Fake(trial.subject("fake")) { y, batch, _ in y = trial.truth[batch] }
        let comparison = InterleavedTimer(
            plan: SamplingPlan(budget: 0.01, minimumSamples: 5, maximumSamples: 5, rounds: 2), build: "test"
        ).compare(
            [Contender(fake, check: check)], inputs: trial.inputs,
            ceilings: try CeilingSampler(workingSets: []) { _ in FastProbe() })
        guard case .wrongResult? = comparison.results[0].failure else {
            Issue.record("no failure: \(comparison.results[0])")
            return
        }
    }

    @Test func shapesAreReplaced() {
        for ablation in Ablation.allCases {
            let shapes = ablation.workloads(tokens: [3, 5], type: .bfloat16)
            #expect(shapes.allSatisfy { [3, 5].contains($0.tokens) && $0.weightType == .bfloat16 })
            #expect(Set(shapes.map { "\($0.sizes)" }).count == shapes.count)
            #expect(ablation.workloads(tokens: nil, type: nil).count == ablation.workloads.count)
        }
    }
}
