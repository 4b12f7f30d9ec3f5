/// How many times faster one timing is than another, computed when it is shown and from nothing but the two.
package struct Speedup: Sendable, Hashable {
    /// A difference that a comparison may have, as long as it is said.
    package enum Difference: String, Sendable, Hashable, CaseIterable {
        case dtype = "cross-dtype"
        case device = "cross-device"
        case threads = "cross-threads"
    }

    /// Two timings of different problems: no ratio of them means anything.
    package struct Refused: Error, Sendable, Hashable, CustomStringConvertible {
        package let description: String
    }

    /// Median of the baseline over median of the candidate.
    package let ratio: Double
    /// Empty where like is compared with like.
    package let differences: [Difference]

    package init(of candidate: some Timing, over baseline: some Timing) throws(Refused) {
        let a = candidate.subject, b = baseline.subject
        guard a.workload.problem == b.workload.problem else {
            throw Refused(
                description: "\(a.name) and \(b.name) solve different problems: "
                    + "\(a.workload.sizes) and \(b.workload.sizes)")
        }
        guard candidate.inputHash == baseline.inputHash else {
            throw Refused(
                description: "\(a.name) and \(b.name) read different inputs: "
                    + "\(candidate.inputHash) and \(baseline.inputHash)")
        }
        guard let fast = candidate.median, let slow = baseline.median, fast > 0 else {
            throw Refused(description: "\(a.name) or \(b.name) has no samples")
        }
        ratio = slow / fast
        differences = [
            a.dtype == b.dtype ? nil : .dtype, a.device == b.device ? nil : .device,
            a.threads == b.threads ? nil : .threads,
        ].compactMap { $0 }
    }
}

extension Speedup {
    /// The gain that the numbers of multiplications promise over a baseline; nil where they promise none.
    package static func ideal(over baseline: String, _ workload: Workload) -> Double? {
        switch baseline {
        case DenseAllExperts.name: workload.denseOverRouted
        case DenseIsoActive.name: 1
        default: nil
        }
    }
}

extension Workload {
    /// The mathematical problem alone: without its name and without how weights are stored.
    fileprivate var problem: Workload {
        var problem = self
        problem.name = ""
        problem.weightType = .float32
        problem.quantisation = nil
        return problem
    }

    /// "T 512  H 512  F 2048  E 8  k 2"
    package var sizes: String { "T \(tokens)  H \(hidden)  F \(expertHidden)  E \(experts)  k \(topK)" }
}
