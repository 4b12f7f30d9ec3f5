import CPlatform
import MoEKernel

/// Runs one layer of a checkpoint on activations from a file and writes what came out to another.
package struct CheckpointForward: Sendable {
    package var model: String
    package var layer: Int
    package var input: String
    package var output: String
    package var threads: Int?
    package var weightType: ElementType?
    package var instructionSet: CPUInstructionSet?
    package var device = Device.cpu

    package init(model: String, layer: Int, input: String, output: String) {
        self.model = model
        self.layer = layer
        self.input = input
        self.output = output
    }

    /// What it did, for the report.
    package struct Summary: Sendable {
        package let modelType: String
        package let configuration: MoEConfiguration
        /// The instruction set, or the GPU.
        package let kernels: String
        package let threads: Int
        /// Of the input, and of `y`.
        package let shape: [Int]
        package let tokensPerExpert: [Int]
        package let droppedChoices: Int
        package let weightBytes: Int
        package let loadSeconds: Double
        /// Of the one forward, workspace growth included.
        package let runSeconds: Double
        package let peakLoadBytes: Int
        package let peakBytes: Int
    }

    /// - Throws: what loading, reading or writing throws; then there is no output file, or the one that was there before.
    package func run() throws(MoEError) -> Summary {
        // The cheap failures first: a wrong input file should not cost the loading of a model.
        let x = try ForwardInput(at: input)
        try ResultsFile.checkWritable(output)
        let pool = try ThreadPool(threads: threads)
        let start = cp_nanoseconds()
        let checkpoint = try MoECheckpoint(at: model, pool: pool)
        let configuration = try checkpoint.configuration(layer: layer, weightType: weightType)
        guard x.shape.last == configuration.hidden else {
            throw .checkpoint(
                file: input, tensor: "x",
                problem:
                    "has shape \(x.shape); expected \(configuration.hidden) in its last dimension, the model's width")
        }
        try x.check(for: configuration)
        let layer =
            device == .cpu
            ? try checkpoint.layer(self.layer, weightType: weightType, pool: pool, instructionSet: instructionSet)
            : try checkpoint.layer(self.layer, weightType: weightType, device: device, pool: pool)
        let loaded = cp_nanoseconds()
        let peakLoadBytes = cp_resident_peak()

        var writer = SafetensorsWriter()
        let seconds: Double
        let routing: Routing
        if x.isBFloat16 {
            (seconds, routing) = try forward(layer, try x.x(as: BFloat16.self), x.context, &writer)
        } else {
            (seconds, routing) = try forward(layer, try x.x(as: Float.self), x.context, &writer)
        }
        try ForwardOutput.add(routing, of: layer, x.context, to: &writer)
        try writer.write(to: output)

        return Summary(
            modelType: checkpoint.modelType, configuration: configuration,
            kernels: layer.instructionSet?.rawValue ?? "\(device)",
            threads: pool.threads, shape: x.shape, tokensPerExpert: routing.tokensPerExpert,
            droppedChoices: routing.droppedChoices,
            weightBytes: layer.weightByteCount, loadSeconds: Double(loaded - start) * 1e-9, runSeconds: seconds,
            peakLoadBytes: peakLoadBytes, peakBytes: cp_resident_peak())
    }

    private func forward<Element: ActivationElement>(
        _ layer: MoELayer, _ x: Tensor<Element>, _ context: TokenContext, _ writer: inout SafetensorsWriter
    ) throws(MoEError) -> (Double, Routing) {
        let start = cp_nanoseconds()
        let output = try layer.forward(x, context: context)
        let seconds = Double(cp_nanoseconds() - start) * 1e-9
        try writer.add("y", output.y)
        return (seconds, output.routing)
    }
}

extension CheckpointForward.Summary {
    /// A few lines for a person.
    package var text: [String] {
        let tokens = shape.dropLast().reduce(1, *)
        let c = configuration
        return [
            "\(modelType)  T \(tokens)  H \(c.hidden)  F \(c.expertHidden)  E \(c.experts)  k \(c.topK), "
                + "\(kernels), \(threads) thread\(threads == 1 ? "" : "s")",
            "load    \(Format.time(loadSeconds)), weights \(Format.bytes(weightBytes)), peak memory "
                + "\(Format.bytes(peakLoadBytes))",
            "run     \(Format.time(runSeconds)) (one call, the first), "
                + "\(Format.count(Double(tokens) / runSeconds)) tokens/s, peak memory \(Format.bytes(peakBytes))",
            "experts \(load)" + (droppedChoices > 0 ? "; \(droppedChoices) choices dropped" : ""),
        ]
    }

    /// Tokens of every expert where they fit a line, else the spread.
    private var load: String {
        let busiest = tokensPerExpert.indices.sorted { tokensPerExpert[$0] > tokensPerExpert[$1] }
        let mean = Double(tokensPerExpert.reduce(0, +)) / Double(tokensPerExpert.count)
        let spread = "max/mean \(Format.significant(Double(tokensPerExpert[busiest[0]]) / max(mean, 1e-9)))"
        if tokensPerExpert.count <= 16 {
            return "tokens each: \(tokensPerExpert.map(String.init).joined(separator: " ")); \(spread)"
        }
        let idle = tokensPerExpert.count { $0 == 0 }
        let top = busiest.prefix(8).map { "\($0): \(tokensPerExpert[$0])" }.joined(separator: ", ")
        return "busiest (expert: tokens) \(top); \(idle) of \(tokensPerExpert.count) without tokens; \(spread)"
    }
}
