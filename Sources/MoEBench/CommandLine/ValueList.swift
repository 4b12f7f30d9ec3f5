/// Several values of one option: `1,8,64`, and for whole numbers ranges as llama-bench writes them, `1-8`, `8-64+8` (steps of 8) and
/// `1-64*2` (doubling).
package enum ValueList {
    /// What help texts say of it.
    package static let help = "1,8,64 or ranges: 1-4, 16-64+16 (steps), 1-64*2 (factors)"
    /// The most values of one option.
    package static let mostValues = 100_000

    /// Whole numbers, each once, in the order that they are given in.
    ///
    /// - Parameters:
    ///   - option: The option's name, for errors.
    ///   - words: What may stand for a number, such as `max`.
    package static func integers(
        _ text: String, option: String, words: [String: Int] = [:]
    ) throws(UsageError) -> [Int] {
        func failure(_ item: Substring, _ expectation: String) -> UsageError {
            UsageError("--\(option) has \"\(item)\"; expected \(expectation)")
        }
        func number(_ text: Substring) -> Int? { Int(text) ?? words[String(text)] }
        var values: [Int] = []
        var known: Set<Int> = []
        func add(_ value: Int) {
            if known.insert(value).inserted { values.append(value) }
        }
        for item in text.split(separator: ",", omittingEmptySubsequences: false) {
            if let single = number(item) {
                add(single)
                continue
            }
            // A first dash is a sign.
            guard let dash = item.dropFirst().firstIndex(of: "-"), let first = number(item[..<dash]) else {
                throw failure(item, "whole numbers, such as \(help)")
            }
            let rest = item[item.index(after: dash)...]
            let mark = rest.firstIndex { $0 == "+" || $0 == "*" }
            let isFactor = mark.map { rest[$0] == "*" } ?? false
            let step = mark.map { Int(rest[rest.index(after: $0)...]) } ?? 1
            guard let last = number(rest[..<(mark ?? rest.endIndex)]), let step else {
                throw failure(item, "a range first-last, first-last+step or first-last*factor")
            }
            guard first <= last else { throw failure(item, "a range that rises") }
            guard step >= (isFactor ? 2 : 1) else {
                throw failure(item, isFactor ? "a factor of 2 or more" : "a step of 1 or more")
            }
            guard !isFactor || first >= 1 else { throw failure(item, "a first number of 1 or more to multiply") }
            var value = first
            while value <= last {
                add(value)
                guard values.count <= mostValues else {
                    throw failure(item, "at most \(mostValues) values")
                }
                let (next, overflow) =
                    isFactor ? value.multipliedReportingOverflow(by: step) : value.addingReportingOverflow(step)
                if overflow { break }
                value = next
            }
        }
        return values
    }

    /// Words of a list, each once.
    package static func words(_ text: String, option: String) throws(UsageError) -> [String] {
        var words: [String] = []
        for item in text.split(separator: ",", omittingEmptySubsequences: false).map(String.init) {
            guard !item.isEmpty else {
                throw UsageError("--\(option) is \"\(text)\"; expected values between its commas")
            }
            if !words.contains(item) { words.append(item) }
        }
        return words
    }
}

extension Arguments {
    /// Whole numbers of a list; nil without the option. What is wrong with one is for others to say.
    package func numbers(_ name: String, words: [String: Int] = [:]) throws(UsageError) -> [Int]? {
        guard let text = try text(name) else { return nil }
        return try ValueList.integers(text, option: name, words: words)
    }

    /// Whole numbers of a list, each within bounds.
    package func numbers(
        _ name: String, in bounds: ClosedRange<Int>, words: [String: Int] = [:]
    ) throws(UsageError) -> [Int]? {
        guard let values = try numbers(name, words: words) else { return nil }
        guard let odd = values.first(where: { !bounds.contains($0) }) else { return values }
        throw UsageError(
            "--\(name) has \(odd); expected whole numbers from \(bounds.lowerBound) to \(bounds.upperBound)")
    }

    /// Names of a type's cases.
    package func choices<Choice: RawRepresentable<String> & CaseIterable>(
        _ name: String, _ type: Choice.Type
    ) throws(UsageError) -> [Choice]? {
        guard let text = try text(name) else { return nil }
        return try ValueList.words(text, option: name).map { (word) throws(UsageError) in
            if let choice = Choice(rawValue: word) ?? Choice(rawValue: word.replacing("-", with: "_")) { return choice }
            throw Self.unknown(name, word, Choice.allCases.map(\.rawValue))
        }
    }

    /// Some of the names there are.
    package func choices(_ name: String, among names: [String]) throws(UsageError) -> [String]? {
        guard let text = try text(name) else { return nil }
        return try ValueList.words(text, option: name).map { (word) throws(UsageError) in
            guard names.contains(word) else { throw Self.unknown(name, word, names) }
            return word
        }
    }

    /// Words of a list, whatever they are.
    package func words(_ name: String) throws(UsageError) -> [String]? {
        guard let text = try text(name) else { return nil }
        return try ValueList.words(text, option: name)
    }
}
