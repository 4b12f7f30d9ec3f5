/// Keeps the failure of the lowest task, so that the error does not depend on timing among those that were met.
final class FirstFailure: @unchecked Sendable {
    private let lock = PosixMutex()
    private var kept: (task: Int, error: MoEError)?

    var error: MoEError? {
        lock.lock()
        defer { lock.unlock() }
        return kept?.error
    }

    func report(_ error: MoEError, task: Int) {
        lock.lock()
        defer { lock.unlock() }
        if kept.map({ task < $0.task }) ?? true { kept = (task, error) }
    }
}
