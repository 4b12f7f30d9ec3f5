/// Passes of a probe, each timed: of this run, or out of a file.
package protocol CeilingPasses {
    /// Operations or bytes of each pass.
    var work: [Int] { get }
    var nanoseconds: [UInt64] { get }
}

extension CeilingPasses {
    /// Work a second of each pass.
    package var rates: [Double] { zip(work, nanoseconds).map { Double($0) / Double(max($1, 1)) * 1e9 } }

    /// Work a second: the median over the passes, so that it is measured as the implementations beside it are.
    package var rate: Double {
        let rates = rates
        return rates.isEmpty ? 0 : Summary.median(of: rates)
    }

    /// Work a second of the best pass: what the machine has shown that it can do.
    package var best: Double { rates.max() ?? 0 }
}

extension CeilingSeries: CeilingPasses {}
extension RecordedCeilings.Series: CeilingPasses {}

extension RunConditions {
    package init(_ ceilings: Ceilings, _ measurements: [some Timing]) {
        self.init(
            ceilings: Self.named(
                (ceilings.machine.isDevice ? Bound.Resource.products : .multiplyAdd).rawValue, ceilings.multiplyAdd,
                ceilings.machine.isDevice ? .copy : .read, ceilings.reads.map { ($0.bufferBytes, $0.series) }),
            measurements: measurements.map { ($0.subject.name, $0.nanoseconds) })
    }

    /// The same of what a results file tells.
    package init(_ ceilings: RecordedCeilings, _ measurements: [some Timing]) {
        self.init(
            ceilings: Self.named(
                (ceilings.copies == nil ? Bound.Resource.multiplyAdd : .products).rawValue, ceilings.multiplyAdd,
                ceilings.copies == nil ? .read : .copy,
                (ceilings.reads ?? ceilings.copies ?? []).map { ($0.bufferBytes, $0.series) }),
            measurements: measurements.map { ($0.subject.name, $0.nanoseconds) })
    }

    private static func named<Passes: CeilingPasses>(
        _ arithmetic: String, _ products: Passes, _ traffic: Bound.Resource, _ reads: [(bytes: Int, passes: Passes)]
    ) -> [Ceiling] {
        [Ceiling(name: arithmetic, rates: products.rates)]
            + reads.map { Ceiling(name: "\(traffic.rawValue) \(Format.bytes($0.bytes))", rates: $0.passes.rates) }
    }
}
