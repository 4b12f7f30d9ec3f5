import Testing

@testable import MoEKernel

@Suite(.timeLimit(.minutes(2))) struct LayerStackTests {
    private static let hidden = 72

    private static func layers(_ count: Int = 3, threads: Int = 2) throws -> [MoELayer] {
        let pool = try ThreadPool(threads: threads)
        let configuration = try MoEConfiguration(
            experts: 6, topK: 2, hidden: hidden, expertHidden: 40, shared: .sigmoidGated(width: 24))
        return try (0..<count).map { try MoELayer(configuration, weights: .random(seed: UInt64($0 + 1)), pool: pool) }
    }

    /// The stack is x + layer(rmsNorm(x)) again and again, then a norm: here in float64, but for the layers themselves.
    @Test func theStackIsItsFormula() throws {
        let layers = try Self.layers()
        let x = try Tensor<Float>.random([11, Self.hidden], seed: 5)
        let found = try MoELayerStack(layers).forward(x)
        var stream = x.elements.map { Double($0) }
        func norm() -> [Double] {
            (0..<11).flatMap { row in
                let values = stream[row * Self.hidden..<(row + 1) * Self.hidden]
                let mean = values.reduce(0) { $0 + $1 * $1 } / Double(Self.hidden)
                return values.map { $0 / (mean + 1e-6).squareRoot() }
            }
        }
        for layer in layers {
            let y = try layer.forward(Tensor<Float>(shape: x.shape, norm().map { Float($0) })).y
            for (index, value) in y.elements.enumerated() { stream[index] += Double(value) }
        }
        // Layers magnify a rounding of their input by what they do to a vector; these are far from doing so by a hundred.
        for (value, expected) in zip(found.elements, norm()) { #expect(abs(Double(value) - expected) < 1e-4) }
    }

    /// The promise: a request's rows are bit for bit the same alone and in a crowd, in pieces of any length, on any number of threads.
    @Test func aCrowdChangesNoBit() async throws {
        struct Asked { let prompt: [Float], output: Int }
        let asked = try (0..<14).map { index in
            Asked(
                prompt: try Tensor<Float>.random([1 + index * 5 % 17, Self.hidden], seed: UInt64(40 + index)).elements,
                output: 2 + index * 3 % 7)
        }
        var alone: [[UInt32]] = []
        let quiet = try MoEEngine(
            MoELayerStack(try Self.layers(threads: 1)),
            limits: MoEEngineLimits(maximumRunning: 1, maximumBatchTokens: 64))
        for request in asked {
            let generation = try await quiet.submit(prompt: request.prompt, outputTokens: request.output)
            let (values, error) = await generation.collected()
            #expect(error == nil && values.count == request.output * Self.hidden)
            #expect(!values.contains { !$0.isFinite })
            alone.append(values.map(\.bitPattern))
        }
        #expect(Set(alone).count == alone.count)
        for (running, batch, threads) in [(4, 5, 2), (14, 64, 3)] {
            let crowd = try MoEEngine(
                MoELayerStack(try Self.layers(threads: threads)),
                limits: MoEEngineLimits(maximumRunning: running, maximumBatchTokens: batch))
            let generations = try await crowd.between { engine in
                try asked.map { try engine.submit(prompt: $0.prompt, outputTokens: $0.output) }
            }
            for (index, generation) in generations.enumerated() {
                #expect(await generation.collected().values.map(\.bitPattern) == alone[index], "request \(index)")
            }
            await crowd.shutdown()
            #expect(await crowd.statistics.steps < asked.reduce(0) { $0 + $1.output + 17 })
        }
    }

    /// Its memory is that of the largest step, however many there are.
    @Test func memoryFollowsTheLargestStep() throws {
        let stack = try MoELayerStack(try Self.layers(2))
        let weights = stack.layers.reduce(0) { $0 + $1.weightByteCount }
        _ = try stack.forward(try Tensor<Float>.random([24, Self.hidden], seed: 1))
        let after = stack.byteCount
        #expect(after > weights)
        for tokens in [1, 24, 7, 24, 3] {
            _ = try stack.forward(try Tensor<Float>.random([tokens, Self.hidden], seed: 1))
        }
        #expect(stack.byteCount == after)
    }

    /// The example of the documentation's article on serving.
    @Test func theDocumentedExampleRuns() async throws {
        let pool = try ThreadPool()
        let configuration = try MoEConfiguration(experts: 8, topK: 2, hidden: 64, expertHidden: 128)
        let layers = try (0..<4).map { try MoELayer(configuration, weights: .random(seed: $0), pool: pool) }
        let limits = try MoEEngineLimits(maximumRunning: 16, maximumWaiting: 64, maximumBatchTokens: 128)
        let engine = try MoEEngine(MoELayerStack(layers), limits: limits)

        let prompt = [Float](repeating: 0.1, count: 5 * 64)  // [5, hidden]
        var rows = 0
        do throws(MoEEngineError) {
            for try await row in try await engine.submit(prompt: prompt, outputTokens: 8) {
                #expect(row.count == 64)
                rows += 1
            }
        } catch .queueFull {
            Issue.record("the queue is full")
        }
        await engine.shutdown()
        #expect(rows == 8)
    }

    @Test func layersThatDoNotFitAreRefused() throws {
        #expect(throws: MoEError.self) { try MoELayerStack([]) }
        let other = try MoELayer(
            MoEConfiguration(experts: 2, topK: 1, hidden: 40, expertHidden: 8), weights: .random(seed: 1))
        let layers = try Self.layers(1)
        #expect(throws: MoEError.self) { try MoELayerStack(layers + [other]) }
        #expect(throws: MoEError.self) {
            try MoELayerStack(layers).forward(try Tensor<Float>(shape: [2, 40], repeating: 0))
        }
    }
}
