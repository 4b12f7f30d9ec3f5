/// What an engine has done so far, and holds now.
///
/// Every request is in one place: ``accepted`` = ``waiting`` + ``running`` + ``finished`` + ``cancelled`` + ``failed`` + ``stopped``.
public struct MoEEngineStatistics: Sendable, Hashable {
    /// Requests that no step has worked on yet.
    public package(set) var waiting = 0
    /// Requests that steps work on.
    public package(set) var running = 0
    /// Requests taken so far.
    public package(set) var accepted = 0
    /// Requests turned away because the queue was full; none of the accepted.
    public package(set) var rejected = 0
    public package(set) var finished = 0
    public package(set) var cancelled = 0
    /// Requests of steps that failed.
    public package(set) var failed = 0
    /// Requests that a shutdown ended.
    public package(set) var stopped = 0
    /// Steps so far, and those of them that threw.
    public package(set) var steps = 0
    public package(set) var failedSteps = 0
    /// Rows of prompts, and generated rows, that steps have computed.
    public package(set) var prefillTokens = 0
    public package(set) var decodeTokens = 0
    /// Rows generated so far.
    public package(set) var generatedTokens = 0

    package init() {}
}

/// A step that is about to be computed.
public struct MoEEngineStep: Sendable, Hashable {
    /// Steps before it.
    public let number: Int
    /// Requests that wait meanwhile.
    public let waiting: Int
    /// Requests that are under way, all of which have part in the step.
    public let running: Int
    /// Rows of prompts.
    public let prefillTokens: Int
    /// Generated rows, one a request that decodes.
    public let decodeTokens: Int

    public var tokens: Int { prefillTokens + decodeTokens }
}
