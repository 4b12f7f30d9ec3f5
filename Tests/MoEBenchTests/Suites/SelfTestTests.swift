import CUDAFake
import CUDATwins
import MoEKernel
import Testing

@testable import MoEBench

/// The self-test that users carry to other machines.
@Suite struct SelfTestTests {
    /// Under a sanitiser only what is launched is looked at.
    @Test func quickLaunchesEveryKernel() throws {
        // As many multiprocessors as an H200 has.
        let (launched, misuse) = try withTwinMachine(smallMachine(multiprocessors: 132)) { device in
            let test = try SelfTest(on: device, pool: try ThreadPool(threads: 1), isQuick: true)
            for check in test.checks { #expect(try !check.run().isEmpty, "\(check.name)") }
            return try #require(launchedTwins())
        }
        #expect(misuse == nil)
        // Rows are kept in 16 bits where the output is, so no layer needs these.
        let unused: Set<String> = ["combine_bf16_fp32", "combine_fp16_fp32"]
        #expect(Set(twinKernelNames()).subtracting(launched) == unused)
    }

    @Test func quickIsShort() throws {
        let (counts, _) = try withTwinMachine { device in
            let pool = try ThreadPool(threads: 1)
            return try [true, false].map { try SelfTest(on: device, pool: pool, isQuick: $0).checks.count }
        }
        #expect(counts[0] * 2 < counts[1])
        let cases = try DeviceConformance.quickCases()
        #expect(cases.allSatisfy { $0.tokens * $0.configuration.slots <= 9000 && $0.configuration.hidden <= 1024 })
    }

    /// On the processor: every instruction set, type, code, arithmetic, activation and router is there still.
    @Test func quickHasEveryFeature() throws {
        let sets = CPUInstructionSet.supported
        let all = try LayerConformance.cases(sets), quick = try LayerConformance.quickCases(sets)
        #expect(quick.count * 4 < all.count)
        func kinds(_ cases: [LayerConformance.Case], _ kind: (LayerConformance.Case) -> String) -> Set<String> {
            Set(cases.map { "\($0.instructionSet) \(kind($0))" })
        }
        let features: [(LayerConformance.Case) -> String] = [
            { "\($0.configuration.weightType ?? .float32) \($0.code.map { "\($0)" } ?? "")" }, { "\($0.arithmetic)" },
            { "\($0.configuration.expert.activation) \($0.configuration.expert.isGated)" },
            { "\($0.configuration.router.selection)" },
            { "\($0.configuration.shared == .none)" }, { "\($0.configuration.latent != nil)" },
        ]
        for feature in features { #expect(kinds(quick, feature) == kinds(all, feature)) }
    }

    @Test func wrongResultsFail() throws {
        let pool = try ThreadPool(threads: 1)
        let checks = try SelfTest(on: [.baseline], pool: pool, isQuick: true).checks
        #expect(try checks[0].run().isEmpty)
        // A device whose kernels do nothing: only what is not looked at passes.
        let (passed, _) = try withTwinMachine { device in
            for kernel in twinKernelNames() { fake_register_kernel(kernel) { _, _, _, _, _, _ in } }
            let checks = try SelfTest(on: device, pool: pool, isQuick: true).checks
            return checks.filter { (try? $0.run()) != nil }.map(\.name)
        }
        #expect(passed.count == 3 && passed.allSatisfy { $0.hasPrefix("products in registers") }, "\(passed)")
    }
}
