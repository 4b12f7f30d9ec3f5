import AllocationCounter

/// What a stretch of code asked of the heap, on every thread. Pages mapped straight from the operating system are no part of it.
package struct AllocationCount: Sendable, Hashable {
    package let calls: Int
    package let bytes: Int

    /// False where the allocator cannot be listened to: another C library, a statically linked one, a sanitizer.
    package static let isAvailable = allocation_counter_works()

    /// Runs `body` and counts meanwhile; nil where counting is not available. Other code that runs at the same time is counted too.
    package static func during<Failure>(_ body: () throws(Failure) -> Void) throws(Failure) -> AllocationCount? {
        guard isAvailable else {
            try body()
            return nil
        }
        allocation_counting_begin()
        defer { allocation_counting_end() }
        let before = allocation_totals_now()
        try body()
        let after = allocation_totals_now()
        return AllocationCount(calls: Int(after.calls - before.calls), bytes: Int(after.bytes - before.bytes))
    }
}
