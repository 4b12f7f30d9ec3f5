import MoEKernel

/// What a serving run is asked to do.
package struct ServeSettings: Sendable {
    /// What every layer is like; its tokens are those of the largest step.
    package var workload: Workload
    package var layers: Int
    package var load: ServingLoad
    package var limits: MoEEngineLimits
    package var objective: ServingRecord.Objective
    /// Requests that are served before the clock starts.
    package var warmUp: Int
    /// Looks for the highest rate that keeps the objective, from the load's on.
    package var findsRate: Bool
    package var targets = Targets()
    package var threads: Int?
    package var instructionSet: CPUInstructionSet?
    package var tuning: CPUTuning?
    package var json: String?
    package var command: [String] = []

    /// What a run must reach for its exit status to be 0.
    package struct Targets: Sendable, Hashable {
        /// Seconds from arrival to last token that 95 % of requests stay below.
        package var endToEnd: Double?
        /// Tokens a second, with those of prompts.
        package var tokensPerSecond: Double?

        /// A line for each target that the run misses.
        package func missed(by summary: ServingSummary) -> [String] {
            var lines: [String] = []
            if let endToEnd {
                if summary.finished < Summary.samplesForP95 {
                    lines.append(
                        "target not shown: \(summary.finished) requests finished, too few for p95 "
                            + "(\(Summary.samplesForP95))")
                } else if let share = summary.share(within: endToEnd), share < ServingSummary.requiredShare {
                    lines.append(
                        "target missed: \(Format.fixed(share * 100, 1)) % of requests finished within "
                            + "\(Format.time(endToEnd)), wanted \(Format.fixed(ServingSummary.requiredShare * 100, 0)) %"
                    )
                }
            }
            if let tokensPerSecond, summary.tokensPerSecond < tokensPerSecond {
                lines.append(
                    "target missed: \(Format.count(summary.tokensPerSecond)) tokens/s, wanted "
                        + Format.count(tokensPerSecond))
            }
            return lines
        }
    }
}
