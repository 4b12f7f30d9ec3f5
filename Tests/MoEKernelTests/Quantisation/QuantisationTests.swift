import Testing

@testable import MoEKernel

@Suite struct QuantisationTests {
    static let forms = WeightQuantisation.named.map(\.form)

    private func quantise(_ form: WeightQuantisation, _ weights: [Float]) -> (codes: [UInt8], GroupQuantiser.Parameters)
    {
        var codes = [UInt8](repeating: 0xee, count: weights.count)
        let parameters = weights.withUnsafeBufferPointer { weights in
            codes.withUnsafeMutableBufferPointer { GroupQuantiser(form).quantise(weights, into: $0) }
        }
        return (codes, parameters)
    }

    private func decode(_ form: WeightQuantisation, _ codes: [UInt8], _ parameters: GroupQuantiser.Parameters)
        -> [Float]
    {
        let zero = form.zeroPoints ? form.code.value(parameters.zero) : 0
        return codes.map { (form.code.value($0) - zero) * parameters.scale }
    }

    private func weights(_ seed: UInt64, count: Int = 128, shift: Float = 0) -> [Float] {
        var generator = SeededGenerator(seed: seed)
        return (0..<count).map { _ in Float(generator.next() >> 40) * 0x1p-23 - 1 + shift }
    }

    /// Whole-number codes are half a step off at most, but the first and the last one up to a step: a rounded zero point moves the ends,
    /// and symmetric four bits clip on the side that ends at 7. Float codes are off by half the distance of neighbouring codes: a
    /// sixteenth of the number for E4M3, a fifth for E2M1 (5 between 4 and 6), or half the smallest step.
    @Test(arguments: forms) func errorsAreBounded(_ form: WeightQuantisation) {
        var beyond: [String] = []
        for seed in 1...5 {
            for shift: Float in [0, 0.4, -3] {
                let weights = weights(UInt64(seed), shift: shift)
                let (codes, parameters) = quantise(form, weights)
                let scale = parameters.scale
                let decoded = decode(form, codes, parameters)
                for index in weights.indices {
                    let (weight, decoded, number) = (weights[index], decoded[index], form.code.value(codes[index]))
                    let bound: Float =
                        switch form.code {
                        case .int4: number == -8 || number == 7 ? scale : scale / 2
                        case .int8: form.zeroPoints && (number == -128 || number == 127) ? scale : scale / 2
                        case .float8E4M3: max(abs(weight) / 16, scale * 0x1p-10)
                        // A power-of-two scale lets the largest weight reach almost 8 where codes end at 6.
                        case .float4E2M1: max(abs(weight) / (abs(number) == 6 ? 4 : 5), scale / 4)
                        }
                    // The scaled weight and the decoded one are rounded.
                    if abs(weight - decoded) > bound + 0x1p-20 * abs(weight) {
                        beyond.append("\(weight) became \(decoded) with scale \(scale)")
                    }
                }
            }
        }
        #expect(beyond.isEmpty)
    }

    /// No other code is nearer, and of two equally near the even one is taken: all sums, differences and halves of codes' values, and
    /// what lies just beside them.
    @Test(arguments: forms.filter { !$0.code.isInteger }) func floatCodesAreTheNearest(_ form: WeightQuantisation) {
        let values = (0..<UInt8(1 << (form.code.bitCount - 1))).map { form.code.value($0) }.filter { $0.isFinite }
        let largest = values[values.count - 1]
        var numbers: [Float] = []
        for (low, high) in zip(values, values.dropFirst()) {
            let middle = (low + high) / 2
            numbers += [low, middle, middle.nextUp, middle.nextDown, low + (high - low) / 3]
        }
        var wrong: [String] = []
        for sign: Float in [1, -1] {
            for number in numbers {
                // The largest code goes with it, so that the scale is 1.
                let (codes, parameters) = quantise(form, [number * sign, largest])
                let misses = values.map { abs(Double($0) - Double(number)) }
                let least = misses.min()!
                let nearest = values.indices.filter { misses[$0] == least }
                let expected = nearest.count == 1 ? nearest[0] : nearest.first { $0 % 2 == 0 }!
                if parameters.scale != 1 || form.code.value(codes[0]) != values[expected] * sign {
                    wrong.append("\(number * sign) became \(form.code.value(codes[0])), scale \(parameters.scale)")
                }
            }
        }
        #expect(wrong.isEmpty)
    }

    /// What a code says exactly comes back exactly.
    @Test(arguments: forms) func codesComeBack(_ form: WeightQuantisation) {
        let all = (0..<1 << form.code.bitCount).map { form.code.value(UInt8($0)) }.filter { $0.isFinite && $0 > -128 }
        let symmetric = form.code == .int4 && !form.zeroPoints ? all.filter { $0 > -8 } : all
        for scale: Float in [1, 0.125, 0x1p20] {
            let weights = symmetric.map { $0 * scale }
            let (codes, parameters) = quantise(form, weights)
            #expect(decode(form, codes, parameters) == weights, "\(form) \(scale)")
        }
    }

    /// Scales are positive bf16 numbers, powers of two where asked.
    @Test(arguments: forms) func scales(_ form: WeightQuantisation) {
        let odd: [[Float]] = [
            [0, 0, 0], [-0.0, 0], [1e-38, -1e-38], [.greatestFiniteMagnitude / 4, -1], [5, 5, 5], [-5, -5], [0x1p-101],
        ]
        for weights in odd + (1...20).map({ self.weights(UInt64($0)) }) {
            let (codes, parameters) = quantise(form, weights)
            #expect(parameters.scale > 0 && parameters.scale.isFinite)
            #expect(parameters.scale.bitPattern & 0xffff == 0)
            if form.powerOfTwoScales { #expect(parameters.scale.significand == 1) }
            #expect(decode(form, codes, parameters).allSatisfy { $0.isFinite })
            if weights.allSatisfy({ abs($0) < 0x1p-100 }) {
                #expect(decode(form, codes, parameters).allSatisfy { $0 == 0 })
            }
        }
    }

    /// The same codes whatever rows are asked for together, and a layer of them is the layer over what they stand for.
    @Test(arguments: forms) func layersOfThem(_ form: WeightQuantisation) throws {
        let c = try MoEConfiguration(
            experts: 3, topK: 2, hidden: 256, expertHidden: 128, shared: .dense(width: 128), weightType: nil)
        let weights = MoEWeights.random(seed: 4).quantised(to: form)
        let source = try weights.source(c)
        for name in [WeightName.expert(1, .gate), .expert(2, .down), .shared(.up)] {
            let rows = c.shape(of: name).rows
            let whole = try source.floats(name, c)
            let columns = c.shape(of: name).columns
            for part in [0..<1, 5..<21, rows - 3..<rows] {
                #expect(
                    try source.floats(name, rows: part, c)
                        == Array(whole[part.lowerBound * columns..<part.upperBound * columns]))
            }
        }
        let x = try Tensor<Float>.random([7, 256], seed: 9)
        let expanded = MoEWeights(ExpandedWeights(source: source, configuration: c))
        for set in CPUInstructionSet.supported {
            let layers = try [weights, expanded].map {
                try MoELayer(c, weights: $0, pool: ThreadPool(threads: 2), instructionSet: set)
            }
            #expect(try layers[0].forward(x).y == layers[1].forward(x).y)
            #expect(layers[0].weightByteCount < layers[1].weightByteCount / 3)
        }
    }

    @Test func refusals() throws {
        func failure(_ body: () throws -> Void) -> String {
            do { try body() } catch { return "\(error)" }
            return "none"
        }
        #expect(failure { _ = try WeightQuantisation(code: .int8, group: 0) }.contains("group"))
        #expect(failure { _ = try WeightQuantisation(code: .float8E4M3, zeroPoints: true) }.contains("zero points"))
        let narrow = try MoEConfiguration(experts: 2, topK: 1, hidden: 96, expertHidden: 48)
        let pool = try ThreadPool(threads: 1)
        let message = failure {
            _ = try MoELayer(narrow, weights: .random(seed: 1).quantised(to: .int4Group128), pool: pool)
        }
        #expect(message.contains("group") && message.contains("128") && message.contains("96 inputs"))
        let whole = try MoEConfiguration(experts: 2, topK: 1, hidden: 96, expertHidden: 32)
        var odd = StoredWeights(configuration: whole, stored: .quantised(.float8E4M3, group: 96))
        odd.oddScale = (.expert(1, .up), 3, 0, .infinity)
        #expect(
            failure { _ = try MoELayer(whole, weights: MoEWeights(odd).quantised(to: .int8), pool: pool) }
                .contains("[3, "))
    }
}
