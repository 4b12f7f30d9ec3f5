/// Another check, and then that an output is bit for bit what another implementation gave.
struct SameBits: OutputCheck {
    private let check: any OutputCheck
    private let expected: [[Float]]
    private let name: String

    /// - Parameters:
    ///   - expected: y of each batch, [tokens, hidden].
    ///   - name: The implementation that it came from.
    init(_ check: any OutputCheck, expected: [[Float]], of name: String) {
        self.check = check
        self.expected = expected
        self.name = name
    }

    func forOneContender() -> any OutputCheck {
        SameBits(check.forOneContender(), expected: expected, of: name)
    }

    func verify(_ output: StageOutput, batch: Int) throws(WrongResult) {
        try check.verify(output, batch: batch)
        guard case .activations(let y) = output, y.count == expected[batch].count else {
            throw WrongResult("an output of another shape than that of \(name)")
        }
        guard let index = y.indices.first(where: { y[$0].bitPattern != expected[batch][$0].bitPattern }) else { return }
        throw WrongResult("value \(index) is \(y[index]), that of \(name) \(expected[batch][index])")
    }
}
