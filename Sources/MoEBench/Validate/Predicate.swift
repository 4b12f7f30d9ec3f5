/// Something that must hold on this machine: a value that was found, and the limit that it is held against.
package struct Predicate: Sendable, Hashable, Encodable {
    package enum Chapter: String, Sendable, Hashable, Codable, CaseIterable {
        case correctness, honesty, performance, serving
    }

    package let chapter: Chapter
    /// "prefill, fp32: share of the ceiling".
    package let name: String
    /// What was found, with its unit: "74.3 %".
    package let value: String
    /// What it had to be: "at least 55 %".
    package let limit: String
    package let holds: Bool

    package init(_ chapter: Chapter, _ name: String, value: String, limit: String, holds: Bool) {
        self.chapter = chapter
        self.name = name
        self.value = value
        self.limit = limit
        self.holds = holds
    }

    /// A ratio that must not be below a limit.
    package init(_ chapter: Chapter, _ name: String, ratio: Double, atLeast limit: Double) {
        self.init(
            chapter, name, value: Format.fixed(ratio, 2), limit: "at least \(Format.fixed(limit, 2))",
            holds: ratio >= limit)
    }

    /// All of some.
    package init(_ chapter: Chapter, _ name: String, _ passed: Int, of total: Int, firstProblem: String? = nil) {
        self.init(
            chapter, name, value: "\(passed) of \(total)" + (firstProblem.map { "; \($0)" } ?? ""), limit: "all",
            holds: passed == total && total > 0)
    }
}
