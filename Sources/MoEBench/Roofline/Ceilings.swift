/// The machine's measured limits during one comparison.
package struct Ceilings: Sendable, Hashable, Encodable {
    package struct Read: Sendable, Hashable, Encodable {
        package let bufferBytes: Int
        package let series: CeilingSeries
    }

    package let multiplyAdd: CeilingSeries
    /// Products of bytes; nil where nothing in the comparison has any.
    package let byteDot: CeilingSeries?
    /// Products of pairs of bf16 numbers; nil likewise.
    package let pairDot: CeilingSeries?
    /// By size of the buffer, rising.
    package let reads: [Read]
    /// Whether they are a GPU's: `multiplyAdd` of the numbers that the layer multiplies, `reads` of copies.
    package let isDevice: Bool
    private let buffers: BufferClasses

    private enum CodingKeys: CodingKey { case multiplyAdd, byteDot, pairDot, reads, isDevice }

    package init(
        multiplyAdd: CeilingSeries, byteDot: CeilingSeries?, pairDot: CeilingSeries?, reads: [Read],
        isDevice: Bool = false, buffers: BufferClasses = .processor
    ) {
        self.isDevice = isDevice
        self.buffers = buffers
        self.multiplyAdd = multiplyAdd
        self.byteDot = byteDot
        self.pairDot = pairDot
        self.reads = reads
    }

    /// The read ceiling of a working set's class; nil where none was measured.
    package func read(forWorkingSet bytes: Int) -> Read? {
        guard let wanted = buffers.bufferBytes(forWorkingSet: bytes) else { return nil }
        return reads.first { $0.bufferBytes == wanted }
    }

    /// The least time the machine could do the work in, and what sets it; nil for work that is not counted.
    package func bound(of work: Work) -> Bound? {
        var bounds: [Bound] = []
        let flops = work.flops - work.byteOperations - work.pairOperations
        if flops > 0, multiplyAdd.rate > 0 {
            bounds.append(Bound(resource: isDevice ? .multiply : .multiplyAdd, amount: flops, ceiling: multiplyAdd.rate))
        }
        if work.byteOperations > 0, let rate = byteDot?.rate, rate > 0 {
            bounds.append(Bound(resource: .byteDot, amount: work.byteOperations, ceiling: rate))
        }
        if work.pairOperations > 0, let rate = pairDot?.rate, rate > 0 {
            bounds.append(Bound(resource: .pairDot, amount: work.pairOperations, ceiling: rate))
        }
        if work.bytes > 0, let rate = read(forWorkingSet: work.workingSet)?.series.rate, rate > 0 {
            bounds.append(Bound(resource: isDevice ? .copy : .read, amount: work.bytes, ceiling: rate))
        }
        return bounds.max { $0.seconds < $1.seconds }
    }
}

/// The slower of the two things that a call must do: its arithmetic, or reading its weights.
package struct Bound: Sendable, Hashable {
    package enum Resource: String, Sendable, Hashable, Codable {
        case multiplyAdd = "FMA"
        case byteDot = "byte dot"
        case pairDot = "bf16 pair dot"
        case read
        /// On a GPU: products in registers, and a copy, whose bytes are read and written.
        case multiply
        case copy

        /// Whether it is counted in bytes.
        package var isTraffic: Bool { self == .read || self == .copy }
    }

    package let resource: Resource
    /// FLOPs or bytes of one call.
    package let amount: Int
    /// FLOPs or bytes a second.
    package let ceiling: Double

    package var seconds: Double { Double(amount) / ceiling }

    /// The part of the ceiling that a call of so many seconds reaches.
    package func share(ofSeconds measured: Double) -> Double { seconds / measured }

    /// Beyond this a result is no longer noise of two measurements but a mistake.
    package static let tolerance = 1.03
}
