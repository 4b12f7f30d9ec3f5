import CPlatform
import MicroKernels

/// Packs matrices whose tensors store rows of inputs. A panel's row at one k is sixteen neighbouring numbers of such a row (eight of
/// gate's and eight of up's where gated), so a task reads a run of whole rows and deals each out to all panels.
struct TransposedPacking: ParallelWork {
    private let job: PackingJob
    private let source: any WeightSource
    private let scratch: MemoryRegion
    private let failure: FirstFailure
    /// Values of k in a task.
    private let run: Int
    /// Bytes of staging a worker and tensor: rows as stored, then rows as wanted.
    private let stagingBytes: Int
    private let tensors: Int

    /// Tasks of a group.
    var runs: Int { (job.matrices.depth + run - 1) / run }

    /// What a worker stages at a time, about: half of a second-level cache.
    private static let stagedBytes = 1 << 19

    init(job: PackingJob, source: any WeightSource, workers: Int, failure: FirstFailure) throws(MoEError) {
        self.job = job
        self.source = source
        self.failure = failure
        tensors = job.matrices.gated ? 2 : 1
        let rowBytes = job.matrices.columns * 4
        // Even, so that no pair of k is two tasks'.
        run = min(max(Self.stagedBytes / (2 * tensors * rowBytes), 8) & ~1, job.matrices.depth)
        stagingBytes = run * rowBytes
        scratch = try MemoryRegion(
            bytes: workers * 2 * tensors * stagingBytes, purpose: "staging memory for packing")
    }

    func run(task: Int, worker: Int) {
        if failure.error != nil { return }
        let base = scratch.base + worker * 2 * tensors * stagingBytes
        let start = task % runs * run
        do throws(MoEError) {
            try pack(group: task / runs, start..<min(start + run, job.matrices.depth), base)
        } catch {
            failure.report(error, task: task)
        }
    }

    private func pack(group: Int, _ inputs: Range<Int>, _ staging: UnsafeMutableRawPointer) throws(MoEError) {
        let matrices = job.matrices
        let wanted = matrices.format.elementType ?? .float32
        let names = job.rows(group).map(\.name)
        for (index, name) in names.enumerated() {
            try stage(name, inputs, wanted, staging + index * 2 * stagingBytes)
        }
        let target = matrices.weights + group * matrices.groupBytes
        // Each half of a panel's columns comes from one place of a staged row.
        let low = staging + stagingBytes
        let high = matrices.gated ? staging + 3 * stagingBytes : low
        let rowBytes = matrices.columns * wanted.byteCount
        // Where the first and the last eight columns of a panel begin, and how many there are.
        func columns(_ panel: Int) -> (from: (UnsafeMutableRawPointer, UnsafeMutableRawPointer), counts: [Int]) {
            let first = panel * matrices.columnsPerPanel
            let second = matrices.gated ? first : first + PanelLayout.half
            return (
                (low + first * wanted.byteCount, high + second * wanted.byteCount),
                [first, second].map { min(max(matrices.columns - $0, 0), PanelLayout.half) }
            )
        }
        for panel in stride(from: 0, to: matrices.panels, by: matrices.format.panelsPerRow) {
            let place = target + panel * matrices.panelBytes + inputs.lowerBound * matrices.format.rowBytes
            let (from, counts) = columns(panel)
            switch matrices.format {
            case .bfloat16: Self.halves(from, counts, place, inputs.count, rowBytes, apart: 32)
            case .wideBFloat16:
                let (others, otherCounts) = columns(panel + 1)
                Self.halves(
                    (from.0, others.0), [counts[0], otherCounts[0]], place, inputs.count, rowBytes, apart: 64)
                Self.halves(
                    (from.1, others.1), [counts[1], otherCounts[1]], place + 32, inputs.count, rowBytes, apart: 64)
            case .bfloat16Pairs: Self.pairs(from, counts, place, inputs.count, rowBytes)
            default: Self.inOrder(from, counts, place, inputs.count, rowBytes, wanted.byteCount)
            }
        }
    }

    /// Reads a run of rows, rejects what is not finite, and leaves them in the wanted type in the second half of the staging memory.
    private func stage(
        _ name: WeightName, _ inputs: Range<Int>, _ wanted: ElementType, _ staging: UnsafeMutableRawPointer
    ) throws(MoEError) {
        let outputs = job.matrices.columns
        guard case .transposed(let stored) = source.format(of: name) else { return }
        let count = inputs.count * outputs
        let converted = staging + stagingBytes
        let place = stored == wanted ? converted : staging
        func at(_ index: Int) -> (row: Int, column: Int) {
            (index % outputs, inputs.lowerBound + index / outputs)
        }
        try source.read(name, rows: inputs, into: .init(start: place, count: count * stored.byteCount))
        if let odd = NumberRows.firstNotFinite(place, stored, count) {
            throw .notFinite(source.describe(name), row: at(odd).row, column: at(odd).column)
        }
        guard stored != wanted else { return }
        NumberRows.convert(place, stored, converted, wanted, count)
        if let odd = NumberRows.firstNotFinite(converted, wanted, count) {
            throw .weights(
                tensor: source.describe(name),
                problem: "the value at [\(at(odd).row), \(at(odd).column)] is too large for \(wanted.rawValue)")
        }
    }

    /// Eight words of each row of bf16 panels, `apart` bytes from row to row: columns from the first place low, columns from the
    /// second high; absent columns are zero.
    private static func halves(
        _ from: (UnsafeMutableRawPointer, UnsafeMutableRawPointer), _ counts: [Int], _ target: UnsafeMutableRawPointer,
        _ rows: Int, _ rowBytes: Int, apart: Int
    ) {
        let whole = counts[0] == PanelLayout.half && counts[1] == PanelLayout.half
        for row in 0..<rows {
            let (low, high) = (from.0 + row &* rowBytes, from.1 + row &* rowBytes)
            let place = target + row &* apart
            if whole {
                var both = SIMD16<UInt16>()
                both.evenHalf = low.loadUnaligned(as: SIMD8<UInt16>.self)
                both.oddHalf = high.loadUnaligned(as: SIMD8<UInt16>.self)
                place.storeBytes(of: both, as: SIMD16<UInt16>.self)
            } else {
                for column in 0..<PanelLayout.half {
                    let a = column < counts[0] ? low.loadUnaligned(fromByteOffset: column * 2, as: UInt16.self) : 0
                    let b = column < counts[1] ? high.loadUnaligned(fromByteOffset: column * 2, as: UInt16.self) : 0
                    place.storeBytes(of: UInt32(a) | UInt32(b) << 16, toByteOffset: column * 4, as: UInt32.self)
                }
            }
        }
    }

    /// Rows of panels of bf16 pairs: each is made of two rows, or of one and zeros; absent columns are zero.
    private static func pairs(
        _ from: (UnsafeMutableRawPointer, UnsafeMutableRawPointer), _ counts: [Int], _ target: UnsafeMutableRawPointer,
        _ rows: Int, _ rowBytes: Int
    ) {
        for row in stride(from: 0, to: rows, by: 2) {
            let place = target + row &* 32
            memset(place, 0, 64)
            for (half, columns) in [from.0, from.1].enumerated() {
                for column in 0..<counts[half] {
                    let first = columns + (row &* rowBytes &+ column &* 2)
                    let low = UInt32(first.loadUnaligned(as: UInt16.self))
                    let high = row &+ 1 < rows ? UInt32((first + rowBytes).loadUnaligned(as: UInt16.self)) : 0
                    place.storeBytes(
                        of: low | high << 16, toByteOffset: (half &* PanelLayout.half &+ column) &* 4, as: UInt32.self)
                }
            }
        }
    }

    /// Rows of fp32 and fp16 panels.
    private static func inOrder(
        _ from: (UnsafeMutableRawPointer, UnsafeMutableRawPointer), _ counts: [Int], _ target: UnsafeMutableRawPointer,
        _ rows: Int, _ rowBytes: Int, _ numberBytes: Int
    ) {
        let half: Int = PanelLayout.half &* numberBytes
        for row in 0..<rows {
            let place = target + row &* 2 &* half
            memset(place, 0, 2 &* half)
            memcpy(place, from.0 + row &* rowBytes, counts[0] &* numberBytes)
            memcpy(place + half, from.1 + row &* rowBytes, counts[1] &* numberBytes)
        }
    }
}
