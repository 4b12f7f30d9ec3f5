import MicroKernels

extension CPUBackend {
    func combine(_ memory: CPUStageBuffers, into y: Output) {
        let c = configuration
        let dense = memory.slots > c.slots
        let weights: UnsafePointer<Float>? =
            c.weightSide == .input
            ? nil : UnsafePointer(dense ? memory.denseWeights! : memory.applied ?? memory.weights)
        self.weights.vectors.outputBias.withOptionalPointer { bias in
            let gate = self.weights.gateColumn
            var rows = CombineRows(
                tokens: 0..<memory.tokens, hidden: c.hidden, topK: memory.slots, rows: memory.rows,
                rowOfSlot: memory.slotRows, weights: weights, weightScale: c.expertOutputScale,
                shared: self.weights.sharedDown == nil ? nil : UnsafePointer(memory.sharedRows),
                sharedGate: gate.map { UnsafePointer(memory.logits + $0) },
                sharedGateStride: self.weights.router.columns, bias: bias,
                scale: c.shared != .none && c.sharedCombine == .average ? 0.5 : 1, output: y.base,
                bfloat16: y.type == .bfloat16)
            if let latentOut = self.weights.latentOut, let latent = c.latent, let sums = memory.latentRows {
                // The experts' sum in the latent width, then back to the model's.
                var sum = rows
                (sum.hidden, sum.shared, sum.sharedGate, sum.bias) = (latent, nil, nil, nil)
                (sum.scale, sum.output, sum.bfloat16) = (1, UnsafeMutableRawPointer(sums), false)
                run(sum)
                let latentSums = Activations(base: UnsafeRawPointer(sums), type: .float32, tokens: memory.tokens)
                packTokens(latentSums, depth: latent, memory, tiles: memory.latentTiles!)
                multiply(
                    latentOut, tokenTiles(latentSums, depth: latent, packed: memory.latentTiles!),
                    into: memory.latentOutput!, memory)
                (rows.rows, rows.rowOfSlot, rows.topK) = (UnsafePointer(memory.latentOutput!), nil, 1)
                (rows.weights, rows.weightScale) = (nil, 1)
            }
            run(rows)
        }
    }

    private func run(_ rows: CombineRows) {
        let work = CombineWork(kernels: kernels, rows: rows)
        pool.run(work, tasks: work.count)
    }
}

private struct CombineWork: ParallelWork {
    let kernels: any KernelSet
    let rows: CombineRows

    private var tokensPerTask: Int { max(CPUBackend.valuesPerTask / (rows.topK * rows.hidden), 1) }
    var count: Int { (rows.tokens.count + tokensPerTask - 1) / tokensPerTask }

    func run(task: Int, worker: Int) {
        var part = rows
        part.tokens = task * tokensPerTask..<min((task + 1) * tokensPerTask, rows.tokens.upperBound)
        kernels.combine(part)
    }
}
