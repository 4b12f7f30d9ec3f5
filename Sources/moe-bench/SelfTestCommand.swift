import MoEBench
import MoEKernel

/// Checks this binary on this machine.
enum SelfTestCommand: Command {
    static let name = "selftest"
    static let summary = "checks every instruction set that this machine can run against float64 arithmetic"
    static let examples: [(line: String, meaning: String)] = [
        ("moe-bench selftest", "after carrying the binary to another machine"),
        ("moe-bench selftest --instruction-set avx2", "one instruction set alone"),
    ]
    static let options = [CommonOptions.device, CommonOptions.instructionSet, CommonOptions.threads]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        try CommonOptions.requireProcessor(arguments)
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
        for test in try LayerConformance.cases(set.map { [$0] } ?? CPUInstructionSet.supported) {
            do {
                report("\(test)", try LayerConformance.run(test, pool: pool))
            } catch {
                report("\(test)", error)
            }
        }
        Terminal.print("\(passed) passed, \(failed) failed")
        return failed == 0 ? .success : .failure
    }
}
