import MoEKernel

/// The machine's measured limits during one comparison.
package struct Ceilings: Sendable, Hashable, Encodable {
    package struct Read: Sendable, Hashable, Encodable {
        package let bufferBytes: Int
        package let series: CeilingSeries
    }

    /// Products of an arithmetic on rounded activations.
    package struct Rounded: Sendable, Hashable {
        package let arithmetic: ExpertArithmetic
        package let series: CeilingSeries
    }

    package let multiplyAdd: CeilingSeries
    /// nil where nothing in the comparison has such products.
    package let rounded: Rounded?
    /// By size of the buffer, rising.
    package let reads: [Read]
    /// Whose they are: on a GPU `multiplyAdd` is of the numbers that the layer multiplies, and `reads` are copies.
    package let machine: ProbedMachine

    package init(
        multiplyAdd: CeilingSeries, rounded: Rounded?, reads: [Read], machine: ProbedMachine = .processor
    ) {
        self.machine = machine
        self.multiplyAdd = multiplyAdd
        self.rounded = rounded
        self.reads = reads
    }

    private enum CodingKeys: CodingKey { case multiplyAdd, byteDot, pairDot, reads, copies }

    /// Rounded arithmetic has a field of its own for each kind.
    package func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(multiplyAdd, forKey: .multiplyAdd)
        try values.encodeIfPresent(products(.int8Activations), forKey: .byteDot)
        try values.encodeIfPresent(products(.bfloat16Activations), forKey: .pairDot)
        try values.encode(reads, forKey: machine.isDevice ? .copies : .reads)
    }

    /// The ceiling of an arithmetic's products; nil where it was not measured.
    private func products(_ arithmetic: ExpertArithmetic) -> CeilingSeries? {
        arithmetic == .exact ? multiplyAdd : rounded?.arithmetic == arithmetic ? rounded?.series : nil
    }

    /// The read ceiling of a working set's class; nil where none was measured.
    package func read(forWorkingSet bytes: Int) -> Read? {
        guard let wanted = machine.bufferBytes(forWorkingSet: bytes) else { return nil }
        return reads.first { $0.bufferBytes == wanted }
    }

    /// What the work needs and no ceiling was measured of; nil where there is nothing.
    package func missing(for work: Work) -> Bound.Resource? {
        ExpertArithmetic.allCases.first { work.operations($0) > 0 && products($0) == nil }.map { resource($0) }
    }

    private func resource(_ arithmetic: ExpertArithmetic) -> Bound.Resource {
        machine.isDevice && arithmetic == .exact ? .products : .init(arithmetic)
    }

    /// The least time the machine could do the work in, and what sets it; nil for work that is not counted.
    package func bound(of work: Work) -> Bound? { bound(of: work, rate: \.rate) }

    /// The same by the best pass of each ceiling. On a machine that others use, passes of some milliseconds are disturbed more often
    /// than calls of some microseconds, and a median call may beat a median pass; what no pass reached is no noise.
    package func limit(of work: Work) -> Bound? { bound(of: work, rate: \.best) }

    private func bound(of work: Work, rate: (CeilingSeries) -> Double) -> Bound? {
        var bounds: [Bound] = []
        for arithmetic in ExpertArithmetic.allCases {
            let amount = work.operations(arithmetic)
            guard amount > 0, let rate = products(arithmetic).map(rate), rate > 0 else { continue }
            bounds.append(Bound(resource: resource(arithmetic), amount: amount, ceiling: rate))
        }
        if work.bytes > 0, let rate = (read(forWorkingSet: work.workingSet)?.series).map(rate), rate > 0 {
            bounds.append(Bound(resource: machine.isDevice ? .copy : .read, amount: work.bytes, ceiling: rate))
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
        case products
        case copy

        /// Whether it is counted in bytes.
        package var isTraffic: Bool { self == .read || self == .copy }

        /// What an arithmetic's products take.
        package init(_ arithmetic: ExpertArithmetic) {
            self =
                switch arithmetic {
                case .exact: .multiplyAdd
                case .int8Activations: .byteDot
                case .bfloat16Activations: .pairDot
                }
        }
    }

    package let resource: Resource
    /// FLOPs or bytes of one call.
    package let amount: Int
    /// FLOPs or bytes a second.
    package let ceiling: Double

    package var seconds: Double { Double(amount) / ceiling }

    /// The part of the ceiling that a call of so many seconds reaches.
    package func share(ofSeconds measured: Double) -> Double { seconds / measured }

    /// Beyond this a result is no longer noise of two measurements but a mistake. A GPU's memory may be read faster than it is copied.
    package var tolerance: Double { resource == .copy ? 1.15 : 1.03 }
}
