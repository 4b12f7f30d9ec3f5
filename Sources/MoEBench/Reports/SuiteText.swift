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
    package func machine(
        _ machine: Machine, threads: Int, instructionSet: String, tuning: String?, device: String? = nil, build: String
    ) -> [String] {
        [
            terminal.styled("\(machine.processor.isEmpty ? machine.architecture : machine.processor)", .bold)
                + ", \(threads) of \(machine.processors) processors, \(instructionSet), \(machine.caches), memory "
                + Format.bytes(machine.memoryBytes)
        ] + (tuning.map { ["tuning \($0)"] } ?? []) + (device.map { [$0] } ?? []) + [
            terminal.styled("build \(build)", .faint)
        ]
    }

    /// One workload: a header, what the machine could do meanwhile, a row for each contender.
    package func workload(_ report: WorkloadReport) -> [String] {
        let workload = report.workload
        let ceilings = report.comparison.ceilings
        var lines = [
            terminal.styled(workload.name, .bold)
                + "  \(workload.sizes)  \(workload.dtype)  \(workload.expert.rawValue) "
                + workload.activation.rawValue
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
            .init("", .left), .init("median"), .init("p95"), .init("tokens/s"), .init("GFLOP/s"),
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
        return lines + table.render(terminal)
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
            summary.p95.map(Format.time) ?? "n/a",
            Format.count(Double(workload.tokens) / summary.median),
            flops > 0 ? Format.significant(flops / summary.median * 1e-9) : "–",
            bound.map { "\(Format.significant($0.share(ofSeconds: summary.median) * 100)) % \($0.resource.rawValue)" }
                ?? "–",
            layer.map { speedup(of: $0, over: measurement) } ?? "",
        ]
    }

    private func label(_ subject: Subject, pool: Int?) -> String {
        subject.threads == pool || pool == nil
            ? subject.name : "\(subject.name), \(subject.threads) thread\(subject.threads == 1 ? "" : "s")"
    }

    /// "3.81× of 4.00×", only in the rows of baselines.
    private func speedup(of layer: Measurement, over baseline: Measurement) -> String {
        let workload = layer.subject.workload
        let ideal: Double? =
            switch baseline.subject.name {
            case DenseAllExperts.name: Double(workload.experts) / Double(workload.topK)
            case DenseIsoActive.name: 1
            case ScalarBaseline.name, SpecialisationAblation.generic: nil
            default: .nan
            }
        if let ideal, ideal.isNaN { return "" }
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
