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

/// One large dense product of an arithmetic, by a kernel that layers have, too.
package protocol DenseProduct: AnyObject {
    var rows: Int { get }
    var columns: Int { get }
    var depth: Int { get }
    /// Multiplies once; returns the operations done, two a product, and the time that they took.
    func sample() -> (operations: Int, nanoseconds: UInt64)
}

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
    /// Passes of a sample go on for so long: several over what a cache can hold a part of, for that part grows from pass to pass.
    private static let sampleNanoseconds: UInt64 = 5_000_000
    /// Passes shorter than this are timed together. Longer ones are timed on their own: where other programs take the processors for
    /// some milliseconds, a mean over as many would be disturbed far more often than the calls beside it.
    private static let shortestTiming: UInt64 = 250_000

    /// Nanoseconds of a monotonic clock.
    package typealias Now = @Sendable () -> UInt64

    private struct Series {
        let pass: () -> Int
        let now: Now
        /// Passes that are timed together, and timings that make a sample.
        private var passes = 1
        private var timings = 1
        private var work: [Int] = []
        private var nanoseconds: [UInt64] = []
        /// Work a second of each sample: the median of its timings, which are too near to each other to be independent.
        private(set) var samples: [Double] = []

        init(now: @escaping Now, pass: @escaping () -> Int) {
            self.now = now
            self.pass = pass
        }

        mutating func calibrate() {
            var once = UInt64.max
            for _ in 0..<3 {
                let start = now()
                _ = pass()
                once = min(once, max(now() - start, 1))
            }
            passes = Int(min(max(CeilingSampler.shortestTiming / once, 1), 1000))
            let timing = once * UInt64(passes)
            timings = Int(min((CeilingSampler.sampleNanoseconds + timing - 1) / timing, 20))
        }

        /// Returns about the nanoseconds that it took.
        mutating func sample() -> UInt64 {
            // An implementation's calls follow upon each other and find in the cache what it can hold; so does this one.
            _ = pass()
            var rates: [Double] = []
            var spent: UInt64 = 0
            for _ in 0..<timings {
                var done = 0
                let start = now()
                for _ in 0..<passes { done += pass() }
                let time = now() - start
                work.append(done)
                nanoseconds.append(time)
                spent += time
                rates.append(Double(done) / Double(max(time, 1)) * 1e9)
            }
            samples.append(Summary.median(of: rates))
            // With the pass that was not timed.
            return spent + spent / UInt64(passes * timings)
        }

        mutating func forget() { (work, nanoseconds, samples) = ([], [], []) }

        var series: CeilingSeries { CeilingSeries(work: work, nanoseconds: nanoseconds) }
    }

    package let machine: ProbedMachine
    private let bufferBytes: [Int]
    private var multiplyAdd: Series
    private let arithmetic: ExpertArithmetic
    /// Products of that arithmetic; nil where it is exact.
    private var rounded: Series?
    private var reads: [Series]
    private let probe: (Int) throws(MoEError) -> any MachineProbe
    private let now: Now
    private let product: (any DenseProduct)?
    private var productSamples: (operations: [Int], nanoseconds: [UInt64]) = ([], [])
    /// About the nanoseconds that the last sample took.
    private var cost: UInt64 = 0

    /// - Parameters:
    ///   - workingSets: Bytes that the implementations walk over; one read ceiling is measured for each class among them.
    ///   - arithmetic: What some of them multiply otherwise than by fp32.
    ///   - machine: What the probes probe.
    ///   - product: One of exact numbers; nil measures none.
    ///   - now: What times the passes.
    ///   - probe: Makes a probe that reads a buffer of so many bytes.
    package init(
        workingSets: [Int], arithmetic: ExpertArithmetic = .exact, machine: ProbedMachine = .processor,
        product: (any DenseProduct)? = nil, now: @escaping Now = { cp_nanoseconds() },
        probe: @escaping (Int) throws(MoEError) -> any MachineProbe
    ) throws(MoEError) {
        self.machine = machine
        self.arithmetic = arithmetic
        self.product = product
        self.now = now
        self.probe = probe
        bufferBytes = Set(workingSets.compactMap(machine.bufferBytes)).sorted()
        (multiplyAdd, rounded, reads) = try Self.series(bufferBytes, arithmetic, now: now, probe: probe)
    }

    /// The series of new probes, whose memory is new, too.
    private static func series(
        _ bufferBytes: [Int], _ arithmetic: ExpertArithmetic, now: @escaping Now,
        probe: (Int) throws(MoEError) -> any MachineProbe
    ) throws(MoEError) -> (multiplyAdd: Series, rounded: Series?, reads: [Series]) {
        var probes: [any MachineProbe] = []
        for bytes in bufferBytes.isEmpty ? [1 << 20] : bufferBytes { probes.append(try probe(bytes)) }
        let first = probes[0]
        var multiplyAdd = Series(now: now) { first.dot(.exact) }
        var rounded = arithmetic == .exact ? nil : Series(now: now) { first.dot(arithmetic) }
        var reads = bufferBytes.indices.map { index in Series(now: now, pass: probes[index].read) }
        multiplyAdd.calibrate()
        rounded?.calibrate()
        for index in reads.indices { reads[index].calibrate() }
        return (multiplyAdd, rounded, reads)
    }

    /// Seconds of calls between two samples: a neighbour's bursts last about as long, so that samples that are nearer tell little more.
    private static let shortestGap = 0.04
    /// Times a sample's cost, so that ceilings take at most about a sixth of the time.
    private static let gapOverCost = 5.0

    /// Whether calls have gone on for so long since the last sample that another is due.
    ///
    /// A ratio is no better known than either side of it: with one sample for each of thirty rounds, ceilings were worse known than most of
    /// what they divide.
    package func isDue(afterSeconds seconds: Double) -> Bool {
        seconds >= max(Self.shortestGap, Self.gapOverCost * Double(cost) * 1e-9)
    }

    package func sample() {
        cost = multiplyAdd.sample() + (rounded?.sample() ?? 0)
        if let product {
            // Long enough by itself, and the products before it have the machine's clock where it belongs.
            let (operations, nanoseconds) = product.sample()
            productSamples.operations.append(operations)
            productSamples.nanoseconds.append(nanoseconds)
            cost += nanoseconds
        }
        for index in reads.indices { cost += reads[index].sample() }
    }

    /// Forgets the samples.
    package func restart() {
        multiplyAdd.forget()
        rounded?.forget()
        productSamples = ([], [])
        for index in reads.indices { reads[index].forget() }
    }

    /// Begins anew, in other memory: a buffer that a virtual machine's host backs badly is slow to read for as long as it is held (15 GB/s
    /// in every pass, where others read 27). Where there is no room for a second one, the first is read again.
    package func renew() {
        restart()
        guard let renewed = try? Self.series(bufferBytes, arithmetic, now: now, probe: probe) else { return }
        (multiplyAdd, rounded, reads) = renewed
    }

    /// Whether the median of every ceiling's samples is known as well as that: a ratio is no better than what it divides by.
    package func isTight(within relativeHalfWidth: Double) -> Bool {
        var samples = ([multiplyAdd] + (rounded.map { [$0] } ?? []) + reads).map(\.samples)
        if product != nil {
            samples.append(
                zip(productSamples.operations, productSamples.nanoseconds).map { Double($0) / Double(max($1, 1)) })
        }
        return samples.allSatisfy { MedianInterval.relativeHalfWidth($0).map { $0 <= relativeHalfWidth } ?? false }
    }

    /// The ceilings of the passes so far.
    package var ceilings: Ceilings {
        Ceilings(
            multiplyAdd: multiplyAdd.series,
            rounded: rounded.map { Ceilings.Rounded(arithmetic: arithmetic, series: $0.series) },
            gemm: product.map {
                Ceilings.GEMM(
                    rows: $0.rows, columns: $0.columns, depth: $0.depth,
                    series: CeilingSeries(work: productSamples.operations, nanoseconds: productSamples.nanoseconds))
            },
            reads: zip(bufferBytes, reads).map { Ceilings.Read(bufferBytes: $0, series: $1.series) },
            machine: machine)
    }
}
