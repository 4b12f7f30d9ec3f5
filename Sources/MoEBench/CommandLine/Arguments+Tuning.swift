import MoEKernel

extension Arguments {
    /// A tuning whose fields an option replaces, `tile-rows=4,tasks-per-thread=8`; nil without the option.
    ///
    /// - Parameter base: What the option leaves stays as it is here.
    package func tuning(_ name: String, of base: CPUTuning) throws(UsageError) -> CPUTuning? {
        guard let text = try text(name)?.replacing("_", with: "-") else { return nil }
        for entry in text.split(separator: ",") {
            let field = String(entry.prefix { $0 != "=" })
            guard CPUTuning.fieldNames.contains(field) else { throw Self.unknown(name, field, CPUTuning.fieldNames) }
        }
        do throws(MoEError) {
            return try base.overridden(by: text)
        } catch {
            guard case .configuration(_, let value, let expectation) = error else { throw UsageError("\(error)") }
            throw UsageError("--\(name) has \(value); expected \(expectation)")
        }
    }
}
