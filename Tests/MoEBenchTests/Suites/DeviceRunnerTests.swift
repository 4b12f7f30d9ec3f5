import CUDAFake
import CUDATwins
import MoEKernel
import Testing

@testable import MoEBench

/// The harness on a device that does not exist: every contender of a workload runs there, and is checked.
@Suite struct DeviceRunnerTests {
    private func run(
        _ workload: Workload, productExtent: Int = 64
    ) throws -> (report: WorkloadReport, device: DeviceRecord) {
        let (result, misuse) = try withTwinMachine { device in
            var runner = DeviceRunner(
                device: device, pool: try ThreadPool(threads: 1), build: "test", interruption: Interruption(),
                progress: ProgressLine(Terminal(hasStyle: false, hasProgress: false)))
            runner.probeIterations = 2
            runner.iterationsAhead = 1
            runner.productExtent = productExtent
            return (report: try runner.run(workload, budget: 0.2), device: DeviceRecord(device))
        }
        #expect(misuse == nil)
        return result
    }

    private func workload(tokens: Int, _ type: ElementType = .bfloat16) -> Workload {
        Workload(name: "test", tokens: tokens, hidden: 64, expertHidden: 32, experts: 4, topK: 2, weightType: type)
    }

    @Test(arguments: [3, 70]) func everyContenderIsRight(_ tokens: Int) throws {
        let report = try run(workload(tokens: tokens)).report
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

    /// A large product of the layer's own numbers is among the ceilings, in every round, in the text and in the file; and so is the device.
    @Test(arguments: ElementType.allCases) func theProductIsMeasuredAndRecorded(_ type: ElementType) throws {
        let (report, device) = try run(workload(tokens: 3, type), productExtent: type == .float32 ? 16 : 64)
        let gemm = try #require(report.comparison.ceilings.gemm)
        let extent = type == .float32 ? 16 : 64
        #expect((gemm.rows, gemm.columns, gemm.depth) == (extent, extent, extent))
        #expect(gemm.series.work.count >= SamplingPlan(budget: 1).rounds)
        #expect(gemm.series.work.allSatisfy { $0 == 2 * extent * extent * extent } && gemm.series.rate > 0)

        let lines = SuiteText(Terminal(hasStyle: false, hasProgress: false)).workload(report)
        #expect(lines.contains { $0.contains("ceilings: ") && $0.contains("; \(type.rawValue) GEMM \(extent)³ ") })

        let file = ResultsFile(
            reports: [report], build: "test", command: ["moe-bench"], machine: Machine(), device: device,
            partial: false)
        let read = try RecordedResults.read(try file.json(), file: "results.json")
        #expect(read.device == device)
        #expect(device.name == "Fake 0" && device.computeCapability == "9.0" && device.multiprocessors == 3)
        #expect(device.runtime == "13.0" && device.driver == "13.0" && device.memoryBytes > 0)
        let recorded = try #require(read.entries.first?.ceilings.gemm)
        #expect((recorded.rows, recorded.columns, recorded.depth) == (extent, extent, extent))
        #expect(recorded.series.work == gemm.series.work && recorded.series.nanoseconds == gemm.series.nanoseconds)
    }

    @Test func refusesCodes() throws {
        var workload = workload(tokens: 3)
        workload.quantisation = "int4"
        #expect(throws: MoEError.self) { try run(workload) }
    }
}
