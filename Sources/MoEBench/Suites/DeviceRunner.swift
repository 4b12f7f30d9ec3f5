import CPlatform
import MoEKernel

/// Measures a layer on a GPU and what it is compared with, on one workload. Times are the device's own, between two marks in its stream.
package struct DeviceRunner: Sendable {
    package let device: CUDADevice
    package let pool: ThreadPool
    package let build: String
    let interruption: Interruption
    var progress: ProgressLine
    /// Of a probe's pass.
    var probeIterations = CUDAProbe.usualIterations
    /// Of the product that is a ceiling; smaller where memory is short. nil takes ``DeviceProduct/usualExtent(_:)``.
    var productExtent: Int?
    /// Of the probe before each call.
    var iterationsAhead = DeviceClock.usuallyAhead
    /// FLOPs of one call of dense-all-experts: some tens of milliseconds.
    private let denseFLOPs = 20_000_000_000_000
    /// Bytes of the device's memory that copies of a small layer may take.
    private let copiesBytes = 2 << 30

    package static let wholeLayer = WorkloadRunner.wholeLayer
    package static let asGraph = "whole layer, CUDA graph"
    /// A call of so few tokens is shorter than the launches that it consists of.
    private static let graphTokens = 1024

    package init(
        device: CUDADevice, pool: ThreadPool, build: String, interruption: Interruption, progress: ProgressLine
    ) {
        self.device = device
        self.pool = pool
        self.build = build
        self.interruption = interruption
        self.progress = progress
    }

    package func run(_ workload: Workload, budget: Double) throws(MoEError) -> WorkloadReport {
        let clock = ContinuousClock()
        let start = clock.now
        let memory = PeakMemory()
        guard workload.quantisation == nil else {
            throw .configuration(field: "dtype", value: workload.dtype, expectation: "bf16, fp16 or fp32 on a GPU")
        }
        guard workload.arithmetic == .exact else {
            throw .configuration(
                field: "activations", value: workload.arithmetic.rawValue,
                expectation: "exact on a GPU, which rounds them to the weights' type of itself")
        }
        let configuration = try workload.configuration()
        let weights = try workload.weights(for: configuration)
        let source = try weights.source(configuration)
        let stream = try CUDAStream(on: device)

        progress.show("\(workload.name): making weights")
        let layer = try MoELayer(configuration, weights: weights, on: device, pool: pool)
        let inputs = try workload.inputs(configuration, source).held(by: workload.weightType)
        let onDevice = try DeviceInputs(inputs, workload.weightType, on: stream, ahead: iterationsAhead)
        let first = try firstCall(layer, onDevice.batches[0], on: stream)
        let tokensPerExpert = try Self.tokensPerExpert(layer, onDevice.batches, on: stream)

        progress.show("\(workload.name): float64 reference")
        let checked = WorkloadRunner.checkedTokens(workload)
        let check = DeviceCheck(
            try LayerOracle(configuration, source: source, inputs: inputs, sample: checked, seed: workload.seed),
            output: workload.weightType)
        let gating = Work.gating(configuration, tokens: workload.tokens)
        let experts = Work.experts(configuration, tokensPerExpert: tokensPerExpert, sharedTokens: workload.tokens)

        progress.show("\(workload.name): copies")
        let copies = try copies(of: layer, weights, workingSet: experts.workingSet)
        var contenders: [Contender] = []
        for (place, work) in [gating, .uncounted, experts, .uncounted].enumerated() {
            let name = MoELayer.DeviceStage.allCases[place].rawValue
            contenders.append(
                Contender(
                    try DeviceStages(
                        place...place, of: [layer], subject: subject(name, workload), work: work, inputs: onDevice),
                    check: check))
        }
        let whole = gating + experts
        let rotated = Work(flops: whole.flops, bytes: whole.bytes, workingSet: whole.workingSet * copies.count)
        contenders.append(
            Contender(
                try DeviceLayer(
                    copies, subject: subject(Self.wholeLayer, workload), work: rotated, inputs: onDevice),
                check: check, weight: 2))
        if workload.tokens <= Self.graphTokens {
            contenders.append(
                Contender(
                    try DeviceLayer(
                        copies, subject: subject(Self.asGraph, workload), work: rotated, inputs: onDevice,
                        asGraph: true),
                    check: check, weight: 2))
        }
        var notRun: [WorkloadReport.NotRun] = []
        try addDense(workload, configuration, weights, inputs, onDevice, experts, &contenders, &notRun)

        progress.show("\(workload.name): ceilings")
        let machine = ProbedMachine.device(l2Bytes: device.properties.l2Bytes)
        let product = try product(workload.weightType)
        var probes: [DeviceProbe] = []
        let sampler = try CeilingSampler(
            workingSets: contenders.map(\.implementation.work.workingSet), machine: machine, product: product
        ) { (bytes: Int) throws(MoEError) -> any MachineProbe in
            let probe = try DeviceProbe(
                on: device, multiplying: workload.weightType, copyBytes: bytes, iterations: probeIterations)
            probes.append(probe)
            return probe
        }
        let (progress, rounds) = (progress, clock.now)
        let timer = InterleavedTimer(plan: SamplingPlan(budget: budget), build: build, interruption: interruption) {
            progress.show(
                workload.name, round: $0, of: $1, elapsed: (clock.now - rounds) / .seconds(1), budget: budget)
        }
        let comparison = timer.compare(contenders, inputs: inputs, ceilings: sampler)
        progress.clear()
        if let failure = probes.compactMap(\.failure).first ?? product?.failure { throw failure }
        return WorkloadReport(
            workload: workload, load: WorkloadRunner.load(tokensPerExpert), weightBytes: layer.weightByteCount,
            threads: pool.threads, instructionSet: kernels, tuning: nil, reference: Self.wholeLayer,
            checkedTokens: checked, firstCall: first, comparison: comparison, notRun: notRun,
            seconds: (clock.now - start) / .seconds(1), peakBytes: memory.bytes)
    }

    /// The large product; nil where there is no memory left for one.
    private func product(_ type: ElementType) throws(MoEError) -> DeviceProduct? {
        let wanted = productExtent ?? DeviceProduct.usualExtent(type)
        guard let extent = DeviceProduct.extent(wanted, type, freeBytes: try device.freeBytes()) else { return nil }
        return try DeviceProduct(on: device, multiplying: type, extent: extent, ahead: iterationsAhead)
    }

    /// As in "sm_90".
    private var kernels: String {
        let capability = device.properties.computeCapability
        return "sm_\(capability.major)\(capability.minor)"
    }

    private func subject(_ name: String, _ workload: Workload) -> Subject {
        Subject(
            name: name, workload: workload, device: "\(Device.cuda(device.index)), \(device.properties.name)",
            dtype: workload.dtype, threads: pool.threads, instructionSet: kernels)
    }

    /// Seconds of the first call on the processor's clock, workspace and all, until its result is there.
    private func firstCall(_ layer: MoELayer, _ x: DeviceTensor, on stream: CUDAStream) throws(MoEError) -> Double {
        let y = try DeviceTensor(shape: x.shape, x.elementType, on: stream)
        var workspace = CUDAWorkspace()
        try stream.synchronize()
        let start = cp_nanoseconds()
        try layer.forward(x, into: y, workspace: &workspace, on: stream)
        try stream.synchronize()
        return Double(cp_nanoseconds() - start) * 1e-9
    }

    /// Equal layers that together are more than the GPU's cache holds, so that none of them is read from there.
    private func copies(
        of layer: MoELayer, _ weights: MoEWeights, workingSet: Int
    ) throws(MoEError) -> [MoELayer] {
        let wanted = 4 * device.properties.l2Bytes
        let count = max(1, min((wanted + workingSet - 1) / max(workingSet, 1), copiesBytes / layer.weightByteCount, 64))
        var copies = [layer]
        for _ in 1..<count {
            copies.append(try MoELayer(layer.configuration, weights: weights, on: device, pool: pool))
        }
        return copies
    }

    private func addDense(
        _ workload: Workload, _ configuration: MoEConfiguration, _ weights: MoEWeights, _ inputs: Inputs,
        _ onDevice: DeviceInputs, _ experts: Work, _ contenders: inout [Contender],
        _ notRun: inout [WorkloadReport.NotRun]
    ) throws(MoEError) {
        // One expert of width k·F: as much arithmetic. Its routing, all tokens to the one, is made once, outside the timed calls.
        progress.show("\(workload.name): dense baselines")
        let dense = try workload.isoActiveConfiguration()
        let denseWork = Work.experts(dense, tokensPerExpert: inputs.batches.map { _ in [workload.tokens] })
        var copies: [MoELayer] = []
        let count = DenseIsoActive.copies(
            of: denseWork.bytes, toCover: max(experts.workingSet, 4 * device.properties.l2Bytes),
            batches: inputs.batches.count > 1 ? inputs.batches.count : 64)
        for _ in 0..<count { copies.append(try MoELayer(dense, weights: weights, on: device, pool: pool)) }
        let denseOracle = try LayerOracle(
            dense, source: try weights.source(dense), inputs: inputs,
            sample: min(WorkloadRunner.checkedTokens(workload), 4), seed: workload.seed)
        contenders.append(
            Contender(
                try DenseDevice(
                    copies, subject: subject(DenseIsoActive.name, workload),
                    work: Work(
                        flops: denseWork.flops, bytes: denseWork.bytes, workingSet: denseWork.bytes * copies.count),
                    inputs: onDevice),
                check: DeviceCheck(denseOracle, output: workload.weightType)))

        // Every expert on every token.
        let everyone = inputs.batches.map { _ in Array(repeating: workload.tokens, count: workload.experts) }
        let allWork = Work.experts(configuration, tokensPerExpert: everyone, sharedTokens: workload.tokens)
        let isSoftmax = workload.router == .softmax && workload.rules == nil
        guard allWork.flops <= denseFLOPs, workload.experts <= 32, isSoftmax else {
            let reason =
                allWork.flops > denseFLOPs
                ? "\(Format.significant(Double(allWork.flops) * 1e-12)) TFLOP a call"
                : isSoftmax ? "more than 32 experts a token" : "it routes by softmax"
            return notRun.append(.init(name: DenseAllExperts.name, reason: reason))
        }
        var all = workload
        all.topK = workload.experts
        let allConfiguration = try all.configuration()
        let allOracle = try LayerOracle(
            allConfiguration, source: try weights.source(allConfiguration), inputs: inputs,
            sample: min(WorkloadRunner.checkedTokens(all), 4), seed: workload.seed)
        let allLayer = try MoELayer(allConfiguration, weights: weights, on: device, pool: pool)
        contenders.append(
            Contender(
                try DeviceLayer(
                    [allLayer], subject: subject(DenseAllExperts.name, workload), work: allWork, inputs: onDevice),
                check: DeviceCheck(allOracle, output: workload.weightType)))
    }

    /// Tokens of every expert, for each batch.
    private static func tokensPerExpert(
        _ layer: MoELayer, _ batches: [DeviceTensor], on stream: CUDAStream
    ) throws(MoEError) -> [[Int]] {
        let y = try DeviceTensor(shape: batches[0].shape, batches[0].elementType, on: stream)
        var workspace = CUDAWorkspace()
        var counts: [[Int]] = []
        for x in batches {
            try layer.forward(x, into: y, workspace: &workspace, on: stream)
            var count = [Int](repeating: 0, count: layer.configuration.experts)
            guard let routing = try workspace.routing(on: stream) else {
                throw .unavailable(what: "the routing", reason: "the workspace holds none")
            }
            for expert in routing.expertIndices { count[Int(expert)] += 1 }
            counts.append(count)
        }
        return counts
    }
}
