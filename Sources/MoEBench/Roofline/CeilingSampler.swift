import CPlatform
import MoEKernel

/// What the machine can do at its best, one pass at a time.
package protocol MachineProbe: Sendable {
    /// Runs independent products in registers on every thread, as experts of an arithmetic multiply; returns the operations
    /// done, two a product.
    func dot(_ arithmetic: ExpertArithmetic) -> Int
    /// Reads a buffer once, on every thread; returns the bytes read.
    func read() -> Int
}

extension CeilingProbe: MachineProbe {}

/// Timed passes of a probe: the work of each and the nanoseconds it took.
package struct CeilingSeries: Sendable, Hashable, Encodable {
    package let work: [Int]
    package let nanoseconds: [UInt64]

    fileprivate init(work: [Int], nanoseconds: [UInt64]) {
        self.work = work
        self.nanoseconds = nanoseconds
    }
}

/// Measures the ceilings in the same rounds as the implementations, so that a machine that slows down or is shared slows
/// both.
package final class CeilingSampler {
    /// A pass shorter than this is repeated within its sample: starting threads must not count against the machine.
    ///
    /// Long enough, too, for several passes over what a cache can hold a part of: that part grows from call to call.
    private static let shortestSample: UInt64 = 5_000_000

    /// Nanoseconds of a monotonic clock.
    package typealias Now = @Sendable () -> UInt64

    private struct Series {
        let pass: () -> Int
        let now: Now
        var repeats = 1
        var work: [Int] = []
        var nanoseconds: [UInt64] = []

        mutating func calibrate() {
            var once = UInt64.max
            for _ in 0..<3 {
                let start = now()
                _ = pass()
                once = min(once, max(now() - start, 1))
            }
            repeats = Int(min((CeilingSampler.shortestSample + once - 1) / once, 10_000))
        }

        mutating func sample() {
            // An implementation's calls follow upon each other and find in the cache what it can hold; so does this one.
            _ = pass()
            var done = 0
            let start = now()
            for _ in 0..<repeats { done += pass() }
            let end = now()
            work.append(done)
            nanoseconds.append(end - start)
        }

        mutating func forget() { (work, nanoseconds) = ([], []) }

        var series: CeilingSeries { CeilingSeries(work: work, nanoseconds: nanoseconds) }
    }

    package let machine: ProbedMachine
    private let bufferBytes: [Int]
    private var multiplyAdd: Series
    private let arithmetic: ExpertArithmetic
    /// Products of that arithmetic; nil where it is exact.
    private var rounded: Series?
    private var reads: [Series]

    /// - Parameters:
    ///   - workingSets: Bytes that the implementations walk over; one read ceiling is measured for each class among them.
    ///   - arithmetic: What some of them multiply otherwise than by fp32.
    ///   - machine: What the probes probe.
    ///   - now: What times the passes.
    ///   - probe: Makes a probe that reads a buffer of so many bytes.
    package init(
        workingSets: [Int], arithmetic: ExpertArithmetic = .exact, machine: ProbedMachine = .processor,
        now: @escaping Now = { cp_nanoseconds() }, probe: (Int) throws(MoEError) -> any MachineProbe
    ) throws(MoEError) {
        self.machine = machine
        bufferBytes = Set(workingSets.compactMap(machine.bufferBytes)).sorted()
        var probes: [any MachineProbe] = []
        for bytes in bufferBytes.isEmpty ? [1 << 20] : bufferBytes { probes.append(try probe(bytes)) }
        let first = probes[0]
        self.arithmetic = arithmetic
        multiplyAdd = Series(pass: { first.dot(.exact) }, now: now)
        if arithmetic != .exact { rounded = Series(pass: { first.dot(arithmetic) }, now: now) }
        reads = bufferBytes.indices.map { index in Series(pass: probes[index].read, now: now) }
        multiplyAdd.calibrate()
        rounded?.calibrate()
        for index in reads.indices { reads[index].calibrate() }
    }

    package func sample() {
        multiplyAdd.sample()
        rounded?.sample()
        for index in reads.indices { reads[index].sample() }
    }

    /// Forgets the samples, for a second attempt.
    package func restart() {
        multiplyAdd.forget()
        rounded?.forget()
        for index in reads.indices { reads[index].forget() }
    }

    /// Passes of each kind that a tight interval takes.
    private static let fewestForInterval = 8

    /// Whether the median of every ceiling's passes is known as well as that: a ratio is no better than what it divides by.
    package func isTight(within relativeHalfWidth: Double) -> Bool {
        ([multiplyAdd] + (rounded.map { [$0] } ?? []) + reads).allSatisfy { series in
            let rates = series.series.rates
            guard rates.count >= Self.fewestForInterval, let width = MedianInterval.relativeHalfWidth(rates) else {
                return false
            }
            return width <= relativeHalfWidth
        }
    }

    /// The ceilings of the passes so far.
    package var ceilings: Ceilings {
        Ceilings(
            multiplyAdd: multiplyAdd.series,
            rounded: rounded.map { Ceilings.Rounded(arithmetic: arithmetic, series: $0.series) },
            reads: zip(bufferBytes, reads).map { Ceilings.Read(bufferBytes: $0, series: $1.series) },
            machine: machine)
    }
}
