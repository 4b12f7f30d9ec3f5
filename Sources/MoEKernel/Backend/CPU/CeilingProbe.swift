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
    /// Pieces that a pass reads.
    private let readPieces: Int
    private let pieceBytes: Int
    /// Passes that go through the whole buffer, and how many there were.
    private let parts: Int
    private let passes = Atomic(0)
    private let pattern: ReadPattern

    /// - Parameters:
    ///   - readBytes: The working set to read; rounded so that every thread reads whole pieces.
    ///   - passBytes: About how much of it a pass reads, one part after another; nil for all of it.
    ///   - seeksFastest: Whether to look for the fastest way to read, which takes some hundred passes; or one that does well everywhere.
    ///   - code: The code whose products of bytes are timed: int4 or int8.
    package init(
        pool: ThreadPool, instructionSet: CPUInstructionSet, readBytes: Int, passBytes: Int? = nil,
        seeksFastest: Bool = true, code: WeightCode = .int8
    ) throws(MoEError) {
        self.pool = pool
        let kernels = instructionSet.kernels
        self.kernels = kernels
        byteDots = instructionSet.byteDots
        byteCode = PanelCode(code)
        pairDots = instructionSet.pairDots
        parts = passBytes.map { max(1, readBytes / max($0, 1)) } ?? 1
        let passBytes = readBytes / parts
        let readPieces = pool.threads * max(8, passBytes / pool.threads / Self.largestPiece)
        let pieceBytes = max(passBytes / readPieces, 4096) & ~511
        (self.readPieces, self.pieceBytes) = (readPieces, pieceBytes)
        let buffer = try MemoryRegion(bytes: pieceBytes * readPieces * parts, purpose: "the read bandwidth probe")
        // Touch every page once: untouched pages all read from one page of zeros.
        memset(buffer.base, 1, buffer.byteCount)
        self.buffer = buffer
        let parts = parts
        guard seeksFastest else {
            pattern = ReadPattern(streams: 2, ahead: 1024)
            return
        }
        pattern = Self.fastestPattern { pass, pattern in
            let part = buffer.base + pass % parts * readPieces * pieceBytes
            Self.read(part, readPieces, of: pieceBytes, pattern, kernels: kernels, pool: pool)
        }
    }

    /// Memory is some hundred cycles away, and processors' own prefetchers differ: what suits one is a fifth slower on another, or beside
    /// other programs. Patterns take turns, and their medians are compared, so that a disturbance decides nothing; the best of them once
    /// more.
    private static func fastestPattern(_ read: (_ pass: Int, ReadPattern) -> Void) -> ReadPattern {
        var patterns: [(pattern: ReadPattern, times: [UInt64])] = []
        for streams in [1, 2, 4] {
            for ahead in [0, 512, 1024, 2048, 4096, 8192, 16_384] {
                patterns.append((ReadPattern(streams: streams, ahead: ahead), []))
            }
            for ahead in [2048, 4096, 8192] {
                patterns.append((ReadPattern(streams: streams, ahead: ahead, near: true), []))
            }
        }
        var pass = 0
        for (rounds, left) in [(5, 6), (12, 1)] {
            for _ in 0..<rounds {
                for index in patterns.indices {
                    let start = cp_nanoseconds()
                    read(pass, patterns[index].pattern)
                    patterns[index].times.append(cp_nanoseconds() - start)
                    pass += 1
                }
            }
            patterns.sort { $0.times.sorted()[$0.times.count / 2] < $1.times.sorted()[$1.times.count / 2] }
            patterns.removeLast(patterns.count - left)
        }
        return patterns[0].pattern
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
        let tasks = pool.threads * Self.chainsPerThread
        let sink = Atomic<UInt32>(0)
        withUnsafePointer(to: sink) { sink in
            pool.run(ChainWork(chains: run, steps: Self.steps, sink: sink), tasks: tasks)
        }
        return tasks * Self.steps * 12 * lanes * products * 2
    }

    /// Reads the whole buffer once, or its next part, split over the threads; returns the bytes read.
    package func read() -> Int {
        let part = passes.wrappingAdd(1, ordering: .relaxed).oldValue % parts
        Self.read(
            buffer.base + part * readPieces * pieceBytes, readPieces, of: pieceBytes, pattern, kernels: kernels,
            pool: pool)
        return readPieces * pieceBytes
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

    /// Processors of one machine are not always equally fast: a neighbour that shares a core now and then costs one of two 8 %. The others
    /// then take what it leaves, but at the end all wait for its last piece. With eight pieces a thread, that was an eighth of a pass
    /// and made of 76 GFLOP/s 72; so pieces are far smaller, some tens of microseconds each. Handing one out takes some tens of nanoseconds.
    private static let chainsPerThread = 64
    private static let steps = 6_000
    /// Bytes: so many that its start, when nothing is on its way yet, does not count.
    private static let largestPiece = 1 << 20
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
