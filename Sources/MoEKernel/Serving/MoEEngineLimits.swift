/// What bounds an engine's memory and the length of its steps.
///
/// An engine holds at most ``maximumWaiting`` + ``maximumRunning`` requests of at most ``maximumSequenceTokens`` rows each, and one batch
/// of ``maximumBatchTokens`` rows; beside them the prompts of callers who wait for room. What it has answered belongs to whoever holds the
/// ``MoEGeneration``.
public struct MoEEngineLimits: Sendable, Hashable {
    /// Requests that are computed together.
    public let maximumRunning: Int
    /// Accepted requests that no step has worked on yet.
    public let maximumWaiting: Int
    /// Tokens of one step, prompts' pieces and decoded tokens together: it bounds how long a step takes, and so how long a prompt holds
    /// up those that decode.
    public let maximumBatchTokens: Int
    /// Tokens of one request, its prompt and what it asks for together.
    public let maximumSequenceTokens: Int

    /// - Parameters:
    ///   - maximumRunning: 1 or more.
    ///   - maximumWaiting: 1 or more.
    ///   - maximumBatchTokens: `maximumRunning` or more, so that every running request advances in every step.
    ///   - maximumSequenceTokens: 2 or more.
    /// - Throws: ``MoEError/configuration(field:value:expectation:)``.
    public init(
        maximumRunning: Int = 32, maximumWaiting: Int = 128, maximumBatchTokens: Int = 256,
        maximumSequenceTokens: Int = 8192
    ) throws(MoEError) {
        let floors = [
            ("maximumRunning", maximumRunning, 1, "1 or more"), ("maximumWaiting", maximumWaiting, 1, "1 or more"),
            (
                "maximumBatchTokens", maximumBatchTokens, maximumRunning,
                "maximumRunning, \(maximumRunning), or more: each running request has a token in each step"
            ),
            ("maximumSequenceTokens", maximumSequenceTokens, 2, "2 or more: a prompt and an output"),
        ]
        for (field, value, least, expectation) in floors where value < least {
            throw .configuration(field: field, value: "\(value)", expectation: expectation)
        }
        self.maximumRunning = maximumRunning
        self.maximumWaiting = maximumWaiting
        self.maximumBatchTokens = maximumBatchTokens
        self.maximumSequenceTokens = maximumSequenceTokens
    }
}
