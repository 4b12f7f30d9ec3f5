import MoEBench
import MoEKernel

/// Checks this binary on this machine.
enum SelfTestCommand: Command {
    static let name = "selftest"
    static let summary = "checks every instruction set that this machine can run, or a GPU, against float64 arithmetic"
    static let examples: [(line: String, meaning: String)] = [
        ("moe-bench selftest", "after carrying the binary to another machine"),
        ("moe-bench selftest --instruction-set avx2", "one instruction set alone"),
        ("moe-bench selftest --device cuda", "every kernel of the first GPU, at sizes of real layers too"),
        (
            "compute-sanitizer --tool racecheck moe-bench selftest --quick --device cuda",
            "every kernel at small sizes, under a tool that slows a GPU down many times"
        ),
    ]
    static let options = [
        Option("quick", help: "a few small layers; on a GPU they need every kernel all the same"),
        CommonOptions.device, CommonOptions.instructionSet, CommonOptions.threads,
    ]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        let device = try CommonOptions.device(arguments)
        let set = try CommonOptions.instructionSet(arguments)
        let pool = try ThreadPool(threads: try CommonOptions.threads(arguments))
        let isQuick = arguments.has("quick")
        let test: SelfTest
        if case .cuda(let index) = device {
            let gpu = try CUDADevice.numbered(index)
            Terminal.print("\(DeviceRecord(gpu))")
            test = try SelfTest(on: gpu, pool: pool, isQuick: isQuick)
        } else {
            test = try SelfTest(
                on: set.map { [$0] } ?? CPUInstructionSet.supported, pool: pool, isQuick: isQuick)
        }
        var passed = 0, failed = 0
        for check in test.checks {
            do {
                let found = try check.run()
                passed += 1
                Terminal.print("ok      \(check.name)" + (found.isEmpty ? "" : ": \(found)"))
            } catch {
                failed += 1
                Terminal.print("FAILED  \(check.name): \(error)")
                // Whatever followed would fail of the same fault.
                if case .cuda(let failure) = error as? MoEError, failure.kind == .contextLost { break }
            }
        }
        let left = test.checks.count - passed - failed
        Terminal.print("\(passed) passed, \(failed) failed" + (left > 0 ? ", \(left) not run" : ""))
        return failed == 0 ? .success : .failure
    }
}
