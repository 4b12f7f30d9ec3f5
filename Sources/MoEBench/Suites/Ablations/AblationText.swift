import MoEKernel

/// What leaving a design decision out costs, in words: the pair, the ratio of the medians, and how sure it is.
package struct AblationText: Sendable {
    private let terminal: Terminal

    package init(_ terminal: Terminal) { self.terminal = terminal }

    /// A line for each variant: "specialised over generic: 1.23× as fast (1.21 to 1.26)".
    package func gains(_ ablation: Ablation, _ report: WorkloadReport) -> [String] {
        let measurements = report.comparison.results.compactMap(\.measurement)
        guard let kept = measurements.first(where: { $0.subject.name == report.reference }) else { return [] }
        return measurements.filter { $0 != kept }.map { other in
            let pair = "  \(ablation.rawValue): \(kept.subject.name) over \(other.subject.name): "
            do {
                let speedup = try Speedup(of: kept, over: other)
                let interval = RatioInterval.of(
                    [.init(nanoseconds: other.nanoseconds)], over: [.init(nanoseconds: kept.nanoseconds)])
                return pair + "\(Format.fixed(speedup.ratio, 2))× as fast"
                    + (interval.map {
                        ", 95 % interval \(Format.fixed($0.lowerBound, 2)) to \(Format.fixed($0.upperBound, 2))"
                    }
                        ?? ", too few samples for an interval")
            } catch {
                return pair + "refused: \(error)"
            }
        }
    }
}
