import MoEKernel

/// The layers of a stack to serve, each with weights of its own and each checked.
package struct ServedLayers: Sendable {
    package let layers: [MoELayer]
    /// Outputs that were compared with float64, over all layers.
    package let checkedTokens: Int

    /// - Parameter workload: What each layer is; its tokens are those of the largest step.
    /// - Throws: ``MoEError`` when a layer cannot be made or held; ``WrongResult`` when one computes something else than the reference:
    ///   then nothing is served.
    package init(
        _ workload: Workload, layers count: Int, pool: ThreadPool, instructionSet: CPUInstructionSet, tuning: CPUTuning,
        memoryBytes: Int, progress: ProgressLine
    ) throws {
        let configuration = try workload.configuration()
        try Self.checkMemory(configuration, workload, layers: count, memoryBytes)
        var layers: [MoELayer] = []
        var checked = 0
        for index in 0..<count {
            progress.show("layer \(index + 1) of \(count)")
            var own = workload
            own.seed = workload.seed &+ UInt64(index)
            let layer = try MoELayer(
                configuration, weights: own.weights, pool: pool, instructionSet: instructionSet,
                arithmetic: workload.arithmetic, tuning: tuning)
            do {
                checked += try Self.check(layer, own)
            } catch let wrong as WrongResult {
                throw WrongResult("layer \(index): wrong result: \(wrong)")
            }
            layers.append(layer)
        }
        progress.clear()
        self.layers = layers
        checkedTokens = checked
    }

    /// Compares a layer with the reference in a full step and in steps of one token, which run other kernels.
    ///
    /// - Returns: Tokens compared.
    package static func check(_ layer: MoELayer, _ workload: Workload) throws -> Int {
        let configuration = try workload.configuration()
        let source = try workload.weights.source(configuration)
        let full = Inputs(workload)
        let rows = full.batches[0], width = workload.hidden
        let single = Inputs(
            tokens: 1, hidden: width,
            batches: (0..<min(workload.tokens, 4)).map { Array(rows[$0 * width..<($0 + 1) * width]) })
        var compared = 0
        for inputs in [Inputs(tokens: full.tokens, hidden: width, batches: [rows]), single] {
            let oracle = try LayerOracle(
                configuration, source: source, inputs: inputs, sample: 4, seed: workload.seed,
                arithmetic: workload.arithmetic)
            let check = LayerCheck(oracle)
            for (batch, x) in inputs.batches.enumerated() {
                let tokens = oracle.batches[batch].count { !check.isAmbiguous($0) }
                // A lone token whose experts hang on a rounding says nothing.
                if tokens == 0 && inputs.tokens == 1 { continue }
                let y = try layer.forward(Tensor(shape: [inputs.tokens, width], x)).y
                try check.verify(.activations(y.elements), batch: batch)
                compared += tokens
            }
        }
        return compared
    }

    private static func checkMemory(
        _ configuration: MoEConfiguration, _ workload: Workload, layers: Int, _ memoryBytes: Int
    ) throws(MoEError) {
        let numbers =
            Double(layers) * Double(configuration.experts) * Double(configuration.expert.projections.count)
            * Double(configuration.hidden) * Double(configuration.expertHidden)
        let bits =
            workload.form?.bits(inputs: configuration.hidden) ?? Double(8 * workload.weightType.byteCount)
        let needed = numbers * bits / 8
        guard memoryBytes > 0, needed > 0.9 * Double(memoryBytes) else { return }
        throw .outOfMemory(
            bytes: needed < 0x1p62 ? Int(needed) : .max,
            purpose: "\(layers) layers of \(workload.sizes) in \(workload.dtype); this machine has "
                + Format.bytes(memoryBytes))
    }
}
