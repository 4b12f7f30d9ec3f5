import CUDAFake
import CUDATwins
import MoEKernel
import Testing

@testable import MoEBench

/// The harness on a device that does not exist: every contender of a workload runs there, and is checked.
@Suite struct DeviceRunnerTests {
    private func run(_ workload: Workload) throws -> WorkloadReport {
        let (report, misuse) = try withTwinMachine { device in
            var runner = DeviceRunner(
                device: device, pool: try ThreadPool(threads: 1), build: "test", interruption: Interruption(),
                progress: ProgressLine(Terminal(hasStyle: false, hasProgress: false)))
            runner.probeIterations = 2
            runner.iterationsAhead = 1
            return try runner.run(workload, budget: 0.2)
        }
        #expect(misuse == nil)
        return report
    }

    @Test(arguments: [3, 70]) func everyContenderIsRight(_ tokens: Int) throws {
        let workload = Workload(
            name: "test", tokens: tokens, hidden: 64, expertHidden: 32, experts: 4, topK: 2, weightType: .bfloat16)
        let report = try run(workload)
        let names = report.comparison.results.map(\.subject.name)
        var expected = ["router", "dispatch", "experts", "combine", DeviceRunner.wholeLayer]
        if tokens <= 1024 { expected.append(DeviceRunner.asGraph) }
        expected += [DenseIsoActive.name, DenseAllExperts.name]
        #expect(names == expected)
        for result in report.comparison.results {
            // A simulated device's rates are no device's.
            if case .impossible? = result.failure { continue }
            #expect(result.failure == nil)
        }
        #expect(report.comparison.ceilings.machine.isDevice)
        #expect(try #require(report.firstCall) > 0)
        #expect(report.tuning == nil && report.instructionSet == "sm_90")
    }

    @Test func refusesCodes() throws {
        var workload = Workload(
            name: "test", tokens: 3, hidden: 64, expertHidden: 32, experts: 4, topK: 2, weightType: .bfloat16)
        workload.quantisation = "int4"
        #expect(throws: MoEError.self) { try run(workload) }
    }
}
