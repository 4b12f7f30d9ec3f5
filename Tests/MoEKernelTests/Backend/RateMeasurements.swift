import CPlatform
import MicroKernels
import Testing

@testable import MoEKernel

/// Rates, printed and not judged: machines differ, and shared ones from minute to minute. Run by hand, in a release build:
///
///     MOE_RATES=decode swift test --filter RateMeasurements
///     MOE_RATES=folder swift test --filter RateMeasurements    (a checkpoint, as Benchmarks/make_olmoe_layer.py writes them)
@Suite(.serialized) struct RateMeasurements {
    static let subject = getenv("MOE_RATES").map { String(cString: $0) }

    /// One row on one thread against weights of every format: weights multiplied a second, and the bytes that they take.
    @Test(.enabled(if: subject == "decode")) func decodeRates() throws {
        let depth = 4096
        let forms: [(String, WeightFormat)] = [
            ("fp32", .plain(.float32)), ("bf16", .plain(.bfloat16)), ("fp16", .plain(.float16)),
            ("fp8 g128 fp32 scales", .quantised(.float8E4M3, group: 128)),
            ("fp8 per channel", .quantised(.float8E4M3, group: depth)),
            ("fp4 g32 bf16 scales", .quantised(.float4E2M1, group: 32)),
            ("fp4 g16 fp32 scales", .quantised(.float4E2M1, group: 16)),
            ("int4 g32 bf16 scales", .quantised(.int4, group: 32)),
            ("int4 g128 bf16 scales", .quantised(.int4, group: 128)),
        ]
        let pool = try ThreadPool(threads: 1)
        for (name, format) in forms {
            for columns in [1024, 65_536] {
                let configuration = try MoEConfiguration(
                    experts: 1, topK: 1, hidden: depth, expertHidden: columns, expert: .plain(.relu))
                let wide = name.contains("fp32 scales")
                let source = RepeatedBytes(format: format, configuration: configuration, scale: wide ? 0.1 : 0.125)
                var layout = RegionLayout()
                var matrices = PackedMatrices(
                    groups: 1, depth: depth, columns: columns, gated: false,
                    format: try .holding([.expert(0, .up)], of: source, configuration, pool: pool), hasBiases: false,
                    layout: &layout)
                let region = try MemoryRegion(bytes: layout.byteCount, purpose: "rates")
                matrices.place(in: region)
                let packed = matrices
                try PackingJob(matrices: packed, rows: { _ in [.init(.expert(0, .up), columns)] })
                    .pack(configuration, from: source, pool: pool)
                for set in CPUInstructionSet.supported where set != .baseline {
                    for rows in [1, 2, 4] {
                        let rate = rate(packed, set, rows)
                        print(
                            "\(name), \(columns) columns, \(set.rawValue), \(rows) rows: "
                                + "\(Self.short(rate)) Gweight/s, "
                                + "\(Self.short(rate * Double(region.byteCount) / Double(depth * columns))) GB/s")
                    }
                }
            }
        }
    }

    /// Giga-weights a second, the median of some passes.
    private func rate(_ matrices: PackedMatrices, _ set: CPUInstructionSet, _ rows: Int) -> Double {
        let kernels = set.kernels
        let tuning = CPUTuning.detected(set)
        let tile = UnsafeMutablePointer<Float>.allocate(capacity: matrices.tileFloats(tuning.tileRows))
        let output = UnsafeMutablePointer<Float>.allocate(capacity: rows * matrices.columns)
        let size = SweepScratch.Size(rows: rows, tuning: tuning, panelsTogether: kernels.panelsTogether)
        let scratch = UnsafeMutablePointer<Float>.allocate(
            capacity: size.total)
        defer {
            tile.deallocate()
            output.deallocate()
            scratch.deallocate()
        }
        tile.initialize(repeating: 0.5, count: matrices.tileFloats(tuning.tileRows))
        let weights = matrices.depth * matrices.columns
        let passes = max(1, 50_000_000 / weights)
        var times: [Double] = []
        for _ in 0..<11 {
            let start = cp_nanoseconds()
            for _ in 0..<passes {
                kernels.sweep(
                    PanelSweep(
                        activations: tile, tileStride: 0, blockStride: tuning.tileRows * PanelLayout.block,
                        tiles: TileSplit(rows: rows, count: 1),
                        depth: matrices.depth, weights: matrices.weights, format: matrices.format,
                        panels: 0..<matrices.panels, after: nil, biases: nil,
                        accumulators: scratch + size.widened, widened: scratch,
                        epilogue: .store(output, columns: matrices.columns), tuning: tuning.sweep))
            }
            times.append(Double(cp_nanoseconds() - start))
        }
        return Double(weights * passes) / times.sorted()[times.count / 2]
    }

    /// Packing of a layer whose file is in the page cache, and copying as many bytes from memory to memory with the same threads, in
    /// turn; medians, of the ratio too, round by round. Packing counts the packed bytes over its time, copying the bytes copied over its own.
    ///
    /// Twice each: into memory that is there already, which compares our work with the processor's; and into memory asked for
    /// meanwhile, as loading does, where the system's handing out of pages is in both.
    @Test(.enabled(if: subject.map { $0 != "decode" } ?? false)) func loadingRates() throws {
        let pool = try ThreadPool()
        let checkpoint = try MoECheckpoint(at: Self.subject!, pool: pool)
        let c = try checkpoint.configuration(layer: 0)
        let source = try checkpoint.weightSource(layer: 0)
        var layout = RegionLayout()
        var inner = PackedMatrices(
            groups: c.experts, depth: c.hidden, columns: c.expertHidden, gated: true,
            format: try .holding([.expert(0, .gate)], of: source, c, pool: pool), hasBiases: false, layout: &layout)
        var down = PackedMatrices(
            groups: c.experts, depth: c.expertHidden, columns: c.hidden, gated: false, format: inner.format,
            hasBiases: false, layout: &layout)
        let bytes = layout.byteCount
        let region = try MemoryRegion(bytes: bytes, purpose: "packing rate")
        memset(region.base, 1, bytes)
        inner.place(in: region)
        down.place(in: region)
        let (width, hidden) = (c.expertHidden, c.hidden)
        let jobs = [
            PackingJob(
                matrices: inner, rows: { e in [.init(.expert(e, .gate), width), .init(.expert(e, .up), width)] }),
            PackingJob(matrices: down, rows: { e in [.init(.expert(e, .down), hidden)] }),
        ]
        let copy = try CopyProbe(bytes: bytes)
        var rates: [[Double]] = [[], [], [], []]
        for round in 0..<8 {
            func timed(_ body: () throws -> Void) rethrows -> Double {
                let start = cp_nanoseconds()
                try body()
                return Double(bytes) / Double(cp_nanoseconds() - start)
            }
            let found = [
                try timed { for job in jobs { try job.pack(c, from: source, pool: pool) } },
                timed { copy.run(pool, copy.target) },
                try afterUse(bytes) { try timed { _ = try checkpoint.layer(0, pool: pool) } },
                try afterUse(bytes) {
                    try timed { copy.run(pool, try MemoryRegion(bytes: bytes, purpose: "copy target")) }
                },
            ]
            // The first round brings the file into memory.
            if round > 0 { for index in 0..<4 { rates[index].append(found[index]) } }
        }
        func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
        let medians = rates.map(median)
        print("\(Self.short(Double(bytes) / 1e9)) GB with \(pool.threads) threads")
        for (name, pair) in [("memory in place", 0), ("memory asked for", 2)] {
            print(
                "\(name): packing \(Self.short(medians[pair])) GB/s, copying \(Self.short(medians[pair + 1])) GB/s, "
                    + "ratio \(Self.short(median(zip(rates[pair], rates[pair + 1]).map { $0 / $1 })))")
            print("    \(rates[pair].map(Self.short)), \(rates[pair + 1].map(Self.short))")
        }
    }

    /// Right after as much memory was in use: a virtual machine may have to ask its host for pages that nobody used lately, far more
    /// slowly than anything measured here.
    private func afterUse(_ bytes: Int, _ body: () throws -> Double) throws -> Double {
        do {
            let used = try MemoryRegion(bytes: bytes + bytes / 8, purpose: "pages")
            memset(used.base, 1, used.byteCount)
        }
        return try body()
    }

    private static func short(_ value: Double) -> String {
        let hundredths = Int((value * 100).rounded())
        return "\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100)"
    }
}

/// Copies between two regions with all threads.
private struct CopyProbe {
    let source: MemoryRegion
    let target: MemoryRegion

    init(bytes: Int) throws(MoEError) {
        source = try MemoryRegion(bytes: bytes, purpose: "copy source")
        target = try MemoryRegion(bytes: bytes, purpose: "copy target")
        memset(source.base, 1, bytes)
        memset(target.base, 1, bytes)
    }

    func run(_ pool: ThreadPool, _ target: MemoryRegion) {
        let work = Work(from: source.base, to: target.base, bytes: source.byteCount)
        pool.run(work, tasks: (source.byteCount + Work.piece - 1) / Work.piece)
    }

    private struct Work: ParallelWork {
        static let piece = 4 << 20
        let from: UnsafeMutableRawPointer
        let to: UnsafeMutableRawPointer
        let bytes: Int
        func run(task: Int, worker: Int) {
            let at = task * Self.piece
            memcpy(to + at, from + at, min(Self.piece, bytes - at))
        }
    }
}

/// Rows of small numbers or codes, the same bytes again and again, and one scale.
private struct RepeatedBytes: WeightSource {
    let format: WeightFormat
    let configuration: MoEConfiguration
    let scale: Float

    func format(of name: WeightName) -> WeightFormat { format }
    func read(_ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(MoEError) {
        var generator = SeededGenerator(seed: UInt64(rows.lowerBound))
        // Of numbers the sign and significand; of codes anything that is a number.
        let (keep, set): (UInt64, UInt64) =
            switch format {
            case .plain(.float32), .transposed(.float32): (0x807f_ffff_807f_ffff, 0x3f00_0000_3f00_0000)
            case .plain(.bfloat16), .transposed(.bfloat16): (0x807f_807f_807f_807f, 0x3f00_3f00_3f00_3f00)
            case .plain(.float16), .transposed(.float16): (0x83ff_83ff_83ff_83ff, 0x3800_3800_3800_3800)
            case .quantised: (0xf7f7_f7f7_f7f7_f7f7, 0)
            }
        for index in 0..<destination.count / 8 {
            destination.storeBytes(of: generator.next() & keep | set, toByteOffset: index * 8, as: UInt64.self)
        }
    }
    func readScales(
        _ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<Float>
    ) throws(MoEError) {
        destination.update(repeating: scale)
    }
}
