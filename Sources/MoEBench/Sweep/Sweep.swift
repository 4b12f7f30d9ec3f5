import MoEKernel

/// The product of some axes: the first varies slowest.
package struct Sweep: Sendable {
    /// The most runs: at six seconds each that is an hour and a half.
    package static let mostPoints = 1000

    /// Names of the axes that have more than one value.
    package let varied: [String]
    package let points: [SweepPoint]
    /// Combinations that were left out, and why.
    package let skipped: [(combination: String, reason: String)]

    /// A combination that no run can have.
    package struct Impossible: Error, Sendable, CustomStringConvertible {
        package let description: String
    }

    /// All combinations. Each is looked at before any is run.
    ///
    /// - Parameters:
    ///   - skipsImpossible: Leaves impossible combinations out, unless all are.
    ///   - check: Throws what is wrong with a combination.
    /// - Throws: ``UsageError`` for more than ``mostPoints`` combinations; ``Impossible`` naming the first that cannot be. Of a single
    ///   combination what `check` throws.
    package init(
        _ base: SweepPoint, _ axes: [SweepAxis], skipsImpossible: Bool = false,
        check: (SweepPoint) throws(MoEError) -> Void
    ) throws {
        let count = axes.reduce(1) { Work.product($0, $1.values.count) }
        guard count <= Self.mostPoints else {
            throw UsageError("these lists are \(count) runs; expected at most \(Self.mostPoints)")
        }
        varied = axes.filter { $0.values.count > 1 }.map(\.name)
        var points = [base]
        for axis in axes {
            points = points.flatMap { point in
                axis.values.map { value in
                    var point = point
                    value.change(&point)
                    if axis.values.count > 1 { point.values.append(value.text) }
                    return point
                }
            }
        }
        var possible: [SweepPoint] = []
        var skipped: [(combination: String, reason: String)] = []
        for point in points {
            do throws(MoEError) {
                try check(point)
                possible.append(point)
            } catch {
                if points.count == 1 { throw error }
                skipped.append((Self.combination(varied, point.values), "\(error)"))
            }
        }
        if let first = skipped.first, !skipsImpossible || possible.isEmpty {
            let others = skipped.count > 1 ? "; \(skipped.count - 1) more of \(count) cannot be either" : ""
            let remedy = possible.isEmpty ? "" : "; --skip-impossible leaves such combinations out"
            throw Impossible(description: "\(first.combination): \(first.reason)\(others)\(remedy)")
        }
        self.points = possible
        self.skipped = skipped
    }

    /// "tokens 8, threads 2".
    package static func combination(_ names: [String], _ values: [String]) -> String {
        zip(names, values).map { "\($0) \($1)" }.joined(separator: ", ")
    }
}
