import CPlatform
import Synchronization

/// Waiting for a word that other threads change: a while at the ready, then asleep.
final class Parking: @unchecked Sendable {
    private let parking: OpaquePointer
    /// Nanoseconds that a thread watches the word before it sleeps. Being woken takes 5 to 10 µs, and some 50 µs where the processor
    /// itself had gone to sleep.
    private let patience: UInt64

    /// Nil when there is no memory.
    init?(patience: UInt64) {
        guard let parking = cp_parking_create() else { return nil }
        self.parking = parking
        self.patience = patience
    }

    deinit { cp_parking_destroy(parking) }

    /// Returns once the word's value is one waited for, and returns that.
    @discardableResult @inline(__always)
    func wait(for word: borrowing Atomic<UInt32>, until isReached: (UInt32) -> Bool) -> UInt32 {
        let value = word.load(ordering: .acquiring)
        return isReached(value) ? value : waitLonger(for: word, until: isReached)
    }

    private func waitLonger(for word: borrowing Atomic<UInt32>, until isReached: (UInt32) -> Bool) -> UInt32 {
        let start = cp_nanoseconds()
        repeat {
            for _ in 0..<32 {
                let value = word.load(ordering: .acquiring)
                if isReached(value) { return value }
                if patience > 0 { cp_pause() }
            }
        } while cp_nanoseconds() - start < patience
        while true {
            let value = word.load(ordering: .acquiring)
            if isReached(value) { return value }
            withUnsafePointer(to: word) { cp_parking_sleep(parking, $0, value) }
        }
    }

    /// Whether nobody sleeps, at about this moment.
    var isEmpty: Bool { cp_parking_is_empty(parking) }

    /// Wakes up to `count` threads, at least, that sleep on a word, after a sequentially consistent change of it.
    @inline(__always)
    func wake(_ word: borrowing Atomic<UInt32>, count: Int = .max) {
        withUnsafePointer(to: word) { cp_parking_wake(parking, $0, Int32(clamping: count)) }
    }
}
