import MoEBench
import MoEKernel

/// Options that several commands share, and how they are read.
enum CommonOptions {
    static let threads = Option(
        "threads", "N", aliases: ["num-threads"], help: "threads; without it, one for each processor")
    static let instructionSet = Option(
        "instruction-set", "SET", choices: CPUInstructionSet.allCases.map(\.rawValue),
        help: "baseline, avx2 or avx512; without it, the widest this processor has")
    static let tuning = Option(
        "tuning", "LIST",
        help: "replaces \(CPUTuning.fieldNames.joined(separator: ", ")), as in tile-rows=4,direct-tiles=0")
    static let device = Option("device", "NAME", choices: ["cpu", "cuda"], help: "cpu, cuda or cuda:N [cpu]")
    static let caches = Option(
        "caches", "STATE", choices: CacheState.allCases.map(\.rawValue),
        help: "what calls find in the processor's caches: warm, the last call's data, or cold, nothing of it [warm]")
    static let seed = Option("seed", "N", help: "seed of weights and input [1]")
    static let json = Option(
        "json", "FILE", aliases: ["output-file"], help: "write samples and everything about them to FILE")

    static let quiet = Option(
        "quiet", aliases: ["q"],
        help: "show nothing but what goes wrong; the run's exit status and its file tell the rest")
    static let list = Option("list", help: "show what would be measured, and measure nothing")

    static func terminal(_ arguments: Arguments) -> Terminal { arguments.has("quiet") ? .quiet : .current() }

    static let save = Option(
        "save", "NAME",
        help: "keep the run under NAME, for moe-bench diff; in .moe-bench, or where MOE_BENCH_BASELINES says")

    static func save(_ arguments: Arguments) throws -> Baselines.Place? {
        guard let name = try arguments.text("save") else { return nil }
        return try Baselines.current().place(name)
    }

    static func threads(_ arguments: Arguments) throws(UsageError) -> Int? {
        try arguments.number("threads", in: 1...ThreadPool.maximumThreads)
    }

    static func instructionSet(_ arguments: Arguments) throws -> CPUInstructionSet? {
        guard let set = try arguments.choice("instruction-set", CPUInstructionSet.self) else { return nil }
        guard CPUInstructionSet.supported.contains(set) else {
            throw MoEError.unavailable(what: set.rawValue, reason: "this processor does not have it")
        }
        return set
    }

    /// Where layers run.
    ///
    /// - Throws: one line that says what is missing where it cannot be used.
    static func device(_ arguments: Arguments) throws -> Device {
        guard let name = try arguments.text("device") else { return .cpu }
        guard let device = Device(name) else {
            throw UsageError("--device is \"\(name)\"; expected cpu, cuda or cuda:N, N from 0")
        }
        try device.check()
        guard device == .cpu || !processorOptions.contains(where: arguments.isGiven) else {
            throw UsageError(
                "--\(processorOptions.first(where: arguments.isGiven)!) is for the processor; --device is \(device)")
        }
        return device
    }

    /// - Throws: one line where a GPU is asked to have cold caches.
    static func caches(_ arguments: Arguments) throws(UsageError) -> CacheState {
        let caches = try arguments.choice("caches", CacheState.self) ?? .warm
        if caches == .cold, let name = try arguments.text("device"), Device(name) != .cpu {
            throw UsageError(
                "--caches cold is for the processor; on a GPU calls rotate over more weights than its cache holds")
        }
        return caches
    }

    private static let processorOptions = ["instruction-set", "tuning"]

    /// This machine's tuning with what the option replaces; nil without the option.
    static func tuning(_ arguments: Arguments) throws -> CPUTuning? {
        let chosen = if let set = try instructionSet(arguments) { set } else { try CPUInstructionSet.chosen() }
        return try arguments.tuning("tuning", of: CPUTuning.chosen(chosen))
    }

    static func seed(_ arguments: Arguments) throws(UsageError) -> UInt64 {
        try arguments.number("seed", in: 0...UInt64.max) ?? 1
    }
}
