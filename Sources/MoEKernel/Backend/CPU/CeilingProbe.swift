import CPlatform
import MicroKernels
import Synchronization

/// What the machine itself can do, for the harness to time: passes of pure arithmetic and of pure reading on every thread.
package final class CeilingProbe: Sendable {
    private let pool: ThreadPool
    private let kernels: any KernelSet
    private let byteDots: any ByteDotKernels
    private let byteCode: PanelCode
    private let pairDots: any PairDotKernels
    private let buffer: MemoryRegion
    private let steps: Int
    private let pieceBytes: Int
    /// Passes that go through the whole buffer, and how many there were.
    private let parts: Int
    private let passes = Atomic(0)
    /// The fastest of some here.
    private let pattern: ReadPattern

    /// - Parameters:
    ///   - readBytes: The working set to read; rounded so that every thread reads whole pieces.
    ///   - passBytes: About how much of it a pass reads, one part after another; nil for all of it.
    ///   - code: The code whose products of bytes are timed: int4 or int8.
    package init(
        pool: ThreadPool, instructionSet: CPUInstructionSet, readBytes: Int, passBytes: Int? = nil,
        code: WeightCode = .int8
    ) throws(MoEError) {
        self.pool = pool
        kernels = instructionSet.kernels
        byteDots = instructionSet.byteDots
        byteCode = PanelCode(code)
        pairDots = instructionSet.pairDots
        steps = 100_000
        parts = passBytes.map { max(1, readBytes / max($0, 1)) } ?? 1
        let pieces = pool.threads * Self.piecesPerThread * parts
        pieceBytes = max(readBytes / pieces, 4096) & ~511
        buffer = try MemoryRegion(bytes: pieceBytes * pieces, purpose: "the read bandwidth probe")
        // Touch every page once: untouched pages all read from one page of zeros.
        memset(buffer.base, 1, buffer.byteCount)
        // Memory is some hundred cycles away, and processors' own prefetchers differ: what suits one is 8 % slow on another.
        var best = (pattern: ReadPattern(streams: 1, ahead: 2048), nanoseconds: UInt64.max)
        for streams in 1...2 {
            for distance in [512, 1024, 2048, 4096, 8192, 16_384] {
                let pattern = ReadPattern(streams: streams, ahead: distance)
                for _ in 0..<3 {
                    let start = cp_nanoseconds()
                    Self.read(buffer.base, pieces, of: pieceBytes, pattern, kernels: kernels, pool: pool)
                    let time = cp_nanoseconds() - start
                    if time < best.nanoseconds { best = (pattern, time) }
                }
            }
        }
        pattern = best.pattern
    }

    /// Independent products in registers on every thread, as experts of an arithmetic multiply: of fp32 numbers, of bytes or of
    /// pairs of bf16 numbers. Returns the operations done, two a product.
    package func dot(_ arithmetic: ExpertArithmetic) -> Int {
        // Seeds are each task's own; what chains return reaches memory that others can see, so the work cannot be left out.
        switch arithmetic {
        case .exact:
            let kernels = kernels
            return chains(lanes: kernels.lanes, products: 1) { steps, task in
                kernels.multiplyAddChains(steps: steps, seed: Float(task) * 0x1p-20).bitPattern
            }
        case .int8Activations:
            let (kernels, code) = (byteDots, byteCode)
            return chains(lanes: kernels.lanes, products: 4) { steps, task in
                kernels.dotChains(code, steps: steps, seed: UInt32(task))
            }
        case .bfloat16Activations:
            let kernels = pairDots
            return chains(lanes: kernels.lanes, products: 2) { steps, task in
                kernels.dotChains(steps: steps, seed: UInt32(task)).bitPattern
            }
        }
    }

    /// Runs twelve chains of `products` a lane and step in each task.
    private func chains(
        lanes: Int, products: Int, _ run: @escaping @Sendable (_ steps: Int, _ task: Int) -> UInt32
    ) -> Int {
        let tasks = pool.threads * Self.piecesPerThread
        let sink = Atomic<UInt32>(0)
        withUnsafePointer(to: sink) { sink in
            pool.run(ChainWork(chains: run, steps: steps, sink: sink), tasks: tasks)
        }
        return tasks * steps * 12 * lanes * products * 2
    }

    /// Reads the whole buffer once, or its next part, split over the threads; returns the bytes read.
    package func read() -> Int {
        let pieces = pool.threads * Self.piecesPerThread
        let part = passes.wrappingAdd(1, ordering: .relaxed).oldValue % parts
        Self.read(
            buffer.base + part * pieces * pieceBytes, pieces, of: pieceBytes, pattern, kernels: kernels, pool: pool)
        return pieces * pieceBytes
    }

    private static func read(
        _ base: UnsafeMutableRawPointer, _ pieces: Int, of pieceBytes: Int, _ pattern: ReadPattern,
        kernels: any KernelSet, pool: ThreadPool
    ) {
        let sink = Atomic<UInt32>(0)
        withUnsafePointer(to: sink) { sink in
            pool.run(
                ReadWork(kernels: kernels, base: base, pieceBytes: pieceBytes, pattern: pattern, sink: sink),
                tasks: pieces)
        }
    }

    /// Pieces small enough that a thread that is held up loses little.
    private static let piecesPerThread = 8
}

private struct ChainWork: ParallelWork {
    let chains: @Sendable (_ steps: Int, _ task: Int) -> UInt32
    let steps: Int
    let sink: UnsafePointer<Atomic<UInt32>>

    func run(task: Int, worker: Int) { sink.pointee.store(chains(steps, task), ordering: .relaxed) }
}

private struct ReadWork: ParallelWork {
    let kernels: any KernelSet
    let base: UnsafeMutableRawPointer
    let pieceBytes: Int
    let pattern: ReadPattern
    let sink: UnsafePointer<Atomic<UInt32>>

    func run(task: Int, worker: Int) {
        let value = kernels.readThrough(base + task * pieceBytes, bytes: pieceBytes, pattern)
        sink.pointee.store(value, ordering: .relaxed)
    }
}
