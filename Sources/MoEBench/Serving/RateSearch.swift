/// Finds the highest rate at which something holds, for a property that holds below some rate and not above: doubles or halves until it
/// is between two rates, then bisects.
package struct RateSearch: Sendable, Hashable {
    /// The search ends when the rate that fails is at most this much above the one that holds.
    package static let precision = 1.1
    package static let maximumRuns = 12

    /// The highest rate tried that held, and the lowest that did not; nil where there was none.
    package private(set) var held: Double?
    package private(set) var failed: Double?
    package private(set) var runs = 0
    /// nil when the search is over.
    package private(set) var next: Double?

    package init(from rate: Double) { next = rate }

    /// Nothing more can be learned.
    package mutating func end() { next = nil }

    /// Takes over what a run at the rate ``next`` showed.
    package mutating func note(isKept: Bool) {
        guard let rate = next else { return }
        runs += 1
        if isKept { held = max(held ?? 0, rate) } else { failed = min(failed ?? .infinity, rate) }
        next =
            switch (held, failed) {
            case (let held?, let failed?):
                // A run may hold above one that failed where they are close: the machine's noise. Nothing is left to bisect then.
                failed <= held * Self.precision ? nil : (held * failed).squareRoot()
            case (let held?, nil): held * 2
            case (nil, let failed?): failed / 2
            case (nil, nil): nil
            }
        if runs == Self.maximumRuns { next = nil }
    }
}
