import Synchronization

/// Quantises the matrices of a layer and puts them into the files that are being written, a matrix a task.
struct QuantisingWork: ParallelWork {
    /// Where a tensor's data begins.
    struct Place: Sendable {
        let file: OutputFile
        let offset: Int
    }

    let plan: QuantisedLayerPlan
    let form: WeightQuantisation
    let stored: StoredForm
    let places: [String: Place]
    let isCancelled: @Sendable () -> Bool
    private let outcome: Outcome

    /// What the tasks leave.
    private final class Outcome: Sendable {
        /// By task, one for each of its matrices.
        let errors: Mutex<[[QuantisationError]]>
        let failure = Mutex<MoEError?>(nil)

        init(tasks: Int) { errors = Mutex(Array(repeating: [], count: tasks)) }
    }

    init(
        _ plan: QuantisedLayerPlan, form: WeightQuantisation, stored: StoredForm, places: [String: Place],
        isCancelled: @escaping @Sendable () -> Bool
    ) {
        (self.plan, self.form, self.stored, self.places) = (plan, form, stored, places)
        self.isCancelled = isCancelled
        outcome = Outcome(tasks: plan.tasks.count)
    }

    /// The error of every matrix, in the order of the plan; meaningless after a cancellation.
    func errors() throws(MoEError) -> [(matrix: WeightName, error: QuantisationError)] {
        if let failure = outcome.failure.withLock({ $0 }) { throw failure }
        let errors = outcome.errors.withLock { $0 }
        return zip(plan.tasks, errors).flatMap { task, errors in zip(task.matrices, errors).map { ($0, $1) } }
    }

    func run(task: Int, worker: Int) {
        guard outcome.failure.withLock({ $0 == nil }) else { return }
        do throws(MoEError) {
            let errors = try quantise(plan.tasks[task])
            outcome.errors.withLock { $0[task] = errors }
        } catch {
            outcome.failure.withLock { failure in failure = failure ?? error }
        }
    }

    /// Weights that are worked on together: a few megabytes of numbers, whatever the matrix.
    private static let weightsAtOnce = 1 << 20

    private func quantise(_ task: QuantisedLayerPlan.Task) throws(MoEError) -> [QuantisationError] {
        let (source, configuration) = (plan.source, plan.configuration)
        let together = task.matrices.count
        let (rows, columns) = configuration.shape(of: task.matrices[0])
        // Rows of a matrix that is stored inputs first lie all over it, so it is read as a whole.
        let isTransposed = if case .transposed = source.format(of: task.matrices[0]) { true } else { false }
        // Zero points of eight rows share a word.
        let most = isTransposed ? rows : max(Self.weightsAtOnce / columns / 16 * 16, 16)
        let codeBytes = stored.codeRowBytes(columns)
        let scaleBytes = columns / (form.group ?? columns) * stored.scaleBytes
        try checkMemory(min(most, rows) * together * (columns * 6 + codeBytes), source.describe(task.matrices[0]))
        guard let codesPlace = places[task.codes], let scalesPlace = places[task.scales] else {
            throw .checkpoint(file: source.describe(task.matrices[0]), tensor: task.codes, problem: "has no place")
        }

        var errors = [QuantisationError](repeating: QuantisationError(), count: together)
        var row = 0
        while row < rows, !isCancelled() {
            let part = row..<min(row + most, rows)
            var codes = [UInt8](repeating: 0, count: part.count * together * codeBytes)
            var scales = [UInt8](repeating: 0, count: part.count * together * scaleBytes)
            for (position, matrix) in task.matrices.enumerated() {
                let weights = try source.finiteFloats(matrix, rows: part, configuration)
                let quantised = QuantisedRows(weights, columns: columns, form: form)
                errors[position] += quantised.error(from: weights)
                codes.withUnsafeMutableBytes { codes in
                    scales.withUnsafeMutableBytes { scales in
                        for index in 0..<part.count {
                            let target = index * together + position
                            stored.encodeCodes(
                                quantised, row: index,
                                into: .init(rebasing: codes[(target * codeBytes)...].prefix(codeBytes)))
                            stored.encodeScales(
                                quantised, row: index,
                                into: .init(rebasing: scales[(target * scaleBytes)...].prefix(scaleBytes)))
                        }
                    }
                }
                if let name = task.zeroPoints, let place = places[name] {
                    let zeros = stored.encodeZeroPoints(quantised)
                    // Whole words: a part begins with the first row of one.
                    let before = row * form.code.bitCount / 32 * quantised.groups * 4
                    try place.file.write(zeros, at: place.offset + before)
                }
            }
            let first = task.firstRow + row * together
            try codesPlace.file.write(codes, at: codesPlace.offset + first * codeBytes)
            try scalesPlace.file.write(scales, at: scalesPlace.offset + first * scaleBytes)
            row = part.upperBound
        }
        return errors
    }
}
