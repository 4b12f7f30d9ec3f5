import MoEKernel

/// What timing a call adds to it.
package enum ClockOverhead {
    private static let calls = 2001

    /// Seconds that the clock shows for a call that does nothing, reached as the timer reaches every implementation: the median of some
    /// thousand.
    package static func seconds(of clock: any CallClock = HostClock()) throws(MoEError) -> Double {
        let implementation: any EmptyCall = Nothing()
        var samples: [Double] = []
        samples.reserveCapacity(calls)
        for batch in 0..<calls {
            let time = try clock.nanoseconds { () throws(MoEError) in try implementation.run(batch) }
            samples.append(Double(time) * 1e-9)
        }
        return Summary.median(of: samples)
    }
}

private protocol EmptyCall: AnyObject {
    func run(_ batch: Int) throws(MoEError)
}

private final class Nothing: EmptyCall {
    @inline(never) func run(_ batch: Int) throws(MoEError) {}
}
