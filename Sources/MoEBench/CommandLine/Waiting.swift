import Dispatch

/// From a command, which runs on the main thread, into asynchronous code and back.
package enum Waiting {
    /// Has the calling thread, which runs no tasks, wait for one.
    package static func forResult<Value: Sendable>(
        of body: @escaping @Sendable () async throws -> Value
    ) throws -> Value {
        let box = Box<Value>()
        let done = DispatchSemaphore(value: 0)
        Task.detached {
            do { box.result = .success(try await body()) } catch { box.result = .failure(error) }
            done.signal()
        }
        done.wait()
        return try box.result!.get()
    }

    /// Written before the semaphore is signalled, read after.
    private final class Box<Value>: @unchecked Sendable {
        var result: Result<Value, any Error>?
    }
}
