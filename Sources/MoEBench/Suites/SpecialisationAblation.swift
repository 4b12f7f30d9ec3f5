import MoEKernel

/// What compiling the register tiles for their shapes and formats buys: the whole layer with them, beside the same layer, on the same
/// weights, whose one generic tile learns rows, panels and format at run time.
package enum SpecialisationAblation {
    package static let specialised = "specialised"
    package static let generic = "generic"

    /// Full tiles of fp32 and of bf16, tiles of few rows, and the single row of decoding.
    package static let workloads = [
        Workload(name: "full tiles", tokens: 512, hidden: 512, expertHidden: 2048, experts: 8, topK: 2),
        Workload(
            name: "full tiles, bf16", tokens: 512, hidden: 512, expertHidden: 2048, experts: 8, topK: 2,
            weightType: .bfloat16),
        Workload(name: "few rows", tokens: 32, hidden: 512, expertHidden: 2048, experts: 8, topK: 2),
        Workload(
            name: "decode", tokens: 1, hidden: 2048, expertHidden: 768, experts: 128, topK: 8, weightType: .bfloat16),
    ]

    /// Both layers. The generic one must agree with the oracle and, bit for bit, with the other.
    static func contenders(
        _ layer: MoELayer, inputs: Inputs, check: any OutputCheck, work: Work, subject: (String) -> Subject
    ) throws(MoEError) -> [Contender] {
        guard var tuning = layer.tuning else {
            throw .unavailable(what: "tiles compiled for their shapes", reason: "this layer runs on \(layer.device)")
        }
        tuning.isSpecialised = false
        let other = try layer.withTuning(tuning)
        var expected: [[Float]] = []
        for x in inputs.batches {
            expected.append(try layer.forward(Tensor(shape: [inputs.tokens, inputs.hidden], x)).y.elements)
        }
        let sameBits = SameBits(check, expected: expected, of: specialised)
        return [
            Contender(WholeLayer(layer, subject: subject(specialised), work: work, inputs: inputs), check: check),
            Contender(WholeLayer(other, subject: subject(generic), work: work, inputs: inputs), check: sameBits),
        ]
    }
}

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
