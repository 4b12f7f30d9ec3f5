import MoEKernel

/// Results files as rows: every figure that a report shows, computed from samples, once.
package struct ReportData: Sendable {
    /// A measured implementation, or one that another program timed.
    package struct Row: Sendable {
        package let name: String
        package let subject: Subject
        /// Which program timed it; nil for this one.
        package let program: String?
        /// The largest relative error that was found in an external program's output.
        package let error: Double?
        package let work: Work
        /// Samples in seconds, in the order they were taken.
        package let samples: [Double]
        package let summary: Summary
        package let bound: Bound?
        /// How many times faster the reference is; nil in rows that are no rivals of it.
        package let speedup: Ratio?

        package var tokensPerSecond: Double? { rate(Double(subject.workload.tokens)) }
        package var flopsPerSecond: Double? { work.flops > 0 ? rate(Double(work.flops)) : nil }
        package var bytesPerSecond: Double? { work.bytes > 0 ? rate(Double(work.bytes)) : nil }
        /// nil also where the ceiling's passes were disturbed.
        package var shareOfBound: Double? { summary.median > 0 ? bound?.knownShare(ofSeconds: summary.median) : nil }

        private func rate(_ amount: Double) -> Double? { summary.median > 0 ? amount / summary.median : nil }
    }

    package struct Ratio: Sendable {
        package let value: Double
        package let interval: ClosedRange<Double>?
        /// What follows from the counts of multiplications alone; nil where nothing does.
        package let ideal: Double?
        package let differences: [Speedup.Difference]
    }

    package struct Entry: Sendable {
        package let file: Int
        package let recorded: RecordedResults.Entry
        package let rows: [Row]
        /// What others are compared with; nil where nothing was measured.
        package let reference: String?
        /// Its name, and what sets it apart from others of that name.
        package fileprivate(set) var label: String

        /// The reference first, then its rivals, parts of it last.
        package var byImportance: [Row] {
            let first = rows.filter { $0.name == reference && $0.program == nil }
            let rest = rows.filter { $0.name != reference || $0.program != nil }
            return first + rest.filter { $0.speedup != nil || $0.program != nil }
                + rest.filter { $0.speedup == nil && $0.program == nil }
        }

        /// Its name in the title of a column.
        package var referenceTitle: String { reference == WorkloadRunner.wholeLayer ? "layer" : reference ?? "layer" }

        package var referenceRow: Row? { rows.first { $0.name == reference && $0.program == nil } }
    }

    package let inputs: [ResultsInput]
    package private(set) var entries: [Entry]
    package let serving: [(file: Int, record: ServingRecord)]

    package init(_ inputs: [ResultsInput]) {
        self.inputs = inputs
        entries = inputs.enumerated().flatMap { file, input in
            input.results.entries.map { Self.entry($0, file: file) }
        }
        serving = inputs.enumerated().flatMap { file, input in
            (input.results.serving ?? []).map { (file, $0) }
        }
        label()
    }

    /// Nothing in the files was measured.
    package var isEmpty: Bool { entries.isEmpty && serving.isEmpty }

    private static func entry(_ entry: RecordedResults.Entry, file: Int) -> Entry {
        let reference = reference(of: entry)
        let own = entry.measurements.first { $0.subject.name == reference }
        let factor = own.map { RatioInterval.Factor(nanoseconds: $0.nanoseconds) }
        func row(_ timing: some Timing, program: String? = nil, error: Double? = nil) -> Row? {
            let samples = timing.nanoseconds.map { Double($0) * 1e-9 }
            guard let summary = Summary(samples) else { return nil }
            let isRival = program != nil || !stages.contains(timing.subject.name)
            var ratio: Ratio?
            if isRival, timing.subject.name != reference || program != nil, let own, let factor,
                let speedup = try? Speedup(of: own, over: timing)
            {
                ratio = Ratio(
                    value: speedup.ratio,
                    interval: RatioInterval.of(
                        [RatioInterval.Factor(nanoseconds: timing.nanoseconds)], over: [factor]),
                    ideal: Speedup.ideal(over: timing.subject.name, timing.subject.workload),
                    differences: speedup.differences)
            }
            return Row(
                name: timing.subject.name, subject: timing.subject, program: program, error: error, work: timing.work,
                samples: samples, summary: summary,
                bound: entry.ceilings.limit(of: timing.work, entry.caches ?? .warm)?.bound, speedup: ratio)
        }
        return Entry(
            file: file, recorded: entry,
            rows: entry.measurements.compactMap { row($0) }
                + (entry.external ?? []).compactMap { row($0, program: $0.program, error: $0.error) },
            reference: reference, label: entry.workload.name)
    }

    /// Older files do not say it. Where it has no measurement there is none: nothing else may take its place.
    private static func reference(of entry: RecordedResults.Entry) -> String? {
        let names = entry.measurements.map(\.subject.name)
        let known = entry.reference.map { [$0] } ?? [WorkloadRunner.wholeLayer, SpecialisationAblation.specialised]
        return known.first(where: names.contains)
    }

    /// Parts of the layer: no rivals of it.
    private static let stages: Set<String> = Set([LayerStage.Stage.gating, .routing, .experts].map(\.rawValue))

    /// Tells entries of one name apart by what differs among them.
    private mutating func label() {
        for indices in Dictionary(grouping: entries.indices, by: { entries[$0].recorded.workload.name }).values {
            guard indices.count > 1 else { continue }
            let traits = indices.map { self.traits(of: entries[$0]) }
            let telling = traits[0].indices.filter { trait in Set(traits.map { $0[trait] }).count > 1 }
            for (index, traits) in zip(indices, traits) {
                entries[index].label = ([entries[index].label] + telling.map { traits[$0] }).joined(separator: " · ")
            }
            // The same thing measured again: what is left is where it was, and from which file.
            for last in [machine(of:), file(of:)] {
                for same in Dictionary(grouping: indices, by: { entries[$0].label }).values {
                    let names = same.map { last(entries[$0]) }
                    guard Set(names).count > 1 else { continue }
                    for (index, name) in zip(same, names) { entries[index].label += " · " + name }
                }
            }
        }
    }

    private func traits(of entry: Entry) -> [String] {
        let recorded = entry.recorded, workload = recorded.workload
        return [
            "T \(workload.tokens)", "H \(workload.hidden)", "F \(workload.expertHidden)", "E \(workload.experts)",
            "k \(workload.topK)", workload.dtype, "\(workload.arithmetic.rawValue) activations",
            workload.expert.rawValue, workload.activation.rawValue, "\(workload.router.rawValue) router",
            "\(recorded.threads) thread\(recorded.threads == 1 ? "" : "s")", recorded.instructionSet,
            "\((recorded.caches ?? .warm).rawValue) caches", "seed \(workload.seed)",
            "\(workload.skew?.description ?? "uniform") routing", entry.rows.first?.subject.device ?? "",
        ]
    }

    private func machine(of entry: Entry) -> String {
        let machine = inputs[entry.file].results.machine
        return machine.processor + (machine.caches == "unknown" ? "" : " (\(machine.caches))")
    }

    private func file(of entry: Entry) -> String { inputs[entry.file].name }
}

extension ReportData.Row {
    /// "72.4 % read".
    var shareText: String {
        guard summary.median > 0, let bound else { return "–" }
        return bound.shareText(ofSeconds: summary.median)
    }
}

extension ReportData.Ratio {
    /// "3.52× of 4.00×", and how the two differ where they do.
    var text: String {
        Format.fixed(value, 2) + "×" + (ideal.map { " of \(Format.fixed($0, 2))×" } ?? "")
            + differences.map { " \($0.rawValue)" }.joined()
    }
}
