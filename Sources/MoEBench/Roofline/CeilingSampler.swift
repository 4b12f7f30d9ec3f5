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

    /// Work a second: the median over the passes, so that it is measured as the implementations beside it are.
    package var rate: Double {
        let rates = zip(work, nanoseconds).map { Double($0) / Double(max($1, 1)) * 1e9 }
        return Summary(rates)?.median ?? 0
    }
}

/// Measures the ceilings in the same rounds as the implementations, so that a machine that slows down or is shared slows
/// both.
package final class CeilingSampler {
    /// A pass shorter than this is repeated within its sample: starting threads must not count against the machine.
    ///
    /// Long enough, too, for several passes over what a cache can hold a part of: that part grows from call to call.
    private static let shortestSample: UInt64 = 5_000_000

    private struct Series {
        let pass: () -> Int
        var repeats = 1
        var work: [Int] = []
        var nanoseconds: [UInt64] = []

        mutating func calibrate() {
            var once = UInt64.max
            for _ in 0..<3 {
                let start = cp_nanoseconds()
                _ = pass()
                once = min(once, max(cp_nanoseconds() - start, 1))
            }
            repeats = Int(min((CeilingSampler.shortestSample + once - 1) / once, 10_000))
        }

        mutating func sample() {
            // An implementation's calls follow upon each other and find in the cache what it can hold; so does this one.
            _ = pass()
            var done = 0
            let start = cp_nanoseconds()
            for _ in 0..<repeats { done += pass() }
            let end = cp_nanoseconds()
            work.append(done)
            nanoseconds.append(end - start)
        }

        mutating func forget() { (work, nanoseconds) = ([], []) }

        var series: CeilingSeries { CeilingSeries(work: work, nanoseconds: nanoseconds) }
    }

    private let bufferBytes: [Int]
    private let machine: ProbedMachine
    private var multiplyAdd: Series
    private let arithmetic: ExpertArithmetic
    /// Products of that arithmetic; nil where it is exact.
    private var rounded: Series?
    private var reads: [Series]
    private let product: (any DenseProduct)?
    private var productSamples: (operations: [Int], nanoseconds: [UInt64]) = ([], [])

    /// - Parameters:
    ///   - workingSets: Bytes that the implementations walk over; one read ceiling is measured for each class among them.
    ///   - arithmetic: What some of them multiply otherwise than by fp32.
    ///   - machine: What the probes probe.
    ///   - product: One of exact numbers; nil measures none.
    ///   - probe: Makes a probe that reads a buffer of so many bytes.
    package init(
        workingSets: [Int], arithmetic: ExpertArithmetic = .exact, machine: ProbedMachine = .processor,
        product: (any DenseProduct)? = nil, probe: (Int) throws(MoEError) -> any MachineProbe
    ) throws(MoEError) {
        self.machine = machine
        self.product = product
        bufferBytes = Set(workingSets.compactMap(machine.bufferBytes)).sorted()
        var probes: [any MachineProbe] = []
        for bytes in bufferBytes.isEmpty ? [1 << 20] : bufferBytes { probes.append(try probe(bytes)) }
        let first = probes[0]
        self.arithmetic = arithmetic
        multiplyAdd = Series { first.dot(.exact) }
        if arithmetic != .exact { rounded = Series { first.dot(arithmetic) } }
        reads = bufferBytes.indices.map { index in Series(pass: probes[index].read) }
        multiplyAdd.calibrate()
        rounded?.calibrate()
        for index in reads.indices { reads[index].calibrate() }
    }

    package func sample() {
        multiplyAdd.sample()
        rounded?.sample()
        if let product {
            // Long enough by itself, and the products before it have the machine's clock where it belongs.
            let (operations, nanoseconds) = product.sample()
            productSamples.operations.append(operations)
            productSamples.nanoseconds.append(nanoseconds)
        }
        for index in reads.indices { reads[index].sample() }
    }

    /// Forgets the samples, for a second attempt.
    package func restart() {
        multiplyAdd.forget()
        rounded?.forget()
        productSamples = ([], [])
        for index in reads.indices { reads[index].forget() }
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
