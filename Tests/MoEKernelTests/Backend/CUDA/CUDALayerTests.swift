import CUDAFake
import CUDATwins
import Testing

@testable import MoEKernel

/// A layer on a GPU beside its mathematics: memory, streams, graphs, weights of every form, bad input. Kernels run on the CPU.
@Suite struct CUDALayerTests {
    private let pool = try! ThreadPool(threads: 1)

    /// Runs `body` and expects that nothing was used as CUDA forbids, and that everything was given back.
    private func onDevice<R>(
        _ machine: fake_machine = smallMachine(), sourceLocation: SourceLocation = #_sourceLocation,
        _ body: (CUDADevice) throws -> R
    ) throws -> R {
        let (result, misuse) = try withTwinMachine(machine) { device in
            let result = try body(device)
            return result
        }
        #expect(misuse == nil, sourceLocation: sourceLocation)
        return result
    }

    private func configuration(
        _ type: ElementType = .bfloat16, hidden: Int = 64, expertHidden: Int = 40, experts: Int = 6, topK: Int = 2,
        expert: ExpertKind = .gated(.silu), shared: SharedExpert = .none, capacity: Capacity = .unlimited
    ) throws -> MoEConfiguration {
        try MoEConfiguration(
            experts: experts, topK: topK, hidden: hidden, expertHidden: expertHidden, expert: expert, shared: shared,
            weightType: type, capacity: capacity)
    }

    /// The largest relative error of a token, and how many have no experts.
    private func worst(_ y: [Float], _ reference: ReferenceBackend.Forward, hidden: Int) -> Double {
        (0..<y.count / hidden).reduce(0) { worst, token in
            var error = 0.0, norm = 0.0
            for h in token * hidden..<(token + 1) * hidden {
                error += (Double(y[h]) - reference.y[h]) * (Double(y[h]) - reference.y[h])
                norm += reference.y[h] * reference.y[h]
            }
            return norm == 0 ? (error == 0 ? worst : .infinity) : max(worst, (error / norm).squareRoot())
        }
    }

    // MARK: Batches

    /// Every way that the number of tokens may lie to tiles, blocks and the limits between kernels.
    @Test(arguments: [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 129, 300])
    func takesAnyNumberOfTokens(_ tokens: Int) throws {
        let c = try configuration(shared: .dense(width: 24))
        try onDevice { device in
            let layer = try MoELayer(c, weights: .random(seed: 2), on: device, pool: pool)
            let x = try Tensor(
                shape: [tokens, 64],
                Tensor<Float>.random([tokens, 64], seed: UInt64(tokens)).elements.map(ElementType.bfloat16.rounded))
            let output = try layer.forward(x)
            #expect(output.routing.tokens == tokens && output.y.shape == [tokens, 64])
            let reference = try ReferenceBackend(c, source: MoEWeights.random(seed: 2).source(c)).forward(x.elements)
            // Inner values are rounded to bf16: by 2⁻⁹ at most, twice that for few of them.
            #expect(worst(output.y.elements, reference, hidden: 64) <= 0x1p-8)
            #expect(output.routing.expertIndices.map { Int($0) } == reference.expertIndices)
        }
    }

    /// All tokens on the same experts, the others without any.
    @Test(arguments: [3, 40, 200]) func allTokensOnOneExpert(_ tokens: Int) throws {
        let c = try MoEConfiguration(
            experts: 8, topK: 1, hidden: 48, expertHidden: 32, router: .init(hasSelectionBias: true),
            weightType: .bfloat16)
        try onDevice { device in
            let weights = MoEWeights.random(seed: 5)
            let plain = try MoELayer(c, weights: weights, on: device, pool: pool)
            let layer = try plain.withSelectionBias([0, 0, 0, 0, 0, 100, 0, 0])
            let x = try Tensor<Float>.random([tokens, 48], seed: 1)
            let routing = try layer.forward(x).routing
            #expect(routing.expertIndices == Array(repeating: 5, count: tokens))
            #expect(try plain.forward(x).routing.expertIndices != routing.expertIndices || tokens == 1)
            #expect(layer.selectionBias?[5] == 100)
        }
    }

    // MARK: Device tensors, streams, graphs

    @Test func hostAndDeviceFormsAgree() throws {
        let c = try configuration(shared: .sigmoidGated(width: 16))
        try onDevice { device in
            let layer = try MoELayer(c, weights: .random(seed: 7), on: device, pool: pool)
            #expect(layer.device == .cuda(0) && layer.pool == nil && layer.instructionSet == nil && layer.tuning == nil)
            let x = try Tensor<Float>.random([3, 5, 64], seed: 3)
            let host = try layer.forward(x)
            let stream = try CUDAStream(on: device)
            let y = try DeviceTensor(shape: x.shape, .float32, on: stream)
            var workspace = CUDAWorkspace()
            try layer.forward(DeviceTensor(x, on: stream), into: y, workspace: &workspace, on: stream)
            #expect(try y.tensor(of: Float.self, on: stream) == host.y)
            let routing = try #require(try workspace.routing(on: stream))
            #expect(routing == host.routing)
            // The server's form, twice on one workspace.
            var memory = MoEWorkspace()
            var out = try Tensor<Float>(shape: x.shape, repeating: .nan)
            for _ in 0..<2 { try layer.forward(x.span, into: &out.mutableSpan, workspace: &memory) }
            #expect(out == host.y)
            #expect(memory.routing == host.routing)
            #expect(memory.droppedChoices == 0)
            let load = memory.withTokensPerExpert { load in (0..<load.count).map { Int(load[$0]) } }
            #expect(load == host.routing.tokensPerExpert)
            #expect(memory.byteCount > 0 && workspace.byteCount > 0)
        }
    }

    /// A recorded call gives what the call gives, for new numbers in the same memory.
    @Test func capturesIntoAGraph() throws {
        let c = try configuration()
        try onDevice { device in
            let layer = try MoELayer(c, weights: .random(seed: 7), on: device, pool: pool)
            let stream = try CUDAStream(on: device)
            let first = try Tensor<Float>.random([4, 64], seed: 3)
            let x = try DeviceTensor(first, on: stream)
            let y = try DeviceTensor(shape: [4, 64], .float32, on: stream)
            var workspace = CUDAWorkspace()
            // Without room it cannot be recorded, and says so.
            let failure = try cudaFailure {
                _ = try CUDAGraph(capturing: stream) { () throws(MoEError) in
                    try layer.forward(x, into: y, workspace: &workspace, on: stream)
                }
            }
            #expect(failure.kind == .captureFailed)
            try layer.prepare(&workspace, tokens: 4, output: .float32, on: stream)
            let graph = try CUDAGraph(capturing: stream) { () throws(MoEError) in
                try layer.forward(x, into: y, workspace: &workspace, on: stream)
            }
            for seed in 3...5 as ClosedRange<UInt64> {
                let tokens = try Tensor<Float>.random([4, 64], seed: seed)
                try x.copy(from: tokens, on: stream)
                try y.poison(on: stream)
                try graph.launch(on: stream)
                #expect(try y.tensor(of: Float.self, on: stream) == layer.forward(tokens).y)
            }
        }
    }

    /// After the first call nothing is asked of the driver for memory, whatever the batch up to its size.
    @Test func allocatesNothingOnceItHasRoom() throws {
        let c = try configuration(capacity: .limited(.init(limit: .factor(1))))
        try onDevice { device in
            let layer = try MoELayer(c, weights: .random(seed: 7), on: device, pool: pool)
            let stream = try CUDAStream(on: device)
            var workspace = CUDAWorkspace()
            try layer.prepare(&workspace, tokens: 30, output: .bfloat16, on: stream)
            let bytes = workspace.byteCount
            func allocations() -> Int32 { fake_calls("cudaMallocFromPoolAsync") + fake_calls("cudaHostAlloc") }
            for tokens in [30, 1, 17, 30] {
                let x = try DeviceTensor(shape: [tokens, 64], .bfloat16, on: stream)
                let y = try DeviceTensor(shape: [tokens, 64], .bfloat16, on: stream)
                try x.fill(byte: 0x3c, on: stream)
                let before = allocations()
                let waits = fake_calls("cudaStreamSynchronize")
                try layer.forward(x, into: y, workspace: &workspace, on: stream)
                #expect(allocations() == before)
                // Nor does it wait for the device.
                #expect(fake_calls("cudaStreamSynchronize") == waits)
            }
            #expect(workspace.byteCount == bytes)
        }
    }

    /// Layers share a device's kernels, and a workspace serves them in turn.
    @Test func severalLayersOnOneDevice() throws {
        let configurations = try [
            configuration(), configuration(.float32, hidden: 40, experts: 3), configuration(.float16, topK: 3),
        ]
        try onDevice { device in
            let layers = try configurations.map { try MoELayer($0, weights: .random(seed: 1), on: device, pool: pool) }
            #expect(fake_calls("cudaLibraryLoadData") == 1)
            var workspace = MoEWorkspace()
            for _ in 0..<2 {
                for (layer, c) in zip(layers, configurations) {
                    let x = try Tensor<Float>.random([5, c.hidden], seed: 3)
                    var y = try Tensor<Float>(shape: x.shape, repeating: .nan)
                    try layer.forward(x.span, into: &y.mutableSpan, workspace: &workspace)
                    #expect(try layer.forward(x).y == y)
                }
            }
        }
    }

    @Test func severalDevicesByIndex() throws {
        var machine = fake_two_devices()
        machine.multiprocessors = (3, 2, 0, 0)
        let c = try configuration()
        _ = try withTwinMachine(machine) { device in
            let other = try device.context.runtime.device(1)
            let layer = try MoELayer(c, weights: .random(seed: 1), on: other, pool: pool)
            #expect(layer.device == .cuda(1))
            let x = try Tensor<Float>.random([3, 64], seed: 3)
            let first = try MoELayer(c, weights: .random(seed: 1), on: device, pool: pool).forward(x)
            #expect(worstDifference(try layer.forward(x).y.elements, first.y.elements) <= 1e-2)
            // Tensors and streams of another device are refused.
            let stream = try CUDAStream(on: device)
            let tensor = try DeviceTensor(x, on: stream)
            var workspace = CUDAWorkspace()
            #expect(throws: MoEError.self) {
                try layer.forward(tensor, into: tensor, workspace: &workspace, on: stream)
            }
        }
    }

    private func worstDifference(_ a: [Float], _ b: [Float]) -> Float {
        zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1)) }
    }

    // MARK: Weights

    /// Weights in every stored form, brought to each type, give what the reference makes of them rounded to that type.
    @Test(arguments: [
        WeightFormat.plain(.float32), .plain(.bfloat16), .plain(.float16), .transposed(.bfloat16),
        .transposed(.float32),
        .quantised(.int4, group: 32), .quantised(.int8, group: 16, zeroPoints: true),
        .quantised(.float8E4M3, group: 128),
        .quantised(.float4E2M1, group: 32),
    ])
    func packsEveryStoredForm(_ format: WeightFormat) throws {
        for type in ElementType.allCases {
            let c = try configuration(type, hidden: 68, expertHidden: 35, experts: 3, shared: .dense(width: 19))
            let source = StoredWeights(configuration: c, stored: format)
            try onDevice { device in
                let layer = try MoELayer(c, weights: MoEWeights(source), on: device, pool: pool)
                let x = try Tensor(
                    shape: [6, 68], Tensor<Float>.random([6, 68], seed: 9).elements.map(type.rounded))
                let reference = try ReferenceBackend(c, source: RoundedWeights(source: source, c: c, type: type))
                    .forward(x.elements)
                let error = worst(try layer.forward(x).y.elements, reference, hidden: 68)
                // Inner values of 35 numbers are rounded to the type.
                #expect(error <= (type == .float32 ? 1e-5 : type == .bfloat16 ? 0x1p-8 : 0x1p-11), "\(type): \(error)")
            }
        }
    }

    /// A source whose experts' numbers are rounded as a weightType asks for.
    private struct RoundedWeights: WeightSource {
        let source: StoredWeights
        let c: MoEConfiguration
        let type: ElementType

        func format(of name: WeightName) -> WeightFormat { .plain(.float32) }
        func read(
            _ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer
        ) throws(MoEError) {
            var values = try source.floats(name, rows: rows, c)
            switch name {
            case .expert, .shared: for index in values.indices { values[index] = type.rounded(values[index]) }
            default: break
            }
            values.withUnsafeBytes { destination.copyMemory(from: $0) }
        }
    }

    /// Weights made on the device are those made on the host, bit by bit.
    @Test(arguments: ElementType.allCases) func randomWeightsAreTheSame(_ type: ElementType) throws {
        for expert in [ExpertKind.gated(.silu, biases: true), .plain(.relu)] {
            let c = try configuration(
                type, hidden: 44, expertHidden: 21, experts: 3, expert: expert, shared: .dense(width: 9))
            try onDevice { device in
                let made = try MoELayer(c, weights: .random(seed: 11), on: device, pool: pool)
                let source = try MoEWeights.random(seed: 11).source(c)
                let copied = try MoELayer(c, weights: MoEWeights(Opaque(source: source)), on: device, pool: pool)
                let stream = try CUDAStream(on: device)
                func bytes(_ layer: MoELayer) throws -> [[UInt8]] {
                    let weights = try layer.backend.cuda().weights
                    return try [weights.router, weights.wideRouter, weights.inner, weights.down, weights.sharedInner!]
                        .map {
                            matrices in
                            var bytes = [UInt8](
                                repeating: 1, count: matrices.groups * matrices.height * matrices.rowBytes)
                            try bytes.withUnsafeMutableBytes { try stream.copyToHost($0, from: matrices.weights) }
                            try stream.synchronize()
                            return bytes
                        }
                }
                #expect(try bytes(made) == bytes(copied))
            }
        }
    }

    /// The same source under a type that nothing knows.
    private struct Opaque: WeightSource {
        let source: any WeightSource
        func format(of name: WeightName) -> WeightFormat { source.format(of: name) }
        func read(
            _ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer
        ) throws(MoEError) { try source.read(name, rows: rows, into: destination) }
    }

    // MARK: Bad input

    @Test func refusesWhatKernelsCannot() throws {
        try onDevice { device in
            func refusal(_ c: MoEConfiguration, _ weights: MoEWeights = .random(seed: 1)) -> MoEError? {
                #expect(throws: MoEError.self) { try MoELayer(c, weights: weights, on: device, pool: pool) }
            }
            let many = try MoEConfiguration(experts: 513, topK: 1, hidden: 8, expertHidden: 8)
            #expect("\(try #require(refusal(many)))".contains("at most 512"))
            let wide = try MoEConfiguration(experts: 64, topK: 33, hidden: 8, expertHidden: 8)
            #expect("\(try #require(refusal(wide)))".contains("topK is 33"))
            let c = try MoEConfiguration(experts: 2, topK: 1, hidden: 32, expertHidden: 32)
            let codes = MoEWeights(StoredWeights(configuration: c, stored: .quantised(.int4, group: 32)))
            #expect("\(try #require(refusal(c, codes)))".contains("weightType"))
            // A number that fp16 does not hold.
            let half = try configuration(.float16, experts: 2)
            #expect("\(try #require(refusal(half, MoEWeights(Spiked(c: half, value: 1e6)))))".contains("fp16"))
            #expect("\(try #require(refusal(half, MoEWeights(Spiked(c: half, value: .nan)))))".contains("not finite"))
            #expect(fake_live(fake_device_memory) == 0 && fake_live(fake_pinned_memory) == 0)
        }
    }

    /// Random weights with one odd number.
    private struct Spiked: WeightSource {
        let c: MoEConfiguration
        let value: Float
        func format(of name: WeightName) -> WeightFormat { .plain(.float32) }
        func read(
            _ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer
        ) throws(MoEError) {
            let columns = c.shape(of: name).columns
            var values = [Float](repeating: 0.5, count: rows.count * columns)
            if name == .expert(1, .down), rows.contains(17) { values[(17 - rows.lowerBound) * columns + 3] = value }
            values.withUnsafeBytes { destination.copyMemory(from: $0) }
        }
    }

    @Test func refusesWrongTensorsAndContexts() throws {
        let c = try configuration()
        try onDevice { device in
            let layer = try MoELayer(c, weights: .random(seed: 1), on: device, pool: pool)
            let stream = try CUDAStream(on: device)
            let x = try DeviceTensor(shape: [4, 64], .float32, on: stream)
            let odd = try DeviceTensor(shape: [4, 63], .float32, on: stream)
            let other = try DeviceTensor(shape: [3, 64], .float32, on: stream)
            var workspace = CUDAWorkspace()
            #expect(throws: MoEError.self) { try layer.forward(odd, into: odd, workspace: &workspace, on: stream) }
            #expect(throws: MoEError.self) { try layer.forward(x, into: other, workspace: &workspace, on: stream) }
            #expect(throws: MoEError.self) {
                try layer.forward(
                    x, into: x, workspace: &workspace, on: stream, context: TokenContext(attentionMask: [true]))
            }
            #expect(throws: MoEError.self) { try layer.prepare(&workspace, tokens: -1, output: .float32, on: stream) }
            // Too many tokens for counts of 32 bits.
            let failure = try cudaFailure {
                try layer.prepare(&workspace, tokens: 1 << 31, output: .float32, on: stream)
            }
            #expect(failure.kind == .tooLarge)
            // What only the processor does says so.
            #expect(throws: MoEError.self) { try layer.route(Tensor<Float>.random([1, 64], seed: 1)) }
            #expect(throws: MoEError.self) { try layer.withTuning(CPUTuning.detected(.baseline)) }
            let onCPU = try MoELayer(c, weights: .random(seed: 1), device: .cpu, pool: pool)
            #expect(onCPU.device == .cpu)
            #expect(throws: MoEError.self) { try onCPU.forward(x, into: x, workspace: &workspace, on: stream) }
        }
    }

    /// Devices and hosts with less memory than it takes: an error, and everything given back.
    @Test(arguments: [true, false]) func survivesTooLittleMemory(_ onDevice: Bool) throws {
        let c = try configuration(shared: .dense(width: 8))
        var failures = 0
        for shift in 6...26 {
            var machine = smallMachine()
            if onDevice { machine.device_bytes = 1 << shift } else { machine.pinned_bytes = 1 << shift }
            let fits = try self.onDevice(machine) { device in
                do {
                    let layer = try MoELayer(c, weights: .random(seed: 1), on: device, pool: pool)
                    _ = try layer.forward(Tensor<Float>.random([300, 64], seed: 1))
                    return true
                } catch let error as MoEError {
                    guard case .cuda(let failure) = error else { throw error }
                    #expect(failure.kind == (onDevice ? .outOfDeviceMemory : .outOfPinnedMemory))
                    failures += 1
                }
                #expect(fake_live(fake_device_memory) == 0 && fake_live(fake_pinned_memory) == 0)
                return false
            }
            if fits { return #expect(failures >= 5) }
        }
        Issue.record("64 MiB are not enough")
    }

    /// A fault in a kernel is told at the next wait, and from then on by every call.
    @Test func aFaultIsTold() throws {
        let c = try configuration()
        _ = try withTwinMachine { device in
            let layer = try MoELayer(c, weights: .random(seed: 1), on: device, pool: pool)
            let x = try Tensor<Float>.random([2, 64], seed: 1)
            _ = try layer.forward(x)
            fake_fault(Int32(mc_cudaErrorIllegalAddress))
            #expect(try cudaFailure { _ = try layer.forward(x) }.kind == .contextLost)
            #expect(try cudaFailure { _ = try layer.forward(x) }.kind == .contextLost)
        }
    }
}

extension CUDALayerTests {
    /// Layers take turns on a workspace without a wait, and may be recorded into one graph; growth leaves what graphs were recorded with.
    @Test func aWorkspaceServesLayersInTurn() throws {
        let pool = try ThreadPool(threads: 1)
        let small = try MoEConfiguration(
            experts: 4, topK: 2, hidden: 64, expertHidden: 24, shared: .dense(width: 16), weightType: .bfloat16)
        let (_, misuse) = try withTwinMachine { device in
            let layers = try (1...3).map { try MoELayer(small, weights: .random(seed: $0), on: device, pool: pool) }
            let stream = try CUDAStream(on: device)
            let tokens = try Tensor<Float>.random([5, 64], seed: 1)
            let x = try DeviceTensor(tokens, on: stream)
            let outputs = try layers.map { _ in try DeviceTensor(shape: [5, 64], .float32, on: stream) }
            var workspace = CUDAWorkspace()
            for layer in layers { try layer.prepare(&workspace, tokens: 5, output: .float32, on: stream) }
            let waits = fake_calls("cudaStreamSynchronize")
            for (layer, y) in zip(layers, outputs) {
                try layer.forward(x, into: y, workspace: &workspace, on: stream)
            }
            #expect(fake_calls("cudaStreamSynchronize") == waits)
            let expected = try layers.map { try $0.forward(tokens).y }
            func results() throws -> [Tensor<Float>] { try outputs.map { try $0.tensor(of: Float.self, on: stream) } }
            #expect(try results() == expected)

            let graph = try CUDAGraph(capturing: stream) { () throws(MoEError) in
                for (layer, y) in zip(layers, outputs) {
                    try layer.forward(x, into: y, workspace: &workspace, on: stream)
                }
            }
            // A larger batch moves the workspace; the graph goes on using what it was recorded with.
            let before = workspace.byteCount
            let many = try DeviceTensor(Tensor<Float>.random([200, 64], seed: 2), on: stream)
            let other = try DeviceTensor(shape: [200, 64], .float32, on: stream)
            try layers[1].forward(many, into: other, workspace: &workspace, on: stream)
            #expect(workspace.byteCount > 2 * before)
            for y in outputs { try y.poison(on: stream) }
            try graph.launch(on: stream)
            #expect(try results() == expected)
        }
        #expect(misuse == nil)
    }

    /// A layer and a workspace may go right after a call: their memory goes back after the call's work, on whatever stream that is.
    @Test func memoryGoesBackAfterTheWorkThatReadsIt() throws {
        let pool = try ThreadPool(threads: 1)
        let c = try MoEConfiguration(experts: 4, topK: 2, hidden: 64, expertHidden: 24, weightType: .bfloat16)
        let (_, misuse) = try withTwinMachine { device in
            let stream = try CUDAStream(on: device)
            let x = try DeviceTensor(Tensor<Float>.random([3, 64], seed: 1), on: stream)
            let y = try DeviceTensor(shape: [3, 64], .float32, on: stream)
            var calls: [String] { device.context.runtime.calls }
            func use() throws -> Int {
                let layer = try MoELayer(c, weights: .random(seed: 1), on: device, pool: pool)
                let other = try CUDAStream(on: device)
                var workspace = CUDAWorkspace()
                try layer.prepare(&workspace, tokens: 3, output: .float32, on: other)
                let before = calls.count
                try layer.forward(x, into: y, workspace: &workspace, on: stream)
                return before
            }
            let before = try use()
            // Both are gone, and the host has not waited.
            let since = calls[before...]
            #expect(!since.contains("cudaStreamSynchronize") && !since.contains("cudaDeviceSynchronize"))
            let waits = since.indices.filter { since[$0] == "cudaStreamWaitEvent" }
            let frees = since.indices.filter { since[$0] == "cudaFreeAsync" }
            #expect(waits.count == 2 && frees.count == 2)
            // One wait before each.
            #expect(zip(waits, frees).allSatisfy { $0 < $1 })
            withExtendedLifetime((x, y)) {}
        }
        #expect(misuse == nil)
    }

    /// Experts that choose have about as many rows as tokens have choices, and room for no more.
    @Test func expertChoiceNeedsNoRoomForEveryPair() throws {
        let pool = try ThreadPool(threads: 1)
        func bytes(_ selection: ExpertSelection) throws -> Int {
            let c = try MoEConfiguration(
                experts: 32, topK: 2, hidden: 64, expertHidden: 512,
                router: .init(selection: selection, normalisation: .none), weightType: .bfloat16)
            return try withTwinMachine { device in
                let layer = try MoELayer(c, weights: .random(seed: 1), on: device, pool: pool)
                var workspace = CUDAWorkspace()
                try layer.prepare(&workspace, tokens: 500, output: .bfloat16, on: CUDAStream(on: device))
                return workspace.byteCount
            }.result
        }
        #expect(try bytes(.expertChoice) < 2 * bytes(.topK))
    }
}
