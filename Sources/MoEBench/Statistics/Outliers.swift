/// Samples far from the bulk, counted and kept: the median does not mind them, a reader may.
///
/// Fences at 1.5 and 3 times the distance of the quartiles. Source: Tukey, "Exploratory Data Analysis", 1977.
package struct Outliers: Sendable, Hashable {
    package let count: Int
    /// Beyond the inner fences but within the outer ones.
    package let lowMild: Int
    package let highMild: Int
    /// Beyond the outer fences.
    package let lowSevere: Int
    package let highSevere: Int

    /// With fewer samples quartiles say too little.
    package static let samplesForFences = 10

    /// Counts samples in any order; nil below ``samplesForFences`` of them.
    package init?(_ samples: [Double]) {
        guard samples.count >= Self.samplesForFences else { return nil }
        let sorted = samples.sorted()
        let first = Summary.quantile(0.25, ofSorted: sorted), third = Summary.quantile(0.75, ofSorted: sorted)
        let spread = third - first
        count = sorted.count
        lowSevere = sorted.count { $0 < first - 3 * spread }
        lowMild = sorted.count { $0 < first - 1.5 * spread } - lowSevere
        highSevere = sorted.count { $0 > third + 3 * spread }
        highMild = sorted.count { $0 > third + 1.5 * spread } - highSevere
    }

    package var mild: Int { lowMild + highMild }
    package var severe: Int { lowSevere + highSevere }

    /// Whether they are more than the tail that every timing has: three or more, and a tenth of all, or a twentieth severe ones.
    package var areMany: Bool { mild + severe >= 3 && (10 * (mild + severe) > count || 20 * severe > count) }
}

extension Outliers: CustomStringConvertible {
    /// "3 mild and 2 severe of 40".
    package var description: String {
        let kinds = [mild > 0 ? "\(mild) mild" : nil, severe > 0 ? "\(severe) severe" : nil].compactMap { $0 }
        return (kinds.isEmpty ? "none" : kinds.joined(separator: " and ")) + " of \(count)"
    }
}
