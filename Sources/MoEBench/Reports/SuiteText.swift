import MoEKernel

/// A report as lines of text.
package struct SuiteText: Sendable {
    package let terminal: Terminal

    package init(_ terminal: Terminal) { self.terminal = terminal }

    /// The machine, in two or three lines.
    ///
    /// - Parameters:
    ///   - tuning: Where it is not the machine's own.
    ///   - device: The GPU, where layers run on one.
    ///   - timing: Seconds that timing a call adds to it.
    package func machine(
        _ machine: Machine, threads: Int, instructionSet: String, tuning: String?, device: String? = nil, build: String,
        caches: CacheState = .warm, timing: Double? = nil
    ) -> [String] {
        [
            terminal.styled("\(machine.processor.isEmpty ? machine.architecture : machine.processor)", .bold)
                + ", \(threads) of \(machine.processors) processors, \(instructionSet), \(machine.caches), memory "
                + Format.bytes(machine.memoryBytes)
        ] + (tuning.map { ["tuning \($0)"] } ?? []) + (device.map { [$0] } ?? []) + [
            terminal.styled(
                "build \(build)" + (timing.map { ", timing a call adds \(Format.time($0))" } ?? "")
                    + (caches == .cold ? ", caches cold before every call" : ""), .faint)
        ]
    }

    /// One workload: a header, what the machine could do meanwhile, a row for each contender, and what has to be known of the numbers.
    package func workload(_ report: WorkloadReport) -> [String] {
        let workload = report.workload
        let ceilings = report.comparison.ceilings
        var lines = [
            terminal.styled(workload.name, .bold)
                + "  \(workload.sizes)  \(workload.dtype)  \(workload.expert.rawValue) "
                + workload.activation.rawValue + (workload.sharedWidth > 0 ? "  shared \(workload.sharedWidth)" : "")
                + (workload.skew.map { "  routing \($0)" } ?? "")
                + (workload.arithmetic == .exact ? "" : ", \(workload.arithmetic.rawValue) activations"),
            "  " + facts(report),
        ]
        let reads = ceilings.reads.map {
            "\(Format.bytes($0.bufferBytes)) \(Format.significant($0.series.rate * 1e-9)) GB/s"
        }
        let isDevice = ceilings.machine.isDevice
        let products =
            !isDevice ? "FMA" : workload.weightType == .float32 ? "FMA in registers" : "mma.sync in registers"
        var limits = ["\(products) \(Format.significant(ceilings.multiplyAdd.rate * 1e-9)) GFLOP/s"]
        if let gemm = ceilings.gemm {
            limits.append(
                "\(workload.dtype) GEMM \(gemm.sizes) \(Format.significant(gemm.series.rate * 1e-12)) TFLOP/s")
        }
        if !reads.isEmpty { limits.append("\(isDevice ? "copy" : "read") " + reads.joined(separator: ", ")) }
        if let rounded = ceilings.rounded { limits.append(Self.products(rounded)) }
        lines.append("  ceilings: " + limits.joined(separator: "; "))
        var table = TextTable([
            .init("", .left), .init("median"), .init("±"), .init("p95"), .init("tokens/s"), .init("GFLOP/s"),
            .init("of ceiling"),
            .init((report.reference == WorkloadRunner.wholeLayer ? "layer" : report.reference) + " is faster by"),
        ])
        let layer = report.comparison.results.first { $0.subject.name == report.reference }?.measurement
        for result in report.comparison.results {
            switch result.outcome {
            case .success(let measurement):
                table.add(
                    row(measurement, layer: layer, ceilings), style: measurement == layer ? .bold : nil)
            case .failure(let failure):
                table.add([result.subject.name, "\(failure)"], style: failure == .interrupted ? .faint : .red)
            }
        }
        for left in report.notRun { table.add([left.name, "not run: \(left.reason)"], style: .faint) }
        return lines + table.render(terminal) + notes(report)
    }

    /// Memory, what kept the sampling from ending early, samples far from the others, and a machine that was not itself.
    private func notes(_ report: WorkloadReport) -> [String] {
        let measurements = report.comparison.results.compactMap(\.measurement)
        func names(_ chosen: [Measurement]) -> String { chosen.map(\.subject.name).joined(separator: ", ") }
        var notes = [memory(report, measurements)].compactMap { $0 }
        let unsettled = measurements.filter { $0.stopped == .time }
        if !unsettled.isEmpty {
            notes.append("time was up before the medians were known well enough of: \(names(unsettled))")
        }
        let strange = measurements.compactMap { measurement in
            measurement.outliers.flatMap { $0.areMany ? "\(measurement.subject.name) \($0)" : nil }
        }
        if !strange.isEmpty { notes.append("outliers, kept: " + strange.joined(separator: "; ")) }
        let warnings = RunConditions(report.comparison.ceilings, measurements).sentences
        return notes.flatMap { folded($0) }.map { terminal.styled($0, .faint) }
            + warnings.flatMap { folded($0) }.map { terminal.styled($0, .yellow) }
    }

    /// "memory: peak 412 MiB, the layer allocates nothing a call"; nil where neither is known.
    private func memory(_ report: WorkloadReport, _ measurements: [Measurement]) -> String? {
        let reference = report.reference == WorkloadRunner.wholeLayer ? "the layer" : report.reference
        let layer = measurements.first { $0.subject.name == report.reference }
        let requests = layer?.allocationsPerCall.map { calls in
            let bytes = Format.bytes(Int((layer?.allocatedBytesPerCall ?? 0).rounded()))
            return calls == 0
                ? "\(reference) allocates nothing a call"
                : "\(reference) allocates \(Format.significant(calls)) times a call, \(bytes)"
        }
        let parts = [report.peakBytes.map { "peak \(Format.bytes($0))" }, requests].compactMap { $0 }
        return parts.isEmpty ? nil : "memory: " + parts.joined(separator: ", ")
    }

    /// A note in lines of at most 110 columns, broken at spaces, later lines further in.
    private func folded(_ note: String) -> [String] {
        var lines = ["  "]
        for word in note.split(separator: " ") {
            if lines[lines.count - 1].count + word.count > 109 { lines.append("   ") }
            lines[lines.count - 1] += (lines[lines.count - 1].last == " " ? "" : " ") + word
        }
        return lines
    }

    private static func products(_ rounded: Ceilings.Rounded) -> String {
        let resource = Bound.Resource(rounded.arithmetic)
        return "\(resource.rawValue) \(Format.significant(rounded.series.rate * 1e-9)) "
            + (resource == .byteDot ? "Gop/s" : "GFLOP/s")
    }

    private func facts(_ report: WorkloadReport) -> String {
        let batches = report.load.batches
        let touched = report.load.expertsTouched
        let checked =
            report.checkedTokens == report.workload.tokens
            ? "every token checked" : "\(report.checkedTokens) tokens checked"
        let first = report.firstCall.map { ", the layer's first call \(Format.time($0))" } ?? ""
        return
            "weights \(Format.bytes(report.weightBytes))\(first), \(batches) input\(batches == 1 ? "" : "s") touching "
            + "\(touched) experts, max/mean load \(Format.significant(report.load.maximumOverMean)), \(checked) "
            + "against float64"
    }

    private func row(_ measurement: Measurement, layer: Measurement?, _ ceilings: Ceilings) -> [String] {
        guard let summary = measurement.summary else { return [measurement.subject.name, "no samples"] }
        let workload = measurement.subject.workload
        let flops = Double(measurement.work.flops)
        let bound = ceilings.yardstick(of: measurement.work)
        return [
            label(measurement.subject, pool: layer?.subject.threads),
            Format.time(summary.median),
            summary.relativeHalfWidth.map { "\(Format.significant($0 * 100, digits: 2)) %" } ?? "n/a",
            summary.p95.map(Format.time) ?? "n/a",
            Format.count(Double(workload.tokens) / summary.median),
            flops > 0 ? Format.significant(flops / summary.median * 1e-9) : "–",
            bound.map { $0.shareText(ofSeconds: summary.median) } ?? "–",
            layer.map { speedup(of: $0, over: measurement) } ?? "",
        ]
    }

    private func label(_ subject: Subject, pool: Int?) -> String {
        subject.threads == pool || pool == nil
            ? subject.name : "\(subject.name), \(subject.threads) thread\(subject.threads == 1 ? "" : "s")"
    }

    /// "3.81× of 4.00×", only in the rows of baselines.
    private func speedup(of layer: Measurement, over baseline: Measurement) -> String {
        let name = baseline.subject.name
        let isBaseline = [DenseAllExperts.name, DenseIsoActive.name, ScalarBaseline.name].contains(name)
        let isAblation = layer.subject.name != WorkloadRunner.wholeLayer && name != layer.subject.name
        guard isBaseline || isAblation else { return "" }
        let ideal = Speedup.ideal(over: name, layer.subject.workload)
        do {
            let speedup = try Speedup(of: layer, over: baseline)
            let ratio = Format.fixed(speedup.ratio, 2) + "×"
            let labels = speedup.differences.map { " \($0.rawValue)" }.joined()
            return ideal.map { "\(ratio) of \(Format.fixed($0, 2))×" + labels } ?? ratio + labels
        } catch {
            return "refused"
        }
    }
}
