import MicroKernels

extension CPUBackend {
    func dispatch(_ memory: CPUStageBuffers) {
        group(memory, indices: memory.indices, kept: memory.kept, weights: memory.applied ?? memory.weights)
    }

    /// The dense baseline's plan: every expert for every token, with the router's weight or 0.
    func dispatchToEveryExpert(_ memory: CPUStageBuffers) {
        let experts = configuration.choices
        // Where a token visits all experts anyway there is nothing to add.
        guard let indices = memory.denseIndices, let weights = memory.denseWeights else { return dispatch(memory) }
        for token in 0..<memory.tokens {
            for expert in 0..<experts {
                indices[token * experts + expert] = Int32(expert)
                weights[token * experts + expert] = 0
            }
            for slot in 0..<configuration.topK {
                let choice = token * configuration.topK + slot
                weights[token * experts + Int(memory.indices[choice])] = memory.weights[choice]
            }
        }
        group(memory, indices: indices, kept: nil, weights: weights)
    }

    private func group(
        _ memory: CPUStageBuffers, indices: UnsafePointer<Int32>, kept: UnsafePointer<UInt8>?,
        weights: UnsafePointer<Float>
    ) {
        let plan = dispatchPlan(memory)
        plan.group(indices, kept: kept)
        if let rowWeights = memory.rowWeights {
            for pair in 0..<memory.tokens * memory.slots where memory.slotRows[pair] >= 0 {
                rowWeights[Int(memory.slotRows[pair])] = weights[pair]
            }
        }
    }

    func dispatchPlan(_ memory: CPUStageBuffers) -> Dispatch {
        Dispatch(
            tokens: memory.tokens, topK: memory.slots, experts: configuration.choices, offsets: memory.offsets,
            rowTokens: memory.rowTokens, slotRows: memory.slotRows)
    }
}
