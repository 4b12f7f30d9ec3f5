import CPlatform
import MicroKernels

/// Packs matrices whose tensors store rows of outputs: a task takes some panels, reads the sixteen rows of each into its worker's
/// staging memory, checks them, and interleaves them.
struct PanelRowPacking: ParallelWork {
    private let job: PackingJob
    private let source: any WeightSource
    private let configuration: MoEConfiguration
    private let scratch: MemoryRegion
    /// Bytes of sixteen rows in their widest form, or of 32 of bf16. A worker has five of these: rows as stored, rows as wanted, codes, scales,
    /// zero points.
    private let stagingBytes: Int
    private let failure: FirstFailure

    /// Panels in a task: enough that reading is sequential for a while.
    private static let panelsPerChunk = 16
    var chunks: Int { (job.matrices.panels + Self.panelsPerChunk - 1) / Self.panelsPerChunk }

    init(
        job: PackingJob, source: any WeightSource, configuration: MoEConfiguration, workers: Int, failure: FirstFailure
    ) throws(MoEError) {
        self.job = job
        self.source = source
        self.configuration = configuration
        self.failure = failure
        stagingBytes = 16 * job.matrices.depth * 4
        scratch = try MemoryRegion(bytes: workers * 5 * stagingBytes, purpose: "staging memory for packing")
    }

    func run(task: Int, worker: Int) {
        if failure.error != nil { return }
        let group = task / chunks
        let first = task % chunks * Self.panelsPerChunk
        let base = scratch.base + worker * 5 * stagingBytes
        let staging = Staging(
            stored: base, wanted: base + stagingBytes, codes: base + 2 * stagingBytes, scales: base + 3 * stagingBytes,
            zeros: base + 4 * stagingBytes)
        do throws(MoEError) {
            let end = min(first + Self.panelsPerChunk, job.matrices.panels)
            for panel in stride(from: first, to: end, by: job.matrices.format.panelsPerRow) {
                try pack(group: group, panel: panel, staging)
            }
        } catch {
            failure.report(error, task: task)
        }
    }

    private struct Staging {
        var stored: UnsafeMutableRawPointer
        var wanted: UnsafeMutableRawPointer
        var codes: UnsafeMutableRawPointer
        var scales: UnsafeMutableRawPointer
        var zeros: UnsafeMutableRawPointer
    }

    /// Consecutive rows of one tensor that fill columns of a panel, or of two that share rows, from `slot` on.
    private struct Part {
        var name: WeightName
        var rows: Range<Int>
        var slot: Int
    }

    /// - Parameter slot: Of the panel's first column.
    private func parts(group: Int, panel: Int, slot: Int) -> [Part] {
        let matrices = job.matrices
        let tensors = job.rows(group)
        if matrices.gated {
            let start = panel * PanelLayout.half
            return tensors.enumerated().map { index, tensor in
                Part(
                    name: tensor.name, rows: start..<min(start + PanelLayout.half, tensor.count),
                    slot: slot + index * PanelLayout.half)
            }
        }
        // The panel's columns, cut where one tensor's rows end and the next one's begin.
        var first = 0
        var parts: [Part] = []
        let columns = panel * PanelLayout.width..<min((panel + 1) * PanelLayout.width, matrices.columns)
        for tensor in tensors {
            let part = columns.clamped(to: first..<first + tensor.count)
            if !part.isEmpty {
                parts.append(
                    Part(
                        name: tensor.name, rows: part.lowerBound - first..<part.upperBound - first,
                        slot: slot + part.lowerBound - columns.lowerBound))
            }
            first += tensor.count
        }
        return parts
    }

    /// Packs a panel, or those that share their rows.
    private func pack(group: Int, panel: Int, _ staging: Staging) throws(MoEError) {
        let matrices = job.matrices
        let width = matrices.format.panelsPerRow * PanelLayout.width
        let parts = (0..<matrices.format.panelsPerRow).flatMap { member in
            self.parts(group: group, panel: panel + member, slot: member * PanelLayout.width)
        }
        let target = matrices.weights + group * matrices.groupBytes + panel * matrices.panelBytes
        switch matrices.format {
        case .coded(let coding), .byteDot(let coding): return try packCodes(parts, coding, staging, target)
        case .float32, .bfloat16, .float16, .bfloat16Pairs, .wideBFloat16: break
        }
        let wanted = matrices.format.elementType ?? .float32
        let rowBytes = matrices.depth * wanted.byteCount
        // Absent columns are zero.
        if parts.reduce(0, { $0 + $1.rows.count }) < width { memset(staging.wanted, 0, width * rowBytes) }
        for part in parts { try stage(part, staging, wanted, rowBytes) }
        let finite =
            switch matrices.format {
            case .bfloat16Pairs: PanelInterleave.pairs(staging.wanted, target, matrices.depth)
            case .wideBFloat16:
                PanelInterleave.twoPanels(staging.wanted, target, matrices.depth, scratch: staging.codes)
            case .bfloat16, .float16: PanelInterleave.halves(staging.wanted, target, matrices.depth, wanted)
            default: PanelInterleave.words(staging.wanted, target, matrices.depth, rowBytes: rowBytes)
            }
        if !finite { throw complaint(parts, staging, wanted, rowBytes) }
    }

    /// Leaves a part's rows in the wanted type.
    private func stage(
        _ part: Part, _ staging: Staging, _ wanted: ElementType, _ rowBytes: Int
    ) throws(MoEError) {
        let depth = job.matrices.depth
        let place = staging.wanted + part.slot * rowBytes
        let count = part.rows.count * depth
        let stored: ElementType
        switch source.format(of: part.name) {
        case .plain(let type) where type == wanted:
            try source.read(part.name, rows: part.rows, into: .init(start: place, count: part.rows.count * rowBytes))
            return
        case .plain(let type):
            try source.read(
                part.name, rows: part.rows, into: .init(start: staging.stored, count: count * type.byteCount))
            stored = type
        case .transposed:
            // A tensor of inputs among others of outputs: no published layout has this, so the plain way will do.
            let values = try source.floats(part.name, rows: part.rows, configuration)
            values.withUnsafeBytes { staging.stored.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
            stored = .float32
        case .quantised(let code, let group, let zeroPoints):
            let decoded = wanted == .float32 ? place : staging.stored
            try decode(part, code, group, zeroPoints, staging, into: decoded.assumingMemoryBound(to: Float.self))
            if wanted == .float32 { return }
            stored = .float32
        }
        // What is not finite now would be said to be too large for the wanted type.
        if let odd = NumberRows.firstNotFinite(staging.stored, stored, count) {
            throw .notFinite(
                source.describe(part.name), row: part.rows.lowerBound + odd / depth, column: odd % depth)
        }
        NumberRows.convert(staging.stored, stored, place, wanted, count)
    }

    /// Finds what ``PanelInterleave`` found not finite: a stored number, or one that its conversion made so.
    private func complaint(
        _ parts: [Part], _ staging: Staging, _ wanted: ElementType, _ rowBytes: Int
    ) -> MoEError {
        let depth = job.matrices.depth
        for part in parts {
            let place = staging.wanted + part.slot * rowBytes
            if let odd = NumberRows.firstNotFinite(place, wanted, part.rows.count * depth) {
                let (row, column) = (part.rows.lowerBound + odd / depth, odd % depth)
                let name = source.describe(part.name)
                if case .plain(let type) = source.format(of: part.name), type == wanted {
                    return .notFinite(name, row: row, column: column)
                }
                return .weights(
                    tensor: name, problem: "the value at [\(row), \(column)] is too large for \(wanted.rawValue)")
            }
        }
        return .weights(tensor: parts.first.map { source.describe($0.name) } ?? "", problem: "is not finite")
    }

    /// Reads codes and scales of a part and leaves fp32 numbers.
    private func decode(
        _ part: Part, _ code: WeightCode, _ group: Int, _ zeroPoints: Bool, _ staging: Staging,
        into target: UnsafeMutablePointer<Float>
    ) throws(MoEError) {
        let depth = job.matrices.depth
        let rowBytes = WeightFormat.quantised(code, group: group).rowBytes(depth)
        let groups = (depth + group - 1) / group
        try readCodes(part, code, rowBytes, staging.codes, slot: 0)
        let scales = try readScales(part, code, groups, staging.scales, slot: 0)
        let zeros = zeroPoints ? try readZeroPoints(part, groups, staging.zeros, slot: 0) : nil
        code.numbers.withUnsafeBufferPointer { numbers in
            let numbers = numbers.baseAddress!
            for row in 0..<part.rows.count {
                let codes = (staging.codes + row * rowBytes).assumingMemoryBound(to: UInt8.self)
                let out = target + row * depth
                for index in 0..<groups {
                    let scale = scales[row * groups + index]
                    let zero = zeros.map { numbers[Int($0[row * groups + index])] } ?? 0
                    let (first, end) = (index * group, min((index + 1) * group, depth))
                    if code.bitCount == 8 {
                        for k in first..<end { out[k] = (numbers[Int(codes[k])] - zero) * scale }
                    } else {
                        for k in first..<end {
                            out[k] = (numbers[Int(codes[k >> 1] >> (UInt8(k & 1) << 2) & 15)] - zero) * scale
                        }
                    }
                }
            }
        }
    }

    /// Reads a part's codes to their slots of sixteen rows, and rejects those that are not numbers.
    private func readCodes(
        _ part: Part, _ code: WeightCode, _ rowBytes: Int, _ target: UnsafeMutableRawPointer, slot: Int
    ) throws(MoEError) {
        let place = target + slot * rowBytes
        let count = part.rows.count * rowBytes
        try source.read(part.name, rows: part.rows, into: .init(start: place, count: count))
        guard code == .float8E4M3 else { return }
        let codes = place.assumingMemoryBound(to: UInt8.self)
        var found: UInt8 = 0
        for index in 0..<count { found |= codes[index] & 0x7f == 0x7f ? 1 : 0 }
        if found != 0, let odd = (0..<count).first(where: { codes[$0] & 0x7f == 0x7f }) {
            throw .notFinite(
                source.describe(part.name), row: part.rows.lowerBound + odd / rowBytes, column: odd % rowBytes)
        }
    }

    /// Reads a part's zero points to their slots, `groups` a slot.
    @discardableResult
    private func readZeroPoints(
        _ part: Part, _ groups: Int, _ target: UnsafeMutableRawPointer, slot: Int
    ) throws(MoEError) -> UnsafeMutablePointer<UInt8> {
        let place = target.assumingMemoryBound(to: UInt8.self) + slot * groups
        let count = part.rows.count * groups
        try source.readZeroPoints(part.name, rows: part.rows, into: .init(start: place, count: count))
        if case .quantised(.int4, _, _) = source.format(of: part.name),
            let odd = (0..<count).first(where: { place[$0] > 15 })
        {
            throw .weights(
                tensor: source.describe(part.name),
                problem:
                    "the zero point at [\(part.rows.lowerBound + odd / groups), \(odd % groups)] is \(place[odd]); "
                    + "expected 0 to 15")
        }
        return place
    }

    /// Reads a part's scales to their slots, `groups` a slot, and rejects those that no scale can be: not finite, negative, and for
    /// integer codes 0. (Published NVFP4 models scale blocks of zeros by 0.)
    @discardableResult
    private func readScales(
        _ part: Part, _ code: WeightCode, _ groups: Int, _ target: UnsafeMutableRawPointer, slot: Int
    ) throws(MoEError) -> UnsafeMutablePointer<Float> {
        let place = target.assumingMemoryBound(to: Float.self) + slot * groups
        let count = part.rows.count * groups
        try source.readScales(part.name, rows: part.rows, into: .init(start: place, count: count))
        if let odd = NumberRows.firstNotFinite(place, .float32, count) {
            throw .weights(
                tensor: source.describe(part.name),
                problem: "the scale at [\(part.rows.lowerBound + odd / groups), \(odd % groups)] is not finite; "
                    + "expected finite scales")
        }
        if let odd = (0..<count).first(where: { place[$0] < 0 || code.isInteger && place[$0] == 0 }) {
            throw .weights(
                tensor: source.describe(part.name),
                problem: "the scale at [\(part.rows.lowerBound + odd / groups), \(odd % groups)] is \(place[odd]); "
                    + "expected a positive number")
        }
        return place
    }

    /// Codes and scales of a panel as they are, block by block.
    private func packCodes(
        _ parts: [Part], _ coding: PanelCoding, _ staging: Staging, _ target: UnsafeMutableRawPointer
    ) throws(MoEError) {
        let depth = job.matrices.depth
        guard let first = parts.first, case .quantised(let code, let group, _) = source.format(of: first.name) else {
            return
        }
        let rowBytes = WeightFormat.quantised(code, group: group).rowBytes(depth)
        let groups = (depth + group - 1) / group
        // Absent columns have the scale 0.
        if parts.reduce(0, { $0 + $1.rows.count }) < PanelLayout.width {
            memset(staging.codes, 0, PanelLayout.width * rowBytes)
            memset(staging.scales, 0, PanelLayout.width * groups * 4)
            memset(staging.zeros, 0, PanelLayout.width * groups)
        }
        for part in parts {
            try readCodes(part, code, rowBytes, staging.codes, slot: part.slot)
            try readScales(part, code, groups, staging.scales, slot: part.slot)
            if coding.zeroPoints { try readZeroPoints(part, groups, staging.zeros, slot: part.slot) }
        }
        let scales = staging.scales.assumingMemoryBound(to: Float.self)
        var block = target
        for start in stride(from: 0, to: depth, by: PanelLayout.block) {
            let count = min(PanelLayout.block, depth - start)
            for (index, k) in stride(from: start, to: start + count, by: 1 << coding.groupShift).enumerated() {
                let row = block + index * coding.scaleRowBytes
                for column in 0..<PanelLayout.width {
                    let scale = scales[column * groups + k / group] * coding.code.factor
                    let half = column % PanelLayout.half * 2 + column / PanelLayout.half
                    if coding.wideScales {
                        row.storeBytes(of: scale, toByteOffset: column * 4, as: Float.self)
                    } else {
                        row.storeBytes(
                            of: UInt16(scale.bitPattern >> 16), toByteOffset: half * 2, as: UInt16.self)
                    }
                    if coding.zeroPoints {
                        // Whole numbers up to 256 are exact in bf16.
                        let zero = code.value(
                            staging.zeros.load(fromByteOffset: column * groups + k / group, as: UInt8.self))
                        row.storeBytes(
                            of: UInt16(zero.bitPattern >> 16), toByteOffset: coding.zeroOffset + half * 2,
                            as: UInt16.self)
                    }
                }
            }
            let codes = block + coding.scaleBytes(count)
            if case .byteDot = job.matrices.format {
                PanelInterleave.byteDots(
                    staging.codes, rowBytes: rowBytes, start: start, count: count, coding.code, codes)
            } else {
                PanelInterleave.codes(
                    staging.codes, rowBytes: rowBytes, start: start, count: count, coding.code, codes)
            }
            block += job.matrices.format.blockBytes(count)
        }
    }
}

extension WeightCode {
    /// What each code stands for.
    var numbers: [Float] { (0..<1 << bitCount).map { value(UInt8($0)) } }
}
