/// A request's answer: its rows as they come, one for each generated token.
///
/// ```swift
/// for try await row in try await engine.submit(prompt: rows, outputTokens: 64) { send(row) }
/// ```
///
/// At most as many rows as were asked for wait to be read, so a slow reader holds nobody up. One task at a time may read. Cancelling that
/// task, calling ``cancel()``, or dropping the handle and its iterator unfinished cancels the request: it leaves the engine before the
/// next step.
public struct MoEGeneration<Value: BitwiseCopyable & Sendable>: AsyncSequence, Sendable {
    /// A row, [width].
    public typealias Element = [Value]
    public typealias Failure = MoEEngineError

    /// The engine's number for the request: 0, 1, … in the order in which they were accepted.
    public let request: Int
    private let reader: Reader

    init(request: Int, channel: GenerationChannel<Value>) {
        self.request = request
        reader = Reader(channel)
    }

    /// Gives the request up. Rows that were not read are gone; after the last row this does nothing.
    public func cancel() { reader.channel.cancel() }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(reader: reader) }

    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let reader: Reader

        /// The next row; nil after the last.
        ///
        /// - Throws: ``MoEEngineError/cancelled``, ``MoEEngineError/failed(_:)`` or ``MoEEngineError/shutDown`` when the request ended
        ///   early, after the rows it had generated unless it was cancelled; ``MoEEngineError/invalid(_:)`` when another task is reading.
        public mutating func next(isolation: isolated (any Actor)?) async throws(MoEEngineError) -> [Value]? {
            try await reader.channel.next(isolation: isolation)
        }

        public mutating func next() async throws(MoEEngineError) -> [Value]? { try await next(isolation: nil) }
    }

    /// Whoever may still read; when nobody can, nobody needs the answer.
    fileprivate final class Reader: Sendable {
        let channel: GenerationChannel<Value>

        init(_ channel: GenerationChannel<Value>) { self.channel = channel }

        deinit { channel.cancel() }
    }
}
