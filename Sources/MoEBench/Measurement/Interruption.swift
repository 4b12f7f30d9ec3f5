import Synchronization

/// Somebody wants the run to end early; asked between calls.
package final class Interruption: Sendable {
    private let requested = Atomic(false)

    package init() {}

    package func request() { requested.store(true, ordering: .relaxed) }

    package var isRequested: Bool { requested.load(ordering: .relaxed) }
}
