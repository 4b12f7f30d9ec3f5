/// Everything that can go wrong in the library, each case naming the thing, its value and what was expected.
///
/// Public functions throw this type and nothing else; none of them traps on a caller's data.
///
/// Its cases lie behind a pointer: every function that throws carries a word for it, and with as much as a case has, a call
/// that succeeds would be slower.
public indirect enum MoEError: Error, Sendable, Hashable {
    /// A configuration that describes no layer: a size of zero, `topK` above `experts`, sizes that overflow.
    case configuration(field: String, value: String, expectation: String)
    /// Activations or buffers handed to a call do not fit the layer.
    case input(name: String, value: String, expectation: String)
    /// A weight tensor cannot be used: wrong shape or type, a value that is not finite.
    case weights(tensor: String, problem: String)
    /// A checkpoint file is malformed, incomplete or of a kind that is not supported. `tensor` is nil where the fault is in
    /// the file as a whole.
    case checkpoint(file: String, tensor: String?, problem: String)
    /// The operating system refused: the file, what was tried, and its reason.
    case system(file: String, operation: String, reason: String)
    /// Memory could not be had.
    case outOfMemory(bytes: Int, purpose: String)
    /// The machine, or this build, lacks what was asked for.
    case unavailable(what: String, reason: String)
    /// An NVIDIA GPU cannot be used, or failed: the call, CUDA's code, and the remedy.
    case cuda(CUDAFailure)
}

extension MoEError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .configuration(let field, let value, let expectation):
            "configuration: \(field) is \(value); expected \(expectation)"
        case .input(let name, let value, let expectation):
            "input: \(name) is \(value); expected \(expectation)"
        case .weights(let tensor, let problem):
            "weights: \(tensor): \(problem)"
        case .checkpoint(let file, let tensor?, let problem):
            "\(file): tensor \(tensor): \(problem)"
        case .checkpoint(let file, nil, let problem):
            "\(file): \(problem)"
        case .system(let file, let operation, let reason):
            "\(file): \(operation): \(reason)"
        case .outOfMemory(let bytes, let purpose):
            "out of memory: \(bytes) bytes for \(purpose)"
        case .unavailable(let what, let reason):
            "\(what) is not available: \(reason)"
        case .cuda(let failure):
            "\(failure)"
        }
    }
}
