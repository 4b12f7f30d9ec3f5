/// A command line that is not understood; its text is for whoever typed it.
package struct UsageError: Error, Sendable, Hashable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}

/// A command line, taken apart by an option table.
///
/// `--option value` and `--option=value` are the same, `_` and `-` inside a name are the same, the last of several counts.
package struct Arguments: Sendable, Hashable {
    private var values: [String: String] = [:]
    private var switches: Set<String> = []
    /// Words without an option's name, in order, of a command that takes several.
    package private(set) var operands: [String] = []

    /// - Parameters:
    ///   - operand: the option whose value may stand there without its name, once.
    ///   - most: how many other words may stand there without a name.
    package init(
        _ words: some Sequence<String>, options: [Option], operand: String? = nil, operands most: Int = 0
    ) throws(UsageError) {
        var rest = Array(words)[...]
        while let word = rest.popFirst() {
            guard word.hasPrefix("-"), word != "-" else {
                if operands.count < most {
                    operands.append(word)
                    continue
                }
                guard let operand, values[operand] == nil else { throw UsageError("unexpected argument \"\(word)\"") }
                values[operand] = word
                continue
            }
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let typed = String(parts[0])
            let name = String(typed.drop { $0 == "-" }).replacing("_", with: "-")
            guard let option = options.first(where: { $0.name == name || $0.aliases.contains(name) }) else {
                let known = options.flatMap { [$0.name] + $0.aliases }.filter { $0.count > 1 }
                let nearest = Suggestion.nearest(to: name, in: known)
                throw UsageError("unknown option \(typed)" + (nearest.map { "; did you mean --\($0)?" } ?? ""))
            }
            if option.placeholder == nil {
                guard parts.count == 1 else { throw UsageError("\(typed) takes no value") }
                switches.insert(option.name)
            } else if parts.count == 2 {
                values[option.name] = String(parts[1])
            } else if let value = rest.popFirst() {
                values[option.name] = value
            } else {
                throw UsageError("\(typed) needs a value, \(option.placeholder!)")
            }
        }
    }

    /// Whether an option with a value is there.
    package func isGiven(_ name: String) -> Bool { values[name] != nil }

    package func has(_ name: String) -> Bool { switches.contains(name) }

    package func text(_ name: String) throws(UsageError) -> String? {
        guard let value = values[name] else { return nil }
        guard !value.isEmpty else { throw UsageError("--\(name) is empty") }
        return value
    }

    package func required(_ name: String) throws(UsageError) -> String {
        guard let value = try text(name) else { throw UsageError("--\(name) is missing") }
        return value
    }

    /// A whole number within bounds.
    package func number<Number: FixedWidthInteger>(
        _ name: String, in bounds: ClosedRange<Number>
    ) throws(UsageError) -> Number? {
        guard let value = values[name] else { return nil }
        guard let number = Number(value), bounds.contains(number) else {
            throw UsageError(
                "--\(name) is \"\(value)\"; expected a whole number from \(bounds.lowerBound) to \(bounds.upperBound)")
        }
        return number
    }

    /// One of a type's names.
    package func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ name: String, _ type: Choice.Type
    ) throws(UsageError) -> Choice? {
        guard let value = values[name] else { return nil }
        if let choice = Choice(rawValue: value) ?? Choice(rawValue: value.replacing("-", with: "_")) { return choice }
        throw Self.unknown(name, value, Choice.allCases.map(\.rawValue))
    }

    /// One of some names.
    package func choice(_ name: String, among names: [String]) throws(UsageError) -> String? {
        guard let value = values[name] else { return nil }
        if names.contains(value) { return value }
        throw Self.unknown(name, value, names)
    }

    static func unknown(_ name: String, _ value: String, _ names: [String]) -> UsageError {
        let nearest = Suggestion.nearest(to: value, in: names).map { " Did you mean \($0)?" } ?? ""
        return UsageError("--\(name) is \"\(value)\"; expected one of \(names.joined(separator: ", ")).\(nearest)")
    }
}
