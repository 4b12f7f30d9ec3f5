import MicroKernels

extension CPUTuning {
    /// More than any cache of a core: beyond it ``activationBytes`` would keep nothing anywhere.
    static let mostActivationBytes = 1 << 30
    static let mostTasksPerThread = 1024
    static let mostStreamPanels = 8
    static let mostStreamAhead = 1 << 16

    /// Checks that an instruction set's kernels can run with these numbers.
    ///
    /// - Parameter instructionSet: The set that is to run.
    /// - Throws: ``MoEError/configuration(field:value:expectation:)`` naming the first field that cannot be, its value, and
    ///   what can: a tile that its kernels do not have (how many registers it would take, where there are fewer), panels that
    ///   they do not take together, bytes or tasks out of bounds.
    public func check(for instructionSet: CPUInstructionSet) throws(MoEError) {
        let kernels = TileLimits(instructionSet)
        try Self.check(
            "sharedPanels", sharedPanels, in: 1...kernels.sharedPanels,
            "panels that \(instructionSet.rawValue)'s tiles take together"
                + kernels.excess(rows: tileRows, panels: sharedPanels))
        try Self.check(
            "tileRows", tileRows, in: 1...kernels.rows,
            "the tiles that \(instructionSet.rawValue)'s kernels have"
                + kernels.excess(rows: tileRows, panels: sharedPanels))
        try Self.check(
            "directTiles", directTiles, in: 0...(kernels.widens ? Int.max : 0),
            kernels.widens
                ? "tiles that widen weights themselves"
                : "since \(instructionSet.rawValue)'s tiles do not widen weights themselves")
        try Self.check(
            "activationBytes", activationBytes, in: tileRows * PanelLayout.block * 4...Self.mostActivationBytes,
            "bytes, from one tile of \(tileRows) rows by \(PanelLayout.block) values to more than any cache")
        try Self.check("tasksPerThread", tasksPerThread, in: 1...Self.mostTasksPerThread, "tasks")
        try Self.check(
            "streamPanels", streamPanels, in: 1...Self.mostStreamPanels, "panels that a lone tile reads side by side")
        try Self.check("streamAhead", streamAhead, in: 0...Self.mostStreamAhead, "bytes, 0 for the next block")
    }

    /// This machine's entry of the table with each of the tiles that an instruction set's kernels have, for tests.
    package static func everyTile(of instructionSet: CPUInstructionSet) -> [CPUTuning] {
        let kernels = TileLimits(instructionSet)
        return (1...kernels.sharedPanels).flatMap { panels in
            (1...kernels.rows).map { rows in
                var tuning = detected(instructionSet)
                (tuning.tileRows, tuning.sharedPanels) = (rows, panels)
                return tuning
            }
        }
    }

    private static func check(
        _ field: String, _ value: Int, in bounds: ClosedRange<Int>, _ meaning: @autoclosure () -> String
    ) throws(MoEError) {
        guard bounds.contains(value) else {
            let range =
                bounds.lowerBound == bounds.upperBound
                ? "\(bounds.lowerBound)"
                : bounds.upperBound == .max
                    ? "\(bounds.lowerBound) or more" : "\(bounds.lowerBound) to \(bounds.upperBound)"
            throw .configuration(field: field, value: "\(value)", expectation: "\(range), \(meaning())")
        }
    }
}

/// The register tiles that the kernels of an instruction set are compiled for.
private struct TileLimits {
    /// The most rows of a tile.
    let rows: Int
    /// The most panels that the tiles of several row blocks take together.
    let sharedPanels: Int
    /// Whether such tiles read bf16 as well as fp32.
    let widens: Bool
    /// Vectors of a panel's 16 columns, and vector registers of the processor.
    private let vectors: Int
    private let registers: Int

    init(_ instructionSet: CPUInstructionSet) {
        switch instructionSet {
        case .baseline:
            (rows, sharedPanels, widens, vectors) = (3, 1, false, 4)
            #if arch(arm64)
                registers = 32
            #else
                registers = 16
            #endif
        case .avx2: (rows, sharedPanels, widens, vectors, registers) = (6, 1, true, 2, 16)
        case .avx512: (rows, sharedPanels, widens, vectors, registers) = (12, 2, true, 1, 32)
        }
    }

    /// What a tile needs beyond the registers there are, as the end of a sentence; empty where it would fit, or could be no
    /// tile.
    ///
    /// A step of a tile holds its sums and, of weights and activations, the fewer whole and the others one by one.
    func excess(rows: Int, panels: Int) -> String {
        guard rows > 0, panels > 0 else { return "" }
        let (across, tooWide) = panels.multipliedReportingOverflow(by: vectors)
        let (sums, tooMany) = rows.multipliedReportingOverflow(by: across)
        guard !tooWide, !tooMany, sums < .max / 4 else { return "; this one would not fit \(registers) registers" }
        let needed = sums + min(rows, across) + 1
        guard needed > registers else { return "" }
        return "; \(rows) × \(across) vectors of sums, with weights and activations, would take \(needed) registers of "
            + "\(registers)"
    }
}
