import MoEBench
import MoEKernel

/// Checks this binary on this machine.
enum SelfTestCommand: Command {
    static let name = "selftest"
    static let summary = "checks every instruction set that this machine can run, or a GPU, against float64 arithmetic"
    static let examples: [(line: String, meaning: String)] = [
        ("moe-bench selftest", "after carrying the binary to another machine"),
        ("moe-bench selftest --instruction-set avx2", "one instruction set alone"),
        ("moe-bench selftest --device cuda", "every kernel of the first GPU"),
    ]
    static let options = [CommonOptions.device, CommonOptions.instructionSet, CommonOptions.threads]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        let device = try CommonOptions.device(arguments)
        let set = try CommonOptions.instructionSet(arguments)
        let pool = try ThreadPool(threads: try CommonOptions.threads(arguments))
        var passed = 0, failed = 0
        func report(_ name: String, _ problem: (any Error)?) {
            if let problem {
                failed += 1
                Terminal.print("FAILED  \(name): \(problem)")
            } else {
                passed += 1
                Terminal.print("ok      \(name)")
            }
        }
        if case .cuda(let index) = device {
            try run(on: try CUDADevice.numbered(index), pool: pool, report)
        } else {
            for test in try LayerConformance.cases(set.map { [$0] } ?? CPUInstructionSet.supported) {
                do {
                    report("\(test)", try LayerConformance.run(test, pool: pool))
                } catch {
                    report("\(test)", error)
                }
            }
        }
        Terminal.print("\(passed) passed, \(failed) failed")
        return failed == 0 ? .success : .failure
    }

    private static func run(
        on device: CUDADevice, pool: ThreadPool, _ report: (String, (any Error)?) -> Void
    ) throws {
        Terminal.print("\(device.properties)")
        for test in try DeviceConformance.cases() + DeviceConformance.largeCases() {
            do {
                let finding = try DeviceConformance.run(test, on: device) { configuration, weights in
                    try MoELayer(configuration, weights: weights, on: device, pool: pool)
                }
                report("\(test): \(finding)", nil)
            } catch {
                report("\(test)", error)
            }
        }
    }
}
