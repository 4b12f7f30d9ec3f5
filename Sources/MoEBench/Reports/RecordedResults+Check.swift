import MoEKernel

extension RecordedResults {
    /// Refuses numbers that no run could have given, so that nothing which computes with them has to fear them.
    ///
    /// - Throws: `MoEError.checkpoint` naming the file, the field and its value.
    package func check(file: String) throws(MoEError) {
        var check = NumberCheck(file: file)
        check.machine(machine)
        for (index, entry) in entries.enumerated() { check.entry(entry, "entries[\(index)]") }
        for (index, record) in (serving ?? []).enumerated() { check.serving(record, "serving[\(index)]") }
        if let problem = check.problem { throw .checkpoint(file: file, tensor: nil, problem: problem) }
    }
}

/// Looks at one number after the other and keeps the first that cannot be.
private struct NumberCheck {
    let file: String
    private(set) var problem: String?

    /// Whole numbers up to this are exact as `Double`, and sums and differences of a few of them fit into `Int`.
    static let most = 1 << 53

    init(file: String) { self.file = file }

    mutating func whole(_ value: Int, _ name: String, from least: Int = 0) {
        guard problem == nil, !(least...Self.most).contains(value) else { return }
        problem = "is damaged: \(name) is \(value); expected \(least) to 2^53"
    }

    mutating func number(_ value: Double, _ name: String) {
        // Far below what any clock tells apart; what is divided by it would leave all bounds.
        guard problem == nil, !(value == 0 || value >= 1e-15 && value <= 1e18) else { return }
        problem = "is damaged: \(name) is \(value); expected 0, or 1e-15 to 1e18"
    }

    mutating func say(_ text: @autoclosure () -> String) { problem = problem ?? "is damaged: \(text())" }

    mutating func machine(_ machine: Machine) {
        for (value, name) in [
            (machine.processors, "processors"), (machine.l1Bytes, "l1Bytes"), (machine.l2Bytes, "l2Bytes"),
            (machine.l3Bytes, "l3Bytes"), (machine.memoryBytes, "memoryBytes"),
        ] { whole(value, "machine.\(name)") }
    }

    mutating func workload(_ workload: Workload, _ name: String) {
        for (value, field) in [
            (workload.tokens, "tokens"), (workload.hidden, "hidden"), (workload.expertHidden, "expertHidden"),
            (workload.experts, "experts"), (workload.topK, "topK"), (workload.groups, "groups"),
        ] { whole(value, "\(name).\(field)", from: 1) }
    }

    mutating func work(_ work: Work, _ name: String) {
        for (value, field) in [
            (work.flops, "flops"), (work.byteOperations, "byteOperations"), (work.pairOperations, "pairOperations"),
            (work.bytes, "bytes"), (work.workingSet, "workingSet"),
        ] { whole(value, "\(name).\(field)") }
        guard problem == nil, work.byteOperations + work.pairOperations > work.flops else { return }
        say("\(name) has more operations of kinds than operations")
    }

    mutating func samples(_ nanoseconds: [UInt64], count: Int, _ name: String) {
        guard problem == nil else { return }
        if count != nanoseconds.count { say("\(name).count is \(count) beside \(nanoseconds.count) samples") }
        for (index, value) in nanoseconds.enumerated() where value > UInt64(Self.most) {
            say("\(name).nanoseconds[\(index)] is \(value); expected 0 to 2^53")
            return
        }
    }

    mutating func series(_ series: RecordedCeilings.Series, _ name: String) {
        samples(series.nanoseconds, count: series.work.count, name)
        for value in series.work { whole(value, "\(name).work") }
    }

    mutating func entry(_ entry: Entry, _ name: String) {
        workload(entry.workload, "\(name).workload")
        whole(entry.threads, "\(name).threads", from: 1)
        whole(entry.weightBytes, "\(name).weightBytes")
        whole(entry.checkedTokens, "\(name).checkedTokens")
        if let seconds = entry.firstCall { number(seconds, "\(name).firstCall") }
        if let bytes = entry.peakBytes { whole(bytes, "\(name).peakBytes") }
        number(entry.load.maximumOverMean, "\(name).load.maximumOverMean")
        whole(entry.load.expertsTouched, "\(name).load.expertsTouched")
        whole(entry.load.batches, "\(name).load.batches", from: 1)
        if let tokens = entry.load.tokensPerExpert {
            if tokens.count != entry.workload.experts {
                say("\(name).load.tokensPerExpert has \(tokens.count) numbers for \(entry.workload.experts) experts")
            }
            for value in tokens { whole(value, "\(name).load.tokensPerExpert") }
        }
        series(entry.ceilings.multiplyAdd, "\(name).ceilings.multiplyAdd")
        if let byteDot = entry.ceilings.byteDot { series(byteDot, "\(name).ceilings.byteDot") }
        if let pairDot = entry.ceilings.pairDot { series(pairDot, "\(name).ceilings.pairDot") }
        if let gemm = entry.ceilings.gemm {
            for (value, field) in [(gemm.rows, "rows"), (gemm.columns, "columns"), (gemm.depth, "depth")] {
                whole(value, "\(name).ceilings.gemm.\(field)", from: 1)
            }
            series(gemm.series, "\(name).ceilings.gemm")
        }
        for read in (entry.ceilings.reads ?? []) + (entry.ceilings.copies ?? []) {
            whole(read.bufferBytes, "\(name).ceilings.bufferBytes", from: 1)
            series(read.series, "\(name).ceilings.reads")
        }
        for (index, row) in entry.measurements.enumerated() {
            timing(row, count: row.count, "\(name).measurements[\(index)]")
            if let calls = row.allocationsPerCall { number(calls, "\(name).measurements[\(index)].allocationsPerCall") }
            if let bytes = row.allocatedBytesPerCall {
                number(bytes, "\(name).measurements[\(index)].allocatedBytesPerCall")
            }
        }
        for (index, row) in (entry.external ?? []).enumerated() {
            timing(row, count: row.count, "\(name).external[\(index)]")
            number(row.error, "\(name).external[\(index)].error")
        }
    }

    private mutating func timing(_ row: some Timing, count: Int, _ name: String) {
        workload(row.subject.workload, "\(name).subject.workload")
        whole(row.subject.threads, "\(name).subject.threads", from: 1)
        work(row.work, "\(name).work")
        samples(row.nanoseconds, count: count, name)
    }

    mutating func serving(_ record: ServingRecord, _ name: String) {
        workload(record.workload, "\(name).workload")
        for (value, field) in [(record.layers, "layers"), (record.threads, "threads")] {
            whole(value, "\(name).\(field)", from: 1)
        }
        for (value, field) in [
            (record.rate, "rate"), (record.seconds, "seconds"), (record.objective.firstToken, "objective.firstToken"),
            (record.objective.perToken, "objective.perToken"),
        ] { number(value, "\(name).\(field)") }
        if let bytes = record.peakBytes { whole(bytes, "\(name).peakBytes") }
        if let most = record.mostWaiting { whole(most, "\(name).mostWaiting") }
        for (value, field) in [
            (record.maximumWaiting, "maximumWaiting"), (record.maximumRunning, "maximumRunning"),
            (record.maximumBatchTokens, "maximumBatchTokens"),
        ] { whole(value, "\(name).\(field)", from: 1) }
        for (index, request) in record.requests.enumerated() {
            let name = "\(name).requests[\(index)]"
            number(request.arrival, "\(name).arrival")
            number(request.end, "\(name).end")
            if let first = request.firstToken { number(first, "\(name).firstToken") }
            for (value, field) in [
                (request.promptTokens, "promptTokens"), (request.outputTokens, "outputTokens"),
                (request.generatedTokens, "generatedTokens"),
            ] { whole(value, "\(name).\(field)") }
            let first = request.firstToken ?? request.end
            guard request.arrival <= first, first <= request.end else {
                say("\(name) comes at \(request.arrival), has its first token at \(first) and ends at \(request.end)")
                return
            }
        }
        for (index, step) in record.steps.enumerated() {
            number(step.time, "\(name).steps[\(index)].time")
            for (value, field) in [(step.waiting, "waiting"), (step.running, "running"), (step.tokens, "tokens")] {
                whole(value, "\(name).steps[\(index)].\(field)")
            }
        }
    }
}

extension NumberCheck {
    typealias Entry = RecordedResults.Entry
}
