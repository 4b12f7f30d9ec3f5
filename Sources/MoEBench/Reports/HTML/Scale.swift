#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// Where a value lies on a chart.
struct Scale: Sendable {
    enum Kind: Sendable { case linear, logarithmic }

    let kind: Kind
    let domain: ClosedRange<Double>
    /// Coordinates of the domain's ends.
    let start: Double
    let end: Double

    private init(_ kind: Kind, _ domain: ClosedRange<Double>, from start: Double, to end: Double) {
        self.kind = kind
        self.domain = domain
        self.start = start
        self.end = end
    }

    /// From 0 or the least value to the greatest, or a little beyond it.
    static func linear(_ values: [Double], from start: Double, to end: Double) -> Scale {
        let finite = values.filter(\.isFinite)
        let low = min(0, finite.min() ?? 0)
        let high = finite.max() ?? 1
        // A domain below any unit that is shown has no ticks to find.
        let isShown = high - low > 1e-15
        return Scale(.linear, low...(isShown ? high + (high - low) * 0.04 : low + 1), from: start, to: end)
    }

    /// Around all values that are above 0.
    ///
    /// - Parameter padding: The factor that is free on both sides.
    static func logarithmic(_ values: [Double], padding: Double = 1.15, from start: Double, to end: Double) -> Scale {
        let positive = values.filter { $0.isFinite && $0 > 0 }
        var low = (positive.min() ?? 1) / padding
        var high = (positive.max() ?? 10) * padding
        // An axis with one tick says nothing.
        if high / low < 3 {
            let middle = sqrt(low * high)
            low = middle / sqrt(3)
            high = middle * sqrt(3)
        }
        return Scale(.logarithmic, low...high, from: start, to: end)
    }

    /// The coordinate of a value; of the nearer end outside the domain.
    func callAsFunction(_ value: Double) -> Double {
        guard !value.isNaN else { return start }
        let clamped = min(max(value, domain.lowerBound), domain.upperBound)
        let part =
            switch kind {
            case .linear: (clamped - domain.lowerBound) / (domain.upperBound - domain.lowerBound)
            case .logarithmic:
                log(clamped / domain.lowerBound) / log(domain.upperBound / domain.lowerBound)
            }
        return start + part * (end - start)
    }

    /// Round values inside the domain, no more than about eight.
    var ticks: [Double] {
        switch kind {
        case .linear:
            let raw = (domain.upperBound - domain.lowerBound) / 5
            let magnitude = pow(10, floor(log10(raw)))
            let step = magnitude * ([1, 2, 5, 10].first { $0 * magnitude >= raw * 0.999 } ?? 10)
            let first = (domain.lowerBound / step).rounded(.up), last = (domain.upperBound / step).rounded(.down)
            return stride(from: first, through: last, by: 1).map { $0 * step }
        case .logarithmic:
            let first = floor(log10(domain.lowerBound)), last = ceil(log10(domain.upperBound))
            let decades = log10(domain.upperBound / domain.lowerBound)
            let steps: [Double] =
                decades < 0.9 ? [1, 1.5, 2, 3, 5, 7] : decades < 1.6 ? [1, 2, 5] : decades < 3 ? [1, 3] : [1]
            let every = max(1, (decades / 6).rounded(.up))
            return stride(from: first, through: last, by: 1).filter {
                every == 1 || $0.remainder(dividingBy: every) == 0
            }.flatMap { exponent in steps.map { $0 * pow(10, exponent) } }.filter(domain.contains)
        }
    }

    /// Of the values a chart has points at, those whose labels do not touch.
    func spaced(_ values: [Double], apart: Double) -> [Double] {
        var kept: [Double] = []
        for value in Set(values).sorted() {
            if let last = kept.last, abs(self(value) - self(last)) < apart { continue }
            kept.append(value)
        }
        return kept
    }
}
