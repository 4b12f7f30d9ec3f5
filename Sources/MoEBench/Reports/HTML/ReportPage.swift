import MoEKernel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// One page with everything that results files say: no scripts, nothing from elsewhere, well-formed also as XML.
package struct ReportPage: Sendable {
    private let data: ReportData
    private let title: String
    private let runs: [ServingFigures]

    /// Files up to this size together, in bytes, are put into the page whole, so that their samples go where it goes.
    private static let embedded = 2_000_000
    /// Workloads that are shown opened.
    private static let opened = 6

    package init(_ data: ReportData, title: String = "moe-bench report") {
        self.data = data
        self.title = title
        runs = data.serving.map { ServingFigures($0.record, on: data.inputs[$0.file].results.machine) }
    }

    package var html: String {
        Markup.page(
            .element("html", ["lang": "en"]) {
                Markup.element("head") {
                    Markup.element("meta", ["charset": "utf-8"])
                    Markup.element("meta", ["name": "viewport", "content": "width=device-width, initial-scale=1"])
                    Markup.element("title") { title }
                    Markup.stylesheet
                }
                Markup.element("body") {
                    Markup.element("main") {
                        header
                        glance
                        section("Speed-up", SpeedupChart.figures(data.entries))
                        section("As parameters grow", SweepChart.figures(data))
                        section("Serving", serving)
                        section("Other programs", PeersChart.figures(data.entries))
                        section("Load", LoadHeatMap.figures(data.entries))
                        workloads
                        missing
                        provenance
                    }
                }
            })
    }

    private func section(_ name: String, _ parts: [Markup]) -> Markup? {
        guard !parts.isEmpty else { return nil }
        return .element("section") {
            Markup.element("h2") { name }
            Markup.element("div", ["class": "grid"]) { parts }
        }
    }

    // MARK: What it is

    private var header: Markup {
        let rows = data.entries.flatMap(\.rows)
        let samples = rows.reduce(0) { $0 + $1.summary.count }
        let requests = runs.reduce(0) { $0 + $1.record.requests.count }
        let counts = [
            count(data.entries.count, "workload"), count(rows.count, "row"), count(samples, "sample"),
            count(runs.count, "serving run"), count(requests, "request"),
        ].compactMap { $0 }
        return .element("header") {
            Markup.element("h1") { title }
            Markup.element("p", ["class": "lead"]) {
                counts.joined(separator: ", ") + " from " + (count(data.inputs.count, "file") ?? "no file") + "."
            }
            for machine in machines { Markup.element("ul", ["class": "facts"]) { facts(machine) } }
            for warning in warnings { Markup.element("p", ["class": "warn", "role": "note"]) { warning } }
        }
    }

    private func count(_ number: Int, _ thing: String) -> String? {
        number == 0 ? nil : "\(number) \(thing)\(number == 1 ? "" : "s")"
    }

    /// Each once, as the files come.
    private var machines: [Machine] {
        var seen: Set<Machine> = []
        return data.inputs.map(\.results.machine).filter { seen.insert($0).inserted }
    }

    private func facts(_ machine: Machine) -> [Markup] {
        let inputs = data.inputs.filter { $0.results.machine == machine }
        let builds = Set(inputs.map(\.results.build)).sorted()
        let finished = inputs.map(\.results.finished).sorted()
        var facts = [
            ("", machine.processor.isEmpty ? machine.architecture : machine.processor),
            ("processors", "\(machine.processors)"), ("", machine.caches),
            ("memory", machine.memoryBytes > 0 ? Format.bytes(machine.memoryBytes) : "unknown"),
            ("system", "\(machine.system) \(machine.architecture)"),
            (
                builds.count == 1 ? "build" : "builds",
                builds.prefix(3).joined(separator: ", ") + (builds.count > 3 ? ", …" : "")
            ),
        ]
        if let first = finished.first, let last = finished.last {
            facts.append(("finished", first == last ? first : "\(first) to \(last)"))
        }
        return facts.map { name, value in
            .element("li") {
                if !name.isEmpty { name + " " }
                Markup.element("b") { value }
            }
        }
    }

    private var warnings: [String] {
        var warnings: [String] = []
        let partial = data.inputs.filter { input in
            input.results.partial || input.results.entries.contains(where: \.partial)
                || (input.results.serving ?? []).contains(where: \.partial)
        }
        if !partial.isEmpty {
            warnings.append(
                "Partial: " + partial.map(\.name).joined(separator: ", ")
                    + (partial.count == 1 ? " ends" : " end") + " before all that was asked for was measured.")
        }
        let failed = data.entries.flatMap(\.recorded.failed)
        if !failed.isEmpty {
            warnings.append(
                "\(count(failed.count, "implementation") ?? "") failed and \(failed.count == 1 ? "has" : "have") no row: "
                    + Set(failed.map(\.name)).sorted().joined(separator: ", ") + ". See Not measured.")
        }
        if machines.count > 1 {
            warnings.append(
                "The files come from \(machines.count) machines. Rows are compared only within a run, curves drawn only within a machine."
            )
        }
        return warnings
    }

    // MARK: The rows

    private var glance: Markup? {
        guard !data.entries.isEmpty else { return nil }
        let rows = data.entries.map { ($0, $0.referenceRow) }
        var rivals: [String] = []
        for (entry, _) in rows {
            for row in entry.rows where row.program == nil && row.speedup != nil && !rivals.contains(row.name) {
                rivals.append(row.name)
            }
        }
        // More than a handful would hide the rest; the chart has them all.
        rivals = Array(rivals.prefix(3))
        let measured = Set(rows.compactMap(\.1?.name))
        var table = PageTable(
            ["workload", "median", "95 % interval"] + rivals.map { "faster than \($0)" }
                + ["tokens/s", "of ceiling", "measured", "T", "H", "F", "E", "k", "weights", "threads"],
            text: [0, rivals.count + 5, rivals.count + 11])
        for (entry, row) in rows {
            let workload = entry.recorded.workload
            // What failed has no figures; it is not left out.
            let figures = [
                entry.label, row.map { Format.time($0.summary.median) } ?? "no result",
                row?.summary.medianInterval.map(Format.interval) ?? "–",
            ]
            let ratios = rivals.map { name in
                entry.rows.first { $0.name == name && $0.program == nil }?.speedup?.text ?? "–"
            }
            let sizes = [workload.tokens, workload.hidden, workload.expertHidden, workload.experts, workload.topK]
            let weights =
                workload.dtype + (workload.arithmetic == .exact ? "" : ", \(workload.arithmetic.rawValue) activations")
            table.rows.append(
                figures + ratios + [
                    row?.tokensPerSecond.map(Format.count) ?? "–", row?.shareText ?? "–", row?.name ?? "–",
                ]
                    + sizes.map { "\($0)" } + [weights, "\(entry.recorded.threads)"])
        }
        // A column that says the same everywhere says it once, above.
        if measured.count <= 1 { table.drop(rivals.count + 5) }
        return .element("section") {
            Markup.element("h2") { "At a glance" }
            Markup.element("div", ["class": "card"]) {
                if measured.count == 1, let name = measured.first {
                    Markup.element("p", ["class": "note"]) { "Figures of the \(name)." }
                }
                table.markup("glance")
            }
        }
    }

    private var workloads: Markup? {
        guard !data.entries.isEmpty else { return nil }
        return .element("section") {
            Markup.element("h2") { "Workloads" }
            for entry in data.entries {
                Markup.element(
                    "details", ["class": "workload", "open": data.entries.count <= Self.opened ? "open" : nil]
                ) {
                    Markup.element("summary", ["class": "name"]) {
                        entry.label + (entry.recorded.partial ? " (partial)" : "")
                    }
                    Markup.element("ul", ["class": "facts"]) { facts(entry) }
                    Markup.element("div", ["class": "card"]) { rows(entry) }
                    Markup.element("div", ["class": "grid"]) {
                        RooflineChart.figure(entry)
                        SampleStrips.figure(entry)
                    }
                }
            }
        }
    }

    private func facts(_ entry: ReportData.Entry) -> [Markup] {
        let recorded = entry.recorded, workload = recorded.workload
        let checked =
            recorded.checkedTokens == workload.tokens
            ? "every token" : count(recorded.checkedTokens, "token") ?? "no token"
        let facts: [(String, String?)] = [
            ("", workload.sizes), ("weights", "\(workload.dtype), \(Format.bytes(recorded.weightBytes))"),
            (
                "experts",
                "\(workload.expert.rawValue) \(workload.activation.rawValue), \(workload.router.rawValue) router"
            ),
            ("activations", workload.arithmetic == .exact ? nil : workload.arithmetic.rawValue),
            ("threads", "\(recorded.threads), \(recorded.instructionSet)"), ("tuning", recorded.tuning),
            ("", entry.rows.first.flatMap { $0.subject.device == "cpu" ? nil : $0.subject.device }),
            ("caches", (recorded.caches ?? .warm).rawValue), ("inputs", "\(recorded.load.batches)"),
            ("experts touched", "\(recorded.load.expertsTouched) of \(workload.experts)"),
            ("busiest expert", Format.fixed(recorded.load.maximumOverMean, 2) + "× the mean"),
            ("checked against float64", checked),
            ("first call", recorded.firstCall.map(Format.time)), ("peak memory", recorded.peakBytes.map(Format.bytes)),
        ]
        return facts.compactMap { name, value in
            value.map { value in
                .element("li") {
                    if !name.isEmpty { name + " " }
                    Markup.element("b") { value }
                }
            }
        }
    }

    private func rows(_ entry: ReportData.Entry) -> Markup {
        var table = PageTable(
            [
                "", "median", "95 % interval", "p95", "p99", "samples", "tokens/s", "GFLOP/s", "GB/s", "of ceiling",
                "\(entry.referenceTitle) is faster by",
            ])
        for row in entry.rows {
            if row.name == entry.reference, row.program == nil { table.strong.insert(table.rows.count) }
            table.rows.append([
                row.name + (row.program.map { " (external: \($0))" } ?? "")
                    + (row.subject.threads == entry.recorded.threads
                        ? "" : ", \(count(row.subject.threads, "thread") ?? "")"),
                Format.time(row.summary.median), row.summary.medianInterval.map(Format.interval) ?? "too few samples",
                row.summary.p95.map(Format.time) ?? "too few", row.summary.p99.map(Format.time) ?? "too few",
                "\(row.summary.count)", row.tokensPerSecond.map(Format.count) ?? "–",
                row.flopsPerSecond.map { Format.significant($0 * 1e-9) } ?? "–",
                row.bytesPerSecond.map { Format.significant($0 * 1e-9) } ?? "–", row.shareText,
                row.speedup?.text ?? "",
            ])
        }
        return table.markup("rows")
    }

    // MARK: Serving

    private var serving: [Markup] {
        guard !runs.isEmpty else { return [] }
        var table = PageTable([
            "run", "requests", "finished", "rejected", "cancelled", "failed", "goodput", "generated tokens/s",
            "TTFT p50",
            "TTFT p95",
            "TPOT p50", "TPOT p95", "end to end p50", "end to end p95", "longest queue", "peak memory",
        ])
        for run in runs {
            func cell(_ q: Double, _ sorted: [Double]) -> String {
                ServingFigures.percentile(q, of: sorted).map(Format.time) ?? "too few"
            }
            table.rows.append(
                [run.label + (run.record.partial ? " (partial)" : ""), "\(run.record.requests.count)"]
                    + ServingRecord.Outcome.allCases.map { "\(run.summary.count($0))" } + [
                        "\(Format.significant(run.summary.goodput))/s", Format.count(run.summary.generatedPerSecond),
                        cell(0.5, run.firstToken), cell(0.95, run.firstToken), cell(0.5, run.perToken),
                        cell(0.95, run.perToken), cell(0.5, run.endToEnd), cell(0.95, run.endToEnd),
                        "\(run.summary.mostWaiting)", run.record.peakBytes.map(Format.bytes) ?? "–",
                    ])
        }
        let first = runs[0].record
        let card = Markup.element("div", ["class": "card", "style": "grid-column:1/-1;margin:0"]) {
            Markup.element("p", ["class": "note"]) {
                "\(first.workload.name), \(first.workload.sizes), \(first.workload.dtype), "
                    + "\(count(first.layers, "layer") ?? ""), \(count(first.threads, "thread") ?? ""), \(first.instructionSet). "
                    + "Latencies count from the scheduled arrival; generated tokens/s are all that came over the whole run's time."
            }
            table.markup("serving")
        }
        let rates = RateChart.figures(runs)
        // Of a sweep over rates the ends and the middle are told apart at a glance; the table has all.
        let shown = runs.count <= 3 ? runs : [runs[0], runs[runs.count / 2], runs[runs.count - 1]]
        return [card] + rates + shown.flatMap { [LatencyChart.figure($0), QueueChart.figure($0)].compactMap { $0 } }
    }

    // MARK: What is missing, and where all of it came from

    private var missing: Markup? {
        var table = PageTable(["workload", "implementation", "what happened", "reason"], text: [0, 1, 2, 3])
        for entry in data.entries {
            for failure in entry.recorded.failed {
                table.rows.append([entry.label, failure.name, "failed", failure.reason])
            }
            for left in entry.recorded.notRun { table.rows.append([entry.label, left.name, "not run", left.reason]) }
        }
        guard !table.rows.isEmpty else { return nil }
        return .element("section") {
            Markup.element("h2") { "Not measured" }
            Markup.element("div", ["class": "card"]) { table.markup("missing") }
        }
    }

    private var provenance: Markup {
        let isEmbedded = data.inputs.reduce(0) { $0 + $1.data.count } <= Self.embedded
        return .element("section") {
            Markup.element("h2") { "Where this comes from" }
            Markup.element("p") {
                "Every figure is computed from the raw samples in "
                    + (data.inputs.count == 1 ? "the file below, which is" : "the files below, which are")
                    + (isEmbedded
                        ? " in this page whole."
                        : " not in this page: they are too large. The fingerprint tells whether one is the same.")
                    + " Only the samples that moe-bench's own timer took count as measurements; what other programs took is called external. "
                    + "Intervals hold the middle 95 % of resampled medians; speed-ups are ratios of medians within one run."
            }
            for input in data.inputs {
                Markup.element("div", ["class": "card"]) {
                    Markup.element("dl") {
                        item("file", input.path)
                        item("command", (["moe-bench"] + input.results.command).joined(separator: " "))
                        item("finished", input.results.finished)
                        item("build", input.results.build)
                        item(
                            "machine",
                            "\(input.results.machine.processor), \(count(input.results.machine.processors, "processor") ?? ""), "
                                + input.results.machine.features.joined(separator: " "))
                        item(
                            "state",
                            "schema version \(input.results.version), \(input.results.partial ? "partial" : "complete")"
                        )
                        item("fingerprint", "\(fingerprint(input)), \(Format.bytes(input.data.count))")
                        if isEmbedded {
                            Markup.element("dt") { "samples" }
                            Markup.element("dd") {
                                Markup.element(
                                    "a",
                                    [
                                        "download": input.name,
                                        "href": "data:application/json;base64," + input.data.base64EncodedString(),
                                    ]
                                ) { "save \(input.name)" }
                            }
                        }
                    }
                }
            }
            Markup.element("footer") { "Made by moe-bench report from the results alone." }
        }
    }

    private func item(_ name: String, _ value: String) -> [Markup] {
        [Markup.element("dt") { name }, Markup.element("dd") { Markup.element("code") { value } }]
    }

    private func fingerprint(_ input: ResultsInput) -> String {
        var fingerprint = Fingerprint()
        input.data.withUnsafeBytes { fingerprint.add($0) }
        return fingerprint.text
    }
}
