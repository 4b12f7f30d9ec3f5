import Testing

@testable import MoEKernel

/// A small layer whose experts compute on rounded activations.
protocol RoundedLayerCase: Sendable, CustomTestStringConvertible {
    static var arithmetic: ExpertArithmetic { get }
    var hidden: Int { get }
    var expertHidden: Int { get }
    var expert: ExpertKind { get }
    var weightSide: WeightSide { get }
    var latent: Int? { get }
    func source() throws -> StoredWeights
}

extension RoundedLayerCase {
    func configuration() throws -> MoEConfiguration {
        try MoEConfiguration(
            experts: 5, topK: 2, hidden: hidden, expertHidden: expertHidden, expert: expert,
            shared: .sigmoidGated(width: 40), weightSide: weightSide, latent: latent)
    }

    func layer(
        _ source: any WeightSource, _ set: CPUInstructionSet? = nil, threads: Int
    ) throws -> MoELayer {
        try MoELayer(
            configuration(), weights: MoEWeights(source), pool: ThreadPool(threads: threads), instructionSet: set,
            arithmetic: Self.arithmetic)
    }
}

/// On every set, outputs are within fp32's error and what rounded activations that flip add to it: each token's, and all
/// tokens' together, among which that is little.
func expectAgreement(_ test: some RoundedLayerCase) throws {
    let configuration = try test.configuration()
    let source = try test.source()
    let arithmetic = type(of: test).arithmetic
    let tokens = 60
    let x = try Tensor<Float>.random([tokens, test.hidden], seed: 4)
    let expected = try ReferenceBackend(configuration, source: source, arithmetic: arithmetic).forward(x.elements)
    let norm = typicalRowNorm(expected.y, rows: tokens)
    let exact = layerTolerance(hidden: test.hidden, expertHidden: test.expertHidden)
    let flips = try #require(
        roundingFlips(configuration, arithmetic, logitScale: expected.logits.map(abs).max() ?? 0))
    for set in CPUInstructionSet.supported {
        let y = try test.layer(source, set, threads: 2).forward(x).y.elements
        var (squares, highest) = (0.0, 0.0)
        for token in 0..<tokens {
            let row = token * test.hidden..<(token + 1) * test.hidden
            let slots = token * configuration.slots..<(token + 1) * configuration.slots
            let largest = flips.largest(weights: expected.weights[slots])
            let error = relativeError(y[row], expected.y[row], floor: norm)
            #expect(
                error <= exact + RoundingFlips.bound(largest: largest, expected: flips.expected),
                "\(set) token \(token)")
            squares += error * error
            highest = max(highest, largest)
        }
        let error = (squares / Double(tokens)).squareRoot()
        let bound = exact + RoundingFlips.bound(largest: highest / Double(tokens), expected: flips.expected)
        #expect(error <= bound, "\(set): all tokens")
    }
}

/// Bitwise the same for every split of a batch, number of threads, and set with fused multiply-add.
func expectDeterminism(_ test: some RoundedLayerCase) throws {
    let source = try test.source()
    let tokens = 33
    let x = try Tensor<Float>.random([tokens, test.hidden], seed: 9)
    var fused: [UInt32]?
    for set in CPUInstructionSet.supported {
        var expected: [UInt32]?
        for threads in 1...3 {
            let layer = try test.layer(source, set, threads: threads)
            let bits = try layer.forward(x).y.elements.map(\.bitPattern)
            if expected == nil { expected = bits }
            #expect(bits == expected, "\(set) \(threads) threads")
            // In pieces of 1, 2, 3, … tokens.
            var (first, count) = (0, 1)
            var pieces: [UInt32] = []
            while first < tokens {
                let range = first * test.hidden..<min(first + count, tokens) * test.hidden
                let part = try Tensor(shape: [range.count / test.hidden, test.hidden], Array(x.elements[range]))
                pieces += try layer.forward(part).y.elements.map(\.bitPattern)
                first += count
                count += 1
            }
            #expect(pieces == expected, "\(set) \(threads) threads, in pieces")
        }
        guard set != .baseline else { continue }
        if fused == nil { fused = expected }
        #expect(expected == fused, "\(set)")
    }
}
