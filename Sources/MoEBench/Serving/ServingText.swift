import MoEKernel

/// Serving runs as lines of text.
package struct ServingText: Sendable {
    package let terminal: Terminal

    package init(_ terminal: Terminal) { self.terminal = terminal }

    /// What is served, and what comes.
    package func head(_ settings: ServeSettings, weightBytes: Int, checkedTokens: Int) -> [String] {
        let load = settings.load, limits = settings.limits, workload = settings.workload
        let extent =
            switch load.extent {
            case .requests(let count): "\(count) requests"
            case .seconds(let seconds): "\(Format.significant(seconds)) s"
            }
        let givenUp = load.cancelled > 0 ? ", \(Format.significant(load.cancelled * 100)) % give up" : ""
        return [
            terminal.styled("\(settings.layers) layers", .bold)
                + "  H \(workload.hidden)  F \(workload.expertHidden)  E \(workload.experts)  k \(workload.topK)  "
                + "\(workload.dtype)",
            "  weights \(Format.bytes(weightBytes)), \(checkedTokens) tokens checked against float64",
            "  \(load.arrivals.rawValue) arrivals, \(extent), seed \(load.seed); prompts of \(load.prompt) tokens, "
                + "answers of \(load.output)\(givenUp)",
            "  at most \(limits.maximumRunning) running, \(limits.maximumWaiting) waiting, "
                + "\(limits.maximumBatchTokens) tokens a step; objective \(Self.words(settings.objective))",
        ]
    }

    static func words(_ objective: ServingRecord.Objective) -> String {
        "\(Format.time(objective.firstToken)) to the first token, \(Format.time(objective.perToken)) a token"
    }

    /// One run.
    package func run(_ record: ServingRecord) -> [String] {
        let summary = ServingSummary(record)
        var table = TextTable([.init("", .left), .init("p50"), .init("p95"), .init("p99")])
        for (name, latency) in [
            ("time to first token", summary.firstToken), ("time per token", summary.perToken),
            ("end to end", summary.endToEnd),
        ] {
            guard let latency else {
                table.add([name, "no request finished"], style: .faint)
                continue
            }
            table.add([name] + [latency.median, latency.p95, latency.p99].map { $0.map(Format.time) ?? "n/a" })
        }
        var lines = [
            terminal.styled("\(Format.significant(record.rate)) requests/s", .bold)
                + (record.partial ? "  interrupted" : ""),
            "  \(summary.scheduled) requests = \(summary.finished) finished + \(summary.rejected) rejected + "
                + "\(summary.cancelled) cancelled + \(summary.failed) failed, in \(Format.significant(record.seconds)) s",
        ]
        lines += table.render(terminal)
        if let latency = summary.endToEnd, latency.p99 == nil {
            lines.append(
                terminal.styled(
                    "  n/a: \(latency.count) requests; p95 takes \(Summary.samplesForP95), p99 \(Summary.samplesForP99)",
                    .faint))
        }
        lines.append("  " + verdict(summary))
        lines.append(
            "  tokens   \(Format.count(summary.generatedPerSecond))/s generated, "
                + "\(Format.count(summary.tokensPerSecond))/s with prompts")
        lines.append(
            "  queue    \(Format.significant(summary.meanWaiting)) waiting on average, \(summary.mostWaiting) at most; "
                + "\(Format.significant(summary.meanRunning)) running, "
                + "\(Format.significant(summary.meanBatchTokens)) tokens a step")
        if summary.mostWaiting > 0 {
            lines.append("  waiting  " + Self.bars(ServingSummary.waiting(of: record, bins: 60)) + "  over time")
        }
        if let peak = record.peakBytes { lines.append("  memory   \(Format.bytes(peak)) at most") }
        return lines
    }

    private func verdict(_ summary: ServingSummary) -> String {
        let goodput = "goodput  \(Format.significant(summary.goodput)) requests/s"
        guard let attainment = summary.attainment, let isKept = summary.isObjectiveKept else { return goodput }
        let share = "\(Format.fixed(attainment * 100, 1)) % of requests within the objective"
        return goodput + ": " + terminal.styled(share + (isKept ? ", kept" : ", not kept"), isKept ? nil : .red)
    }

    /// Heights from the largest value; a small one that is not 0 shows.
    static func bars(_ values: [Int]) -> String {
        let blocks = Array("▁▂▃▄▅▆▇█")
        let largest = max(values.max() ?? 0, 1)
        return String(
            values.map { $0 == 0 ? " " : blocks[min(($0 * blocks.count - 1) / largest, blocks.count - 1)] })
    }

    /// The runs of a search for the highest rate, in the order of their rates.
    package func search(_ records: [ServingRecord], _ search: RateSearch) -> [String] {
        var table = TextTable([
            .init("requests/s"), .init("kept by"), .init("first token p50"), .init("p95"), .init("per token p95"),
            .init("tokens/s"), .init("rejected"), .init("waiting"),
        ])
        for record in records.sorted(by: { $0.rate < $1.rate }) {
            let summary = ServingSummary(record)
            let isKept = summary.isObjectiveKept ?? false
            table.add(
                [
                    Format.significant(record.rate),
                    summary.attainment.map { Format.fixed($0 * 100, 1) + " %" } ?? "n/a",
                    summary.firstToken.map { Format.time($0.median) } ?? "n/a",
                    summary.firstToken?.p95.map(Format.time) ?? "n/a",
                    summary.perToken?.p95.map(Format.time) ?? "n/a", Format.count(summary.tokensPerSecond),
                    "\(summary.rejected)", "\(summary.mostWaiting)",
                ], style: isKept ? nil : .faint)
        }
        return table.render(terminal) + ["  " + terminal.styled(Self.finding(search), .bold)]
    }

    static func finding(_ search: RateSearch) -> String {
        switch (search.held, search.failed) {
        case (let held?, let failed?):
            "the objective is kept up to \(Format.significant(held)) requests/s, not at \(Format.significant(failed))"
        case (let held?, nil): "the objective is kept at every rate tried, up to \(Format.significant(held)) requests/s"
        case (nil, let failed?):
            "the objective is kept at no rate tried, down to \(Format.significant(failed)) requests/s"
        case (nil, nil): "no rate was tried to the end"
        }
    }
}
