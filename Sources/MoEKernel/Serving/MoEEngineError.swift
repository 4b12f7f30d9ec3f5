/// Why a request got no answer, or only a part of one.
public enum MoEEngineError: Error, Sendable, Hashable {
    /// As many requests wait as may; the request was not taken and was counted as rejected. Trying again later helps.
    case queueFull(maximumWaiting: Int)
    /// The request can never be served as it is: its prompt is empty or no whole number of rows, or it is too long.
    case invalid(MoEError)
    /// Whoever asked gave up: the handle was cancelled or dropped, or the task that read it was cancelled.
    case cancelled
    /// The model could not compute a step that the request was part of.
    case failed(MoEError)
    /// The engine was shut down before the request was done, or before it was submitted.
    case shutDown
}

extension MoEEngineError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .queueFull(let maximumWaiting):
            "the queue is full: \(maximumWaiting) requests wait, the most allowed"
        case .invalid(let error): "\(error)"
        case .cancelled: "the request was cancelled"
        case .failed(let error): "a step failed: \(error)"
        case .shutDown: "the engine was shut down"
        }
    }
}
