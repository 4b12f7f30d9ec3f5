import CPlatform

/// Whether a series rises or falls from its first value to its last, and by how much; outliers decide neither.
///
/// The direction is Mann and Kendall's test, the size Theil and Sen's slope. Sources: Mann, "Nonparametric Tests Against Trend",
/// 1945; Sen, "Estimates of the Regression Coefficient Based on Kendall's Tau", 1968.
package struct Trend: Sendable, Hashable {
    /// What the slope adds from the first value to the last, over the median: 0.1 is a rise by 10 %.
    package let change: Double
    /// How likely so clear an order is in a series without a trend.
    package let probability: Double

    package static let shortest = 8
    /// Longer series are taken as the medians of as many pieces: all pairs of them are compared, and neighbours in time are too
    /// alike to count as independent.
    private static let mostPieces = 60

    /// nil below ``shortest`` values, and where their median is not positive.
    package init?(_ series: [Double]) {
        guard series.count >= Self.shortest else { return nil }
        let middle = Summary.median(of: series)
        guard middle > 0 else { return nil }
        let pieces = min(series.count, Self.mostPieces)
        let values = (0..<pieces).map { piece in
            Summary.median(of: Array(series[piece * series.count / pieces..<(piece + 1) * series.count / pieces]))
        }
        var balance = 0
        var slopes: [Double] = []
        slopes.reserveCapacity(pieces * (pieces - 1) / 2)
        for later in 1..<pieces {
            for earlier in 0..<later {
                let difference = values[later] - values[earlier]
                balance += difference > 0 ? 1 : difference < 0 ? -1 : 0
                slopes.append(difference / Double(later - earlier))
            }
        }
        change = Summary.median(of: slopes) * Double(pieces - 1) / middle
        func pairs(_ count: Int) -> Double { Double(count) * Double(count - 1) * Double(2 * count + 5) / 18 }
        let ties = Dictionary(grouping: values) { $0 }.values.reduce(0) { $0 + pairs($1.count) }
        let variance = pairs(pieces) - ties
        probability =
            variance > 0 && balance != 0 ? erfc(Double(abs(balance) - 1) / (2 * variance).squareRoot()) : 1
    }

    /// Clear in direction, and large enough to matter beside an interval of a per cent.
    package var isDrift: Bool { abs(change) >= 0.05 && probability < 0.01 }
}
