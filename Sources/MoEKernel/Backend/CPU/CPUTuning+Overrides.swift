import CPlatform

/// Replacing fields from outside: `tile-rows=4,tasks-per-thread=8`.
extension CPUTuning: CustomStringConvertible {
    private static let fields: [(name: String, path: WritableKeyPath<CPUTuning, Int> & Sendable)] = [
        ("tile-rows", \.tileRows), ("shared-panels", \.sharedPanels), ("direct-tiles", \.directTiles),
        ("activation-bytes", \.activationBytes), ("tasks-per-thread", \.tasksPerThread),
        ("stream-panels", \.streamPanels), ("stream-ahead", \.streamAhead),
    ]

    /// The names of the fields, as overrides write them.
    public static var fieldNames: [String] { fields.map(\.name) }

    /// All fields in the form that ``overridden(by:)`` takes.
    public var description: String {
        Self.fields.map { "\($0.name)=\(self[keyPath: $0.path])" }.joined(separator: ",")
    }

    /// This machine's entry of the table, with what the environment variable `MOE_TUNING` replaces of it.
    ///
    /// - Parameter instructionSet: Whose kernels run.
    /// - Throws: ``MoEError/configuration(field:value:expectation:)`` where the variable is not a list of fields and whole numbers, or
    ///   holds a number that the instruction set's kernels cannot run with.
    public static func chosen(_ instructionSet: CPUInstructionSet) throws(MoEError) -> CPUTuning {
        let table = detected(instructionSet)
        guard let raw = getenv("MOE_TUNING") else { return table }
        let tuning = try table.overridden(by: String(cString: raw), source: "MOE_TUNING")
        try tuning.check(for: instructionSet)
        return tuning
    }

    /// The same tuning with some fields replaced.
    ///
    /// - Parameter text: Fields and whole numbers, such as `tile-rows=4,tasks-per-thread=8`; the last of several counts.
    /// - Throws: ``MoEError/configuration(field:value:expectation:)`` naming what is not a field or not a number. Whether kernels can
    ///   run with the numbers is for ``check(for:)``.
    public func overridden(by text: String) throws(MoEError) -> CPUTuning { try overridden(by: text, source: "tuning") }

    /// - Parameter source: What errors call the text.
    package func overridden(by text: String, source: String) throws(MoEError) -> CPUTuning {
        var tuning = self
        for entry in text.split(separator: ",", omittingEmptySubsequences: false) {
            let parts = entry.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let field = Self.fields.first(where: { $0.name == parts[0] }) else {
                throw .configuration(
                    field: source, value: "\"\(entry)\"",
                    expectation: "NAME=NUMBER with one of \(Self.fieldNames.joined(separator: ", "))")
            }
            guard parts.count == 2, let number = Int(parts[1]) else {
                throw .configuration(field: source, value: "\"\(entry)\"", expectation: "\(field.name)=NUMBER")
            }
            tuning[keyPath: field.path] = number
        }
        return tuning
    }
}
