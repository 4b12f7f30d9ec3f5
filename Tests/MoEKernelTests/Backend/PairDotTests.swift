import MicroKernels
import Testing

@testable import MoEKernel

/// Experts on bf16 activations: the kernels against the arithmetic of `vdpbf16ps` in plain loops, bit for bit, and layers
/// against the float64 reference that rounds activations by the same rule.
@Suite struct PairDotTests {
    /// Depths below, at and above pairs, groups and blocks; rows that fill one tile and several; columns that fill panels and
    /// do not, as many panels as a lone tile of so many rows takes together.
    static let shapes: [(depth: Int, columns: Int, rows: Int)] = [
        (1, 1, 1), (2, 70, 2), (3, 81, 3), (31, 72, 4), (32, 65, 5), (33, 112, 6), (64, 130, 1), (255, 70, 7),
        (256, 64, 8), (257, 129, 9), (300, 31, 10), (511, 48, 11), (512, 112, 12), (513, 80, 25), (129, 150, 40),
    ]

    /// Every set's sums are those of the documented order, in which a product needs no rounding of its own.
    @Test(arguments: shapes) func kernelsAreExact(depth: Int, columns: Int, rows: Int) throws {
        let configuration = try MoEConfiguration(
            experts: 1, topK: 1, hidden: depth, expertHidden: columns, expert: .plain(.relu))
        let source = StoredWeights(configuration: configuration, stored: .plain(.bfloat16))
        let weights = try source.floats(.expert(0, .up), configuration)
        let x = try Tensor<Float>.random([rows, depth], seed: 3).elements
        let expected = Self.product(x, weights, depth: depth, columns: columns, rows: rows)
        for set in CPUInstructionSet.supported {
            var kernels: [(any PairDotKernels, CPUTuning)] = CPUTuning.everyTile(of: set).map { (set.pairDots, $0) }
            kernels += set.supportedPairDots.map { ($0, CPUTuning.detected(set)) }
            if set == .baseline {
                kernels += CPUTuning.everyTile(of: .avx512).map { (WidePairDots(), $0) }
            }
            for (kernels, tuning) in kernels {
                let y = try Self.sweep(
                    kernels, tuning, x, of: source, configuration, depth: depth, columns: columns, rows: rows)
                #expect(
                    y.map(\.bitPattern) == expected.map(\.bitPattern), "\(kernels.name) by tiles of \(tuning.tileRows)")
            }
        }
    }

    /// x rounded to bf16 times the weights' transpose, in the documented order.
    private static func product(
        _ x: [Float], _ weights: [Float], depth: Int, columns: Int, rows: Int
    ) -> [Float] {
        let a = x.map { Float(BFloat16($0)) }
        var y: [Float] = []
        for row in 0..<rows {
            for column in 0..<columns {
                var total: Float = 0
                for start in stride(from: 0, to: depth, by: 256) {
                    let end = min(start + 256, depth)
                    var sum: Float = 0
                    for k in stride(from: start, to: end, by: 2) {
                        if k + 1 < end {
                            sum = sum.addingProduct(weights[column * depth + k + 1], a[row * depth + k + 1])
                        }
                        sum = sum.addingProduct(weights[column * depth + k], a[row * depth + k])
                    }
                    total += sum
                }
                y.append(total)
            }
        }
        return y
    }

    private static func sweep(
        _ kernels: any PairDotKernels, _ tuning: CPUTuning, _ x: [Float], of source: any WeightSource,
        _ configuration: MoEConfiguration, depth: Int, columns: Int, rows: Int
    ) throws -> [Float] {
        var layout = RegionLayout()
        var matrices = PackedMatrices(
            groups: 1, depth: depth, columns: columns, gated: false, format: .bfloat16Pairs, hasBiases: false,
            layout: &layout)
        let region = try MemoryRegion(bytes: layout.byteCount, purpose: "test weights")
        matrices.place(in: region)
        try PackingJob(matrices: matrices, rows: { _ in [.init(.expert(0, .up), columns)] })
            .pack(configuration, from: source, pool: ThreadPool(threads: 1))
        let split = TileSplit(rows: rows, tileRows: tuning.tileRows)
        let tileFloats = matrices.tileFloats(tuning.tileRows)
        let size = SweepScratch.Size(
            rows: rows, tuning: tuning, panelsTogether: kernels.panelsTogether, roundsActivations: true)
        // NaN where nothing may be read, or must be written.
        var tiles = [Float](repeating: .nan, count: split.count * tileFloats)
        var scratch = [Float](repeating: .nan, count: size.total)
        var y = [Float](repeating: .nan, count: rows * columns)
        withExtendedLifetime(region) {
            x.withUnsafeBytes { x in
                tiles.withUnsafeMutableBufferPointer { tiles in
                    for tile in 0..<split.count {
                        kernels.pack(
                            PackRows(
                                source: x.baseAddress!, bfloat16: false, depth: depth, tokens: nil,
                                firstToken: split.start(tile), rows: split.start(tile + 1) - split.start(tile),
                                tile: tiles.baseAddress! + tile * tileFloats,
                                blockStride: tuning.tileRows * PanelLayout.block))
                    }
                    scratch.withUnsafeMutableBufferPointer { scratch in
                        y.withUnsafeMutableBufferPointer { y in
                            kernels.sweep(
                                PanelSweep(
                                    activations: UnsafePointer(tiles.baseAddress!), tileStride: tileFloats,
                                    blockStride: tuning.tileRows * PanelLayout.block, tiles: split, depth: depth,
                                    weights: matrices.weights(ofGroup: 0), format: .bfloat16Pairs,
                                    panels: 0..<matrices.panels, after: nil, biases: nil,
                                    accumulators: scratch.baseAddress! + size.widened, widened: scratch.baseAddress!,
                                    epilogue: .store(y.baseAddress!, columns: columns), tuning: tuning.sweep))
                        }
                    }
                }
            }
        }
        return y
    }

    struct Case: RoundedLayerCase {
        static let arithmetic = ExpertArithmetic.bfloat16Activations
        var format = WeightFormat.plain(.bfloat16)
        var hidden: Int
        var expertHidden: Int
        var expert = ExpertKind.gated(.silu)
        var weightSide = WeightSide.output
        var latent: Int?

        var testDescription: String { "\(format) H\(hidden) F\(expertHidden) \(expert) latent \(latent ?? 0)" }

        func source() throws -> StoredWeights {
            StoredWeights(configuration: try configuration(), stored: format)
        }
    }

    static let cases: [Case] = [
        Case(hidden: 256, expertHidden: 96),
        Case(hidden: 301, expertHidden: 33),
        Case(hidden: 269, expertHidden: 261, expert: .plain(.relu)),
        Case(hidden: 97, expertHidden: 130, expert: .plain(.gelu)),
        Case(format: .transposed(.bfloat16), hidden: 331, expertHidden: 45),
        Case(format: .transposed(.bfloat16), hidden: 64, expertHidden: 2051, expert: .plain(.silu)),
        Case(
            hidden: 140, expertHidden: 47,
            expert: .gatedClamped(.init(limit: 2, alpha: 1.702, upOffset: 1), biases: true)),
        Case(hidden: 200, expertHidden: 72, weightSide: .input),
        Case(hidden: 160, expertHidden: 64, latent: 51),
        Case(hidden: 1, expertHidden: 1),
        Case(hidden: 7, expertHidden: 3),
    ]

    @Test(arguments: cases) func agreesWithReference(_ test: Case) throws { try expectAgreement(test) }

    @Test(arguments: cases) func isDeterministic(_ test: Case) throws { try expectDeterminism(test) }

    /// Rows of inputs and rows of outputs are packed to the same panels.
    @Test(arguments: [(16, 16), (257, 33), (2051, 40)]) func transposedIsTheSame(hidden: Int, expertHidden: Int) throws
    {
        let test = Case(hidden: hidden, expertHidden: expertHidden)
        let x = try Tensor<Float>.random([9, hidden], seed: 5)
        let results = try [WeightFormat.plain(.bfloat16), .transposed(.bfloat16)].map { format in
            let source = StoredWeights(configuration: try test.configuration(), stored: format)
            return try test.layer(source, threads: 2).forward(x).y
        }
        #expect(results[0] == results[1])
    }

    /// fp32 weights that are asked to be kept in bf16 are multiplied as stored bf16 weights are.
    @Test func weightsKeptInBFloat16() throws {
        let stored = try MoEConfiguration(experts: 3, topK: 2, hidden: 65, expertHidden: 40)
        let kept = try MoEConfiguration(experts: 3, topK: 2, hidden: 65, expertHidden: 40, weightType: .bfloat16)
        let x = try Tensor<Float>.random([20, 65], seed: 2)
        let expected = try MoELayer(
            stored, weights: MoEWeights(StoredWeights(configuration: stored, stored: .plain(.bfloat16))),
            arithmetic: .bfloat16Activations
        ).forward(x).y
        let y = try MoELayer(
            kept, weights: MoEWeights(StoredWeights(configuration: kept, stored: .plain(.float32))),
            arithmetic: .bfloat16Activations
        ).forward(x).y
        #expect(y == expected)
    }

    /// Rounding is ``BFloat16``'s, of every kind of number: middles between neighbours, both zeros, the smallest and the
    /// largest, what is not finite.
    @Test func roundsAsBFloat16() throws {
        let odd: [Float] = [
            0, -0.0, 1, 1 + 0x1p-8, 1 + 0x1p-7, 1 + 0x1p-8 + 0x1p-23, 1 + 3 * 0x1p-8, -(1 + 3 * 0x1p-8), 0x1p-126,
            .leastNonzeroMagnitude, .greatestFiniteMagnitude, -.greatestFiniteMagnitude, .infinity, -.infinity, .nan,
            Float(bitPattern: 0x7f80_0001), Float(bitPattern: 0xff80_ffff), .pi,
        ]
        var generator = SeededGenerator(seed: 1)
        let values =
            odd + (0..<1006).map { _ in Float(bitPattern: UInt32.random(in: 0...UInt32.max, using: &generator)) }
        for kernels in CPUInstructionSet.supported.flatMap(\.supportedPairDots) {
            var tile = [UInt32](repeating: 0, count: 4 * 256)
            tile.withUnsafeMutableBytes { tile in
                values.withUnsafeBytes { values in
                    kernels.pack(
                        PackRows(
                            source: values.baseAddress!, bfloat16: false, depth: values.count / 4, tokens: nil,
                            firstToken: 0, rows: 1, tile: tile.baseAddress!.assumingMemoryBound(to: Float.self),
                            blockStride: 256))
                }
            }
            for (k, value) in values.enumerated() {
                let word = tile[k / 256 * 256 + k % 256 / 2]
                let half = UInt16(truncatingIfNeeded: k % 2 == 0 ? word : word >> 16)
                #expect(half == BFloat16(value).bitPattern, "\(kernels.name): \(value)")
            }
        }
    }

    /// Huge and not finite activations; a token of them leaves the others alone.
    @Test func oddActivations() throws {
        let test = Case(hidden: 65, expertHidden: 33)
        let source = StoredWeights(configuration: try test.configuration(), stored: .plain(.bfloat16))
        var x = try Tensor<Float>.random([12, 65], seed: 6)
        let layer = try test.layer(source, threads: 1)
        let expected = try layer.forward(x).y.elements
        var elements = x.elements
        elements[65 + 40] = .infinity
        elements[2 * 65] = .nan
        elements[3 * 65 + 64] = 1e15
        x = try Tensor(shape: [12, 65], elements)
        let y = try layer.forward(x).y.elements
        #expect(y[65..<130].contains { !$0.isFinite })
        #expect(y[130..<195].allSatisfy { $0.isNaN })
        #expect(y[195..<260].allSatisfy { $0.isFinite })
        for token in 4..<12 {
            let row = token * 65..<(token + 1) * 65
            #expect(y[row] == expected[row], "token \(token)")
        }
        #expect(y[..<65] == expected[..<65])
    }

    /// What the documentation says of the error.
    @Test func costsAFewThousandths() throws {
        let configuration = try MoEConfiguration(
            experts: 8, topK: 2, hidden: 512, expertHidden: 384, weightType: .bfloat16)
        let exact = try MoELayer(configuration, weights: .random(seed: 2))
        let rounded = try MoELayer(configuration, weights: .random(seed: 2), arithmetic: .bfloat16Activations)
        let x = try Tensor<Float>.random([64, 512], seed: 8)
        let y = try exact.forward(x).y.elements.map { Double($0) }
        let error = relativeError(try rounded.forward(x).y.elements, y)
        #expect(error > 0.001 && error < 0.004, "\(error)")
    }

    @Test(arguments: [
        WeightFormat.plain(.float32), .plain(.float16), .transposed(.float16), .quantised(.float8E4M3, group: 32),
        .quantised(.int8, group: 32),
    ])
    func refusesOtherWeights(_ format: WeightFormat) throws {
        let configuration = try MoEConfiguration(experts: 3, topK: 1, hidden: 64, expertHidden: 64)
        // All experts, and the last one alone.
        for (first, name) in [(0, "experts[0].gate"), (2, "experts[2].gate")] {
            var source = StoredWeights(configuration: configuration, stored: .plain(.bfloat16))
            source.others = (first, format)
            #expect {
                try MoELayer(configuration, weights: MoEWeights(source), arithmetic: .bfloat16Activations)
            } throws: { error in
                guard case .weights(let tensor, let problem)? = error as? MoEError else { return false }
                return tensor.contains(name) && problem.contains("expected bf16")
            }
        }
        let kept = try MoEConfiguration(experts: 3, topK: 1, hidden: 64, expertHidden: 64, weightType: .float32)
        #expect {
            try MoELayer(
                kept, weights: MoEWeights(StoredWeights(configuration: kept, stored: .plain(.bfloat16))),
                arithmetic: .bfloat16Activations)
        } throws: { error in
            guard case .configuration(let field, let value, let expectation)? = error as? MoEError else { return false }
            return field == "weightType" && value == "fp32" && expectation.contains("bf16")
        }
    }

    /// Weights that are not finite are still found where they lie, in either half of a pair and in either of two panels that are laid
    /// out together.
    @Test(arguments: [(18, 6), (18, 7), (26, 3)], [ExpertArithmetic.exact, .bfloat16Activations])
    func refusesWeightsThatAreNotFinite(_ place: (row: Int, column: Int), _ arithmetic: ExpertArithmetic) throws {
        let configuration = try MoEConfiguration(experts: 2, topK: 1, hidden: 9, expertHidden: 28)
        let source = OddNumber(
            source: StoredWeights(configuration: configuration, stored: .plain(.bfloat16)),
            configuration: configuration, name: .expert(1, .up), row: place.row, column: place.column)
        #expect {
            try MoELayer(configuration, weights: MoEWeights(source), arithmetic: arithmetic)
        } throws: { error in
            guard case .weights(_, let problem)? = error as? MoEError else { return false }
            return problem.contains("[\(place.row), \(place.column)]")
        }
    }
}

/// One number of one tensor replaced by infinity.
private struct OddNumber: WeightSource {
    let source: StoredWeights
    let configuration: MoEConfiguration
    let name: WeightName
    let row: Int
    let column: Int

    func format(of name: WeightName) -> WeightFormat { source.format(of: name) }
    func read(_ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(MoEError) {
        try source.read(name, rows: rows, into: destination)
        guard name == self.name, rows.contains(row) else { return }
        let depth = configuration.shape(of: name).columns
        destination.storeBytes(
            of: 0x7f80, toByteOffset: ((row - rows.lowerBound) * depth + column) * 2, as: UInt16.self)
    }
}

/// The tiles of AVX512-BF16 with plain arithmetic in place of its instruction, so that every processor checks all but that.
private enum WidePairs: PairDotSet, FusedArithmetic {
    typealias Vector = SIMD16<Float>
    typealias Words = SIMD16<UInt32>

    static var passes: Int { 1 }
    static func weights(_ words: UnsafeRawPointer, pass: Int) -> Words { words.loadUnaligned(as: Words.self) }
    static func activations(_ word: UnsafePointer<UInt32>, pass: Int) -> Words { Words(repeating: word.pointee) }
    static func pairDot(_ sum: Vector, _ weights: Words, _ activations: Words) -> Vector {
        func high(_ words: Words) -> Vector {
            unsafeBitCast(words & Words(repeating: 0xffff_0000), to: Vector.self)
        }
        func low(_ words: Words) -> Vector { unsafeBitCast(words &<< 16, to: Vector.self) }
        // Exact products: rounded once, as a fused multiply-add is.
        return sum + high(weights) * high(activations) + low(weights) * low(activations)
    }
    static func settled(_ sum: Vector) -> Vector { sum }
    static var sharedPanels: Int { 2 }
    static func panelsTogether(rows: Int) -> Int { widePanelsTogether(rows: rows) }
    static func tile(rows: Int, panels: Int, _ operands: PairDotOperands) {
        wideTile(rows: rows, panels: panels, operands)
    }
}

private struct WidePairDots: PairDotKernels {
    var name: String { "tiles of AVX512-BF16" }
    var panelsTogether: Int { WidePairs.panelsTogether(rows: 1) }
    var lanes: Int { WidePairs.Vector.scalarCount }
    func sweep(_ sweep: PanelSweep) { sweepRounded(WidePairs.self, sweep) }
    func pack(_ pack: PackRows) { roundRows(WidePairs.self, pack) }
    func dotChains(steps: Int, seed: UInt32) -> Float { pairDotChains(WidePairs.self, steps: steps, seed: seed) }
}
