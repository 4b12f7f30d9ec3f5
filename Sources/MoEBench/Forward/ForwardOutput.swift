import MoEKernel

/// What a forward leaves beside y: where tokens went, and what that says of the balance of experts.
package enum ForwardOutput {
    /// γ of the selection bias update that is written; DeepSeek-V3 trained with it.
    package static let biasStep: Float = 0.001

    /// Adds, for T tokens, E experts (identity experts included) and k slots:
    ///
    /// - `router_logits` [T, E], `topk_indices` and `topk_weights` [T, k] as the router chose, `combine` [T, E], the weights as
    ///   they were applied, and `expert_load` [E], choices before any is dropped;
    /// - `kept` [T], computed choices of each token, where the layer has a capacity;
    /// - `aux_loss` [1], Switch's where the capacity counts by sequence, else the load-balancing loss, and
    ///   `aux_loss_masked` without padding where there is a mask; `z_loss` [1];
    /// - `seq_aux_loss` [1] for softmax scores, `seq_balance_loss` [1] for others, both with α = 1;
    /// - `bias_after_update_gamma0.001` [E], where experts are chosen with a selection bias.
    package static func add(
        _ routing: Routing, of layer: MoELayer, _ context: TokenContext, to writer: inout SafetensorsWriter
    ) throws(MoEError) {
        let (tokens, experts, k) = (routing.tokens, routing.experts, routing.topK)
        let configuration = layer.configuration
        try writer.add("router_logits", shape: [tokens, experts], routing.logits)
        try writer.add("topk_indices", shape: [tokens, k], routing.expertIndices.map { Int64($0) })
        try writer.add("topk_weights", shape: [tokens, k], routing.weights)
        var combine = [Float](repeating: 0, count: tokens * experts)
        for pair in 0..<tokens * k where routing.kept?[pair] ?? true {
            combine[pair / k * experts + Int(routing.expertIndices[pair])] = routing.appliedWeights[pair]
        }
        try writer.add("combine", shape: [tokens, experts], combine)
        let load = routing.tokensPerExpert
        try writer.add("expert_load", shape: [experts], load.map { Float($0) })
        if routing.kept != nil {
            try writer.add("kept", shape: [tokens], routing.keptPerToken.map { Int64($0) })
        }

        func loss(_ name: String, _ value: Double) throws(MoEError) {
            try writer.add(name, shape: [1], [Float(value)])
        }
        let sequence = context.sequenceLength ?? max(tokens, 1)
        if configuration.capacity.rule?.scope == .sequence {
            try loss("aux_loss", try routing.switchLoss(sequenceLength: sequence))
        } else {
            try loss("aux_loss", try routing.loadBalancingLoss(topK: configuration.topK))
            if !context.attentionMask.isEmpty {
                try loss(
                    "aux_loss_masked",
                    try routing.loadBalancingLoss(mask: context.attentionMask, topK: configuration.topK))
            }
        }
        try loss("z_loss", routing.zLoss)
        let score = configuration.router.score
        if score != .logits {
            try loss(
                score == .softmax ? "seq_aux_loss" : "seq_balance_loss",
                try routing.sequenceBalanceLoss(sequenceLength: sequence, score: score))
        }
        if let bias = layer.selectionBias {
            try writer.add(
                "bias_after_update_gamma0.001", shape: [experts],
                try SelectionBiasUpdate(gamma: biasStep).updated(bias, load: load))
        }
    }
}
