import Testing

@testable import MoEKernel

/// Layers over weights in every stored form give, bit for bit, what the same weights give when expanded to fp32.
@Suite struct StoredFormsTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var format: WeightFormat
        var scales = StoredWeights.Scales.float32
        var hidden: Int
        var expertHidden: Int
        var expert = ExpertKind.gated(.silu)

        var testDescription: String { "\(format) \(scales) H\(hidden) F\(expertHidden) \(expert)" }

        func configuration() throws -> MoEConfiguration {
            try MoEConfiguration(
                experts: 5, topK: 2, hidden: hidden, expertHidden: expertHidden, expert: expert,
                shared: .sigmoidGated(width: 40))
        }
    }

    /// Row lengths that no group, chunk or block divides, odd ones, and widths that no panel divides.
    static let cases: [Case] = [
        Case(format: .quantised(.float8E4M3, group: 128), hidden: 272, expertHidden: 136),
        Case(format: .quantised(.float8E4M3, group: 128), scales: .bfloat16, hidden: 515, expertHidden: 61),
        Case(format: .quantised(.float8E4M3, group: 1 << 20), hidden: 333, expertHidden: 21),
        Case(format: .quantised(.float8E4M3, group: 333), scales: .bfloat16, hidden: 333, expertHidden: 347),
        Case(
            format: .quantised(.float8E4M3, group: 512), scales: .powersOfTwo, hidden: 777, expertHidden: 48,
            expert: .plain(.gelu)),
        Case(format: .quantised(.float4E2M1, group: 32), scales: .powersOfTwo, hidden: 288, expertHidden: 96),
        Case(format: .quantised(.float4E2M1, group: 32), scales: .powersOfTwo, hidden: 307, expertHidden: 35),
        Case(format: .quantised(.float4E2M1, group: 16), hidden: 275, expertHidden: 49),
        Case(
            format: .quantised(.int4, group: 32), scales: .bfloat16, hidden: 301, expertHidden: 33,
            expert: .plain(.relu)),
        Case(format: .quantised(.int4, group: 128), hidden: 269, expertHidden: 260),
        Case(format: .quantised(.int4, group: 96), hidden: 290, expertHidden: 100),
        Case(format: .quantised(.int8, group: 1 << 20), hidden: 331, expertHidden: 45),
        Case(format: .quantised(.int8, group: 64), scales: .bfloat16, hidden: 517, expertHidden: 130),
        Case(format: .quantised(.int8, group: 32), hidden: 96, expertHidden: 39, expert: .plain(.silu)),
        Case(format: .quantised(.int8, group: 128, zeroPoints: true), hidden: 300, expertHidden: 50),
        Case(format: .quantised(.int8, group: 32, zeroPoints: true), scales: .bfloat16, hidden: 65, expertHidden: 257),
        Case(format: .quantised(.int4, group: 32, zeroPoints: true), scales: .bfloat16, hidden: 301, expertHidden: 33),
        Case(format: .quantised(.int4, group: 128, zeroPoints: true), hidden: 269, expertHidden: 260),
        Case(format: .quantised(.int4, group: 24, zeroPoints: true), hidden: 96, expertHidden: 48),
        // Groups that panels cannot keep: expanded on loading.
        Case(format: .quantised(.int4, group: 40), hidden: 90, expertHidden: 50),
        Case(format: .quantised(.float4E2M1, group: 8), hidden: 64, expertHidden: 31),
        // An even number of panels, whose last is not full: two share their rows where a vector holds a row.
        Case(format: .plain(.bfloat16), hidden: 310, expertHidden: 61),
        Case(format: .transposed(.bfloat16), hidden: 250, expertHidden: 45),
        Case(format: .transposed(.bfloat16), hidden: 28, expertHidden: 523, expert: .plain(.relu)),
        Case(format: .transposed(.bfloat16), hidden: 270, expertHidden: 37),
        Case(format: .transposed(.float16), hidden: 65, expertHidden: 24, expert: .plain(.silu)),
        Case(format: .transposed(.float32), hidden: 83, expertHidden: 19),
    ]

    @Test(arguments: cases) func equalsExpanded(_ test: Case) throws {
        let configuration = try test.configuration()
        let source = StoredWeights(configuration: configuration, stored: test.format, scales: test.scales)
        let expanded = ExpandedWeights(source: source, configuration: configuration)
        for set in CPUInstructionSet.supported {
            let reference = try MoELayer(
                configuration, weights: MoEWeights(expanded), pool: ThreadPool(threads: 1), instructionSet: set)
            for threads in 1...3 {
                let layer = try MoELayer(
                    configuration, weights: MoEWeights(source), pool: ThreadPool(threads: threads),
                    instructionSet: set)
                for tokens in [1, 2, 3, 5, 7, 30] {
                    let x = try Tensor<Float>.random([tokens, test.hidden], seed: UInt64(tokens))
                    let y = try layer.forward(x).y
                    let expected = try reference.forward(x).y
                    #expect(
                        y.elements.map(\.bitPattern) == expected.elements.map(\.bitPattern),
                        "\(set) \(threads) threads \(tokens) tokens")
                    #expect(y.elements.allSatisfy { $0.isFinite })
                }
            }
        }
    }

    /// One expert whose every code occurs, at each place of a chunk.
    @Test(arguments: WeightCode.allCases) func everyCode(_ code: WeightCode) throws {
        let configuration = try MoEConfiguration(
            experts: 1, topK: 1, hidden: 16, expertHidden: 256, expert: .plain(.relu))
        let codes = (0..<1 << code.bitCount).filter { code != .float8E4M3 || $0 & 0x7f != 0x7f }
        let source = FunctionCodes(configuration: configuration, code: code) { row, column in
            UInt8(codes[(row + column * 7) % codes.count])
        }
        let expanded = ExpandedWeights(source: source, configuration: configuration)
        for set in CPUInstructionSet.supported {
            let layers = try [source as any WeightSource, expanded].map {
                try MoELayer(
                    configuration, weights: MoEWeights($0), pool: ThreadPool(threads: 1), instructionSet: set)
            }
            for tokens in [1, 2, 16] {
                let x = try Tensor<Float>.random([tokens, 16], seed: 3)
                let (y, expected) = (try layers[0].forward(x).y, try layers[1].forward(x).y)
                #expect(y == expected, "\(set)")
            }
        }
    }

    /// Codes stay codes in memory: bits a weight, scales and all.
    @Test(arguments: [
        (WeightFormat.quantised(.float4E2M1, group: 32), StoredWeights.Scales.powersOfTwo, 4.6),
        (.quantised(.int4, group: 32), .bfloat16, 4.6), (.quantised(.int4, group: 128), .bfloat16, 4.3),
        (.quantised(.int4, group: 32), .float32, 5.2), (.quantised(.float8E4M3, group: 128), .float32, 8.4),
        (.quantised(.float8E4M3, group: 4096), .bfloat16, 8.2), (.quantised(.int8, group: 4096), .float32, 8.3),
        (.quantised(.int8, group: 64), .bfloat16, 8.3),
        (.quantised(.int4, group: 32, zeroPoints: true), .bfloat16, 5.1),
        (.quantised(.int4, group: 128, zeroPoints: true), .bfloat16, 4.4),
    ]) func memory(_ format: WeightFormat, _ scales: StoredWeights.Scales, _ bits: Double) throws {
        let configuration = try MoEConfiguration(experts: 2, topK: 1, hidden: 1024, expertHidden: 256)
        let source = StoredWeights(configuration: configuration, stored: format, scales: scales)
        let layer = try MoELayer(configuration, weights: MoEWeights(source), pool: ThreadPool(threads: 2))
        let router = 16 * 1024 * 4
        let weights = 2 * 3 * 1024 * 256
        #expect(Double((layer.weightByteCount - router) * 8) / Double(weights) < bits)
    }

    /// A type that is asked for wins over the stored form.
    @Test(arguments: ElementType.allCases) func convertedOnRequest(_ type: ElementType) throws {
        func layer(_ source: (MoEConfiguration) -> any WeightSource) throws -> MoELayer {
            let configuration = try MoEConfiguration(
                experts: 3, topK: 2, hidden: 100, expertHidden: 40, weightType: type)
            return try MoELayer(
                configuration, weights: MoEWeights(source(configuration)), pool: ThreadPool(threads: 2))
        }
        let x = try Tensor<Float>.random([9, 100], seed: 3)
        for format in [WeightFormat.quantised(.int4, group: 32), .transposed(.bfloat16), .plain(.float16)] {
            let stored = try layer { StoredWeights(configuration: $0, stored: format) }
            let expanded = try layer {
                ExpandedWeights(source: StoredWeights(configuration: $0, stored: format), configuration: $0)
            }
            let (y, expected) = (try stored.forward(x).y, try expanded.forward(x).y)
            #expect(y == expected)
            #expect(stored.weightByteCount == expanded.weightByteCount)
        }
    }

    /// Experts stored in several forms share fp32 panels.
    @Test func mixedForms() throws {
        let configuration = try MoEConfiguration(experts: 4, topK: 2, hidden: 72, expertHidden: 40)
        for other in [WeightFormat.plain(.bfloat16), .transposed(.bfloat16), .quantised(.int4, group: 32)] {
            var source = StoredWeights(configuration: configuration, stored: .quantised(.float8E4M3, group: 128))
            source.others = (2, other)
            let expanded = ExpandedWeights(source: source, configuration: configuration)
            let x = try Tensor<Float>.random([9, 72], seed: 3)
            let pool = try ThreadPool(threads: 2)
            let y = try MoELayer(configuration, weights: MoEWeights(source), pool: pool).forward(x).y
            let expected = try MoELayer(configuration, weights: MoEWeights(expanded), pool: pool).forward(x).y
            #expect(y == expected)
        }
    }

    private func failure(_ source: StoredWeights) -> String {
        do {
            _ = try MoELayer(
                source.configuration, weights: MoEWeights(source), pool: ThreadPool(threads: 2))
            return "none"
        } catch {
            return "\(error)"
        }
    }

    @Test func notANumber() throws {
        let configuration = try MoEConfiguration(experts: 3, topK: 2, hidden: 70, expertHidden: 40)
        for format in [WeightFormat.quantised(.float8E4M3, group: 32), .quantised(.float8E4M3, group: 24)] {
            for code: UInt8 in [0x7f, 0xff] {
                var source = StoredWeights(configuration: configuration, stored: format)
                source.oddCode = (.expert(1, .up), 37, 69, code)
                #expect(failure(source).contains("experts[1].up"))
                #expect(failure(source).contains("[37, 69]"))
            }
        }
        for code in WeightCode.allCases {
            for group in [32, 24] {
                for scale in [Float.nan, .infinity, -.infinity] {
                    var source = StoredWeights(configuration: configuration, stored: .quantised(code, group: group))
                    source.oddScale = (.expert(2, .down), 69, 1, scale)
                    #expect(failure(source).contains("experts[2].down"))
                    #expect(failure(source).contains("scale at [69, 1]"))
                }
            }
        }
    }

    /// No scale is negative, and none of whole numbers is zero; a zero point is a code.
    @Test func impossibleScales() throws {
        let configuration = try MoEConfiguration(experts: 3, topK: 2, hidden: 70, expertHidden: 40)
        for code in WeightCode.allCases {
            for group in [32, 24] {
                for scale: Float in code.isInteger ? [-0.01, 0] : [-0.01] {
                    var source = StoredWeights(configuration: configuration, stored: .quantised(code, group: group))
                    source.oddScale = (.expert(2, .down), 69, 1, scale)
                    #expect(failure(source).contains("scale at [69, 1] is \(scale)"))
                }
            }
            if !code.isInteger {
                let source = StoredWeights(
                    configuration: configuration, stored: .quantised(code, group: 32, zeroPoints: true))
                #expect(failure(source).contains("\(code.rawValue) codes have zero points"))
            }
        }
        for group in [32, 24] {
            var source = StoredWeights(
                configuration: configuration, stored: .quantised(.int4, group: group, zeroPoints: true))
            source.oddZero = (.expert(0, .up), 39, 2, 16)
            #expect(failure(source).contains("zero point at [39, 2] is 16"))
        }
    }

    /// Finite scales of any size load where their weights are finite; a weight that is not is named.
    @Test func extremeScales() throws {
        let configuration = try MoEConfiguration(experts: 3, topK: 2, hidden: 70, expertHidden: 40)
        for scale: Float in [0x1p-149, 0, -0.0, 0x1p100] {
            var source = StoredWeights(configuration: configuration, stored: .quantised(.float8E4M3, group: 32))
            source.oddScale = (.expert(0, .gate), 3, 0, scale)
            let expanded = ExpandedWeights(source: source, configuration: configuration)
            let pool = try ThreadPool(threads: 1)
            let x = try Tensor<Float>.random([3, 70], seed: 3)
            let y = try MoELayer(configuration, weights: MoEWeights(source), pool: pool).forward(x).y
            let expected = try MoELayer(configuration, weights: MoEWeights(expanded), pool: pool).forward(x).y
            #expect(y.elements.map(\.bitPattern) == expected.elements.map(\.bitPattern))
        }
        var source = StoredWeights(configuration: configuration, stored: .quantised(.float4E2M1, group: 32))
        source.oddScale = (.expert(0, .gate), 3, 0, 0x1p127)
        source.oddCode = (.expert(0, .gate), 3, 7, 7)
        #expect(failure(source).contains("experts[0].gate"))
    }
}

/// Codes given by a function, with the scale 2⁻³.
struct FunctionCodes: WeightSource {
    let configuration: MoEConfiguration
    let code: WeightCode
    var group = 16
    let function: @Sendable (Int, Int) -> UInt8

    func format(of name: WeightName) -> WeightFormat {
        name == .router ? .plain(.float32) : .quantised(code, group: group)
    }
    func read(_ name: WeightName, rows: Range<Int>, into target: UnsafeMutableRawBufferPointer) throws(MoEError) {
        let columns = configuration.shape(of: name).columns
        if name == .router {
            for index in 0..<target.count { target[index] = 0 }
            return
        }
        let rowBytes = format(of: name).rowBytes(columns)
        for (index, row) in rows.enumerated() {
            for byte in 0..<rowBytes {
                target[index * rowBytes + byte] =
                    code.bitCount == 8
                    ? function(row, byte) : function(row, 2 * byte) | function(row, 2 * byte + 1) << 4
            }
        }
    }
    func readScales(
        _ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableBufferPointer<Float>
    ) throws(MoEError) {
        for index in destination.indices { destination[index] = 0.125 }
    }
}
