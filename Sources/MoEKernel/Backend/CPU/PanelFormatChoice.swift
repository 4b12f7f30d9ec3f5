import MicroKernels
import Synchronization

extension PanelFormat {
    /// The smallest format that holds stored tensors exactly: as they are stored where they are stored alike, else fp32, which
    /// holds every weight.
    ///
    /// Codes stay codes where their scales can be kept: groups of a multiple of 16, or of the whole row.
    static func holding(
        _ names: [WeightName], of source: any WeightSource, _ configuration: MoEConfiguration, pool: ThreadPool
    ) throws(MoEError) -> PanelFormat {
        var formats: Set<WeightFormat> = []
        for name in names { formats.insert(try source.validFormat(of: name)) }
        let types = Set(formats.map(\.elementType))
        if types.count == 1, let type = types.first! { return PanelFormat(type) }
        guard formats.count == 1, case .quantised(let code, let group, let zeroPoints) = formats.first!,
            let shift = PanelCoding.groupShift(group, depth: configuration.shape(of: names[0]).columns)
        else { return .float32 }
        let census = ScaleCensus(names: names, source: source, configuration: configuration, code: code, group: group)
        try census.run(on: pool)
        guard !census.tooLarge else { return .float32 }
        return .coded(
            PanelCoding(
                code: PanelCode(code), groupShift: shift, wideScales: census.needsFloat32, zeroPoints: zeroPoints))
    }
}

extension WeightFormat {
    /// The type of stored numbers; nil for codes.
    var elementType: ElementType? {
        switch self {
        case .plain(let type), .transposed(let type): type
        case .quantised: nil
        }
    }
}

extension PanelCoding {
    /// The longest run of k whose weights share a scale in every reduction block, as a power of two; nil where that is below
    /// 16. A longer group's scale is repeated.
    static func groupShift(_ group: Int, depth: Int) -> Int? {
        if group >= depth { return 8 }
        let shift = min(group.trailingZeroBitCount, 8)
        return shift >= 4 ? shift : nil
    }
}

extension PanelCoding {
    /// Whether 32 activations that share a scale meet one scale of weights.
    var takesInt8Activations: Bool { (code == .int4 || code == .int8) && groupShift >= 5 }
}

extension ExpertArithmetic {
    /// Refuses a type that experts' weights are to be kept in where it is not what rounded activations are multiplied with.
    func checkKeeps(_ type: ElementType?) throws(MoEError) {
        guard self != .exact, let type, self == .int8Activations || type != .bfloat16 else { return }
        throw .configuration(
            field: "weightType", value: type.rawValue,
            expectation: self == .int8Activations ? "none with int8 activations" : "bf16 or none with bf16 activations")
    }

    /// Refuses an expert's matrix that is stored in what rounded activations are not multiplied with.
    func checkStored(
        _ name: WeightName, of source: any WeightSource, _ configuration: MoEConfiguration
    ) throws(MoEError) {
        let format = try source.validFormat(of: name)
        let expected: String
        switch self {
        case .exact: return
        case .int8Activations:
            if format.takesInt8Activations(depth: configuration.shape(of: name).columns) { return }
            expected = "int8 or int4 codes in groups of 32 or a multiple"
        case .bfloat16Activations:
            if configuration.weightType != nil || format.elementType == .bfloat16 { return }
            expected = "bf16"
        }
        let stored =
            switch format {
            case .plain(let type), .transposed(let type): type.rawValue
            case .quantised(let code, let group, _): "\(code.rawValue) codes in groups of \(group)"
            }
        throw .weights(
            tensor: source.describe(name),
            problem: "is stored in \(stored); expected \(expected), which arithmetic on \(rawValue) activations "
                + "multiplies")
    }
}

extension PanelCode {
    init(_ code: WeightCode) {
        self =
            switch code {
            case .float8E4M3: .float8E4M3
            case .float4E2M1: .float4E2M1
            case .int4: .int4
            case .int8: .int8
            }
    }

    /// The largest magnitude of a code's numbers.
    var largest: Float {
        switch self {
        case .float8E4M3: 448
        case .float4E2M1: 6
        // With zero points, the largest difference.
        case .int4: 15
        case .int8: 255
        }
    }
}

/// Looks at all scales of some tensors: whether bf16 holds each of them, and whether none makes a weight too large.
private final class ScaleCensus: @unchecked Sendable {
    private let names: [WeightName]
    private let source: any WeightSource
    private let configuration: MoEConfiguration
    private let code: PanelCode
    private let group: Int
    private let wide = Atomic<Bool>(false)
    private let large = Atomic<Bool>(false)
    private let failure = FirstFailure()

    var needsFloat32: Bool { wide.load(ordering: .relaxed) }
    var tooLarge: Bool { large.load(ordering: .relaxed) }

    init(
        names: [WeightName], source: any WeightSource, configuration: MoEConfiguration, code: WeightCode, group: Int
    ) {
        self.names = names
        self.source = source
        self.configuration = configuration
        self.code = PanelCode(code)
        self.group = group
    }

    func run(on pool: ThreadPool) throws(MoEError) {
        pool.run(Work(census: self), tasks: names.count)
        if let error = failure.error { throw error }
    }

    private struct Work: ParallelWork {
        let census: ScaleCensus
        func run(task: Int, worker: Int) {
            do throws(MoEError) { try census.look(at: census.names[task]) } catch {
                census.failure.report(error, task: task)
            }
        }
    }

    private func look(at name: WeightName) throws(MoEError) {
        let shape = configuration.shape(of: name)
        let groups = (shape.columns + group - 1) / group
        let rowsAtOnce = min(max(16_384 / groups, 1), shape.rows)
        let buffer = UnsafeMutableBufferPointer<Float>.allocate(capacity: rowsAtOnce * groups)
        defer { buffer.deallocate() }
        var row = 0
        while row < shape.rows {
            let end = min(row + rowsAtOnce, shape.rows)
            let part = UnsafeMutableBufferPointer(rebasing: buffer[..<((end - row) * groups)])
            try source.readScales(name, rows: row..<end, into: part)
            var lost: UInt32 = 0
            var largest: Float = 0
            for scale in part {
                let scaled = scale * code.factor
                lost |= scaled.bitPattern & 0xffff
                largest = max(largest, abs(scale))
            }
            if lost != 0 { wide.store(true, ordering: .relaxed) }
            // A scale that is not a number is reported with its place when it is packed.
            if largest * code.largest * code.factor == .infinity { large.store(true, ordering: .relaxed) }
            row = end
        }
    }
}
