/// What ended the sampling of an implementation.
package enum StopReason: String, Sendable, Hashable, Codable, CaseIterable {
    /// The 95 % interval of its median was as tight as wished, at two checks running.
    case interval
    /// The time budget was spent.
    case time
    /// It had the most samples that the plan allows.
    case samples
    /// Somebody ended the run.
    case interrupted
}
