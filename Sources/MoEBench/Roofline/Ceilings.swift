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

    /// One large dense product of the numbers that the layer multiplies, by a kernel that it has, too.
    package struct GEMM: Sendable, Hashable, Encodable {
        package let rows: Int
        package let columns: Int
        package let depth: Int
        package let series: CeilingSeries

        /// "8192³", or "8192 × 4096 × 2048".
        package var sizes: String {
            rows == columns && columns == depth ? "\(rows)³" : "\(rows) × \(columns) × \(depth)"
        }
    }

    package let multiplyAdd: CeilingSeries
    /// nil where nothing in the comparison has such products.
    package let rounded: Rounded?
    /// nil where it was not measured, as on a processor.
    package let gemm: GEMM?
    /// By size of the buffer, rising.
    package let reads: [Read]
    /// Whose they are: on a GPU `multiplyAdd` is of the numbers that the layer multiplies, and `reads` are copies.
    package let machine: ProbedMachine

    package init(
        multiplyAdd: CeilingSeries, rounded: Rounded?, gemm: GEMM? = nil, reads: [Read],
        machine: ProbedMachine = .processor
    ) {
        self.machine = machine
        self.multiplyAdd = multiplyAdd
        self.rounded = rounded
        self.gemm = gemm
        self.reads = reads
    }

    private enum CodingKeys: CodingKey { case multiplyAdd, byteDot, pairDot, gemm, reads, copies }

    /// Rounded arithmetic has a field of its own for each kind.
    package func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(multiplyAdd, forKey: .multiplyAdd)
        try values.encodeIfPresent(products(.int8Activations), forKey: .byteDot)
        try values.encodeIfPresent(products(.bfloat16Activations), forKey: .pairDot)
        try values.encodeIfPresent(gemm, forKey: .gemm)
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

    /// The least time the machine could do the work in, and what sets it; nil for work that is not counted. Of products in registers and in
    /// a large product, the faster: no work passes both.
    package func bound(of work: Work) -> Bound? { bound(of: work, \.rate, products: fastest) }

    /// The same by the best pass of each ceiling. On a machine that others use, passes of some milliseconds are disturbed more often
    /// than calls of some microseconds, and a median call may beat a median pass; what no pass reached is no noise.
    package func limit(of work: Work) -> Bound? { bound(of: work, \.best, products: fastest) }

    /// The same for whoever compares layers with each other or with a library's: by the large product where one was measured, as products in
    /// registers wait for nothing.
    package func yardstick(of work: Work) -> Bound? {
        bound(of: work, \.rate) { arithmetic, rate in
            if arithmetic == .exact, let gemm { return (.gemm, rate(gemm.series)) }
            return (resource(arithmetic), products(arithmetic).map(rate) ?? 0)
        }
    }

    private typealias Rate = (CeilingSeries) -> Double
    private typealias Products = (resource: Bound.Resource, rate: Double)

    private func fastest(_ arithmetic: ExpertArithmetic, _ rate: Rate) -> Products {
        let registers = products(arithmetic).map(rate) ?? 0
        if arithmetic == .exact, let gemm, rate(gemm.series) > registers { return (.gemm, rate(gemm.series)) }
        return (resource(arithmetic), registers)
    }

    private func bound(
        of work: Work, _ rate: @escaping Rate, products: (ExpertArithmetic, Rate) -> Products
    ) -> Bound? {
        var bounds: [Bound] = []
        for arithmetic in ExpertArithmetic.allCases {
            let amount = work.operations(arithmetic)
            let (resource, ceiling) = products(arithmetic, rate)
            guard amount > 0, ceiling > 0 else { continue }
            bounds.append(Bound(resource: resource, amount: amount, ceiling: ceiling))
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
        /// One large dense product.
        case gemm = "GEMM"

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

    /// The same where it says something: a median that is above the ceiling's own, and yet below its best pass, says that passes were
    /// disturbed.
    package func knownShare(ofSeconds measured: Double) -> Double? {
        let share = share(ofSeconds: measured)
        return share <= tolerance ? share : nil
    }

    /// "86.4 % FMA", "disturbed FMA".
    package func shareText(ofSeconds measured: Double) -> String {
        (knownShare(ofSeconds: measured).map { "\(Format.significant($0 * 100)) %" } ?? "disturbed")
            + " \(resource.rawValue)"
    }

    /// Beyond this a result is no longer noise of two measurements but a mistake. A GPU's memory may be read faster than it is copied.
    package var tolerance: Double { resource == .copy ? 1.15 : 1.03 }
}
