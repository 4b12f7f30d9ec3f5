/// The stages of ``MoELayer/forward(_:)``, each callable alone. They allocate what they return; a server uses the whole forward.
extension MoELayer {
    /// Router: x [tokens, hidden] → logits → the k experts of each token and their weights.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` when x is not `hidden` wide.
    public func route<Element>(_ x: Tensor<Element>) throws(MoEError) -> Routing {
        try checkWidth(x)
        var workspace = MoEWorkspace()
        let tokens = try prepare(x.span, &workspace)
        let memory = workspace.buffers!
        x.span.withUnsafeBytes { x in
            guard let base = x.baseAddress, tokens > 0 else { return }
            backend.route(Activations(base: base, type: Element.elementType, tokens: tokens), memory)
        }
        workspace.hasRouting = true
        return workspace.routing!
    }

    /// Dispatch: which rows each expert works on.
    public func dispatch(_ routing: Routing) -> DispatchPlan { DispatchPlan(routing) }

    /// Experts: the output of every row of a plan, grouped by expert, and of the shared expert.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` when x, the plan and the layer do not fit each other.
    public func computeExperts<Element>(
        _ x: Tensor<Element>, _ plan: DispatchPlan
    ) throws(MoEError) -> ExpertOutput {
        try checkWidth(x)
        guard plan.tokens == x.rows, plan.topK == configuration.topK,
            plan.expertOffsets.count == configuration.experts + 1
        else {
            throw .input(
                name: "plan",
                value: "\(plan.tokens) tokens, top \(plan.topK), \(plan.expertOffsets.count - 1) experts",
                expectation: "\(x.rows) tokens, top \(configuration.topK), \(configuration.experts) experts")
        }
        var workspace = MoEWorkspace()
        let tokens = try prepare(x.span, &workspace)
        let memory = workspace.buffers!
        let shared = backend.weights.sharedDown != nil
        let gated = backend.weights.router.columns > configuration.experts
        x.span.withUnsafeBytes { x in
            guard let base = x.baseAddress, tokens > 0 else { return }
            let activations = Activations(base: base, type: Element.elementType, tokens: tokens)
            plan.expertOffsets.withUnsafeBufferPointer {
                memory.offsets.update(from: $0.baseAddress!, count: $0.count)
            }
            plan.rowTokens.withUnsafeBufferPointer { memory.rowTokens.update(from: $0.baseAddress!, count: $0.count) }
            backend.tileExperts(backend.dispatchPlan(memory), memory)
            // The shared expert reads the packed tokens, and its gate is a column of the router.
            if shared { backend.computeLogits(activations, memory) }
            backend.computeExperts(activations, memory)
        }
        let width = configuration.hidden
        return ExpertOutput(
            rows: try Tensor(
                shape: [tokens * plan.topK, width],
                Array(UnsafeBufferPointer(start: memory.rows, count: tokens * plan.topK * width))),
            shared: shared
                ? try Tensor(
                    shape: [tokens, width],
                    Array(UnsafeBufferPointer(start: memory.sharedRows, count: tokens * width))) : nil,
            sharedGateLogits: gated
                ? (0..<tokens).map { memory.logits[$0 * (configuration.experts + 1) + configuration.experts] } : nil)
    }

    /// Combine: each token's expert rows weighted and summed in slot order, then the shared expert.
    ///
    /// - Returns: y [tokens, hidden].
    /// - Throws: ``MoEError/input(name:value:expectation:)`` when the parts do not fit each other.
    public func combine(
        _ output: ExpertOutput, _ routing: Routing, _ plan: DispatchPlan
    ) throws(MoEError) -> Tensor<Float> {
        let width = configuration.hidden
        guard routing.tokens == plan.tokens, routing.topK == plan.topK, routing.topK == configuration.topK,
            output.rows.shape == [plan.tokens * plan.topK, width],
            (output.shared?.shape ?? [plan.tokens, width]) == [plan.tokens, width],
            (output.shared != nil) == (configuration.shared != .none)
        else {
            throw .input(
                name: "expert output", value: "rows of shape \(output.rows.shape)",
                expectation: "[\(plan.tokens * configuration.topK), \(width)], with the routing and plan it came from")
        }
        var workspace = MoEWorkspace()
        try workspace.prepare(backend, tokens: plan.tokens, slots: plan.topK)
        let memory = workspace.buffers!
        func copy<Element>(_ array: [Element], to target: UnsafeMutablePointer<Element>) {
            array.withUnsafeBufferPointer {
                if let base = $0.baseAddress { target.update(from: base, count: $0.count) }
            }
        }
        copy(output.rows.elements, to: memory.rows)
        copy(plan.slotRows, to: memory.slotRows)
        copy(routing.weights, to: memory.weights)
        if let shared = output.shared { copy(shared.elements, to: memory.sharedRows) }
        if let gates = output.sharedGateLogits {
            for (token, logit) in gates.enumerated() {
                memory.logits[token * (configuration.experts + 1) + configuration.experts] = logit
            }
        }
        var y = try Tensor<Float>(shape: [plan.tokens, width], repeating: 0)
        if plan.tokens > 0 {
            y.mutableSpan.withUnsafeMutableBytes { y in
                backend.combine(memory, into: CPUBackend.Output(base: y.baseAddress!, type: .float32))
            }
        }
        return y
    }
}

/// What the experts computed, before it is combined.
public struct ExpertOutput: Sendable, Hashable {
    /// One row for each (token, slot), grouped by expert as in the plan: [tokens · topK, hidden].
    public let rows: Tensor<Float>
    /// The shared expert's output, [tokens, hidden]; nil without one.
    public let shared: Tensor<Float>?
    /// Logits whose sigmoid scales the shared expert, [tokens]; nil where it is not gated.
    public let sharedGateLogits: [Float]?
}

/// Stages on a workspace, for a harness to time: each reads what the one before left there, and may be repeated.
extension MoELayer {
    /// Router GEMM: x [tokens, hidden] → logits. Makes room for the batch; `everyExpert` for the dense baseline too.
    package func runLogits(
        _ x: Span<Float>, workspace: inout MoEWorkspace, everyExpert: Bool = false
    ) throws(MoEError) {
        let tokens = try prepare(x, &workspace, everyExpert: everyExpert)
        let memory = workspace.buffers!
        x.withUnsafeBytes { x in
            guard let base = x.baseAddress, tokens > 0 else { return }
            backend.computeLogits(Activations(base: base, type: .float32, tokens: tokens), memory)
        }
    }

    /// Logits → experts and weights.
    package func runSelection(workspace: inout MoEWorkspace) throws(MoEError) {
        backend.selectExperts(try memory(workspace))
    }

    /// Choices → rows grouped by expert. With `everyExpert` the batch must have been prepared for it.
    package func runDispatch(workspace: inout MoEWorkspace, everyExpert: Bool = false) throws(MoEError) {
        let memory = try memory(workspace)
        guard (memory.slots == configuration.experts) == everyExpert || configuration.topK == configuration.experts
        else {
            throw .input(
                name: "workspace", value: "prepared for \(memory.slots) experts a token",
                expectation: "\(everyExpert ? configuration.experts : configuration.topK); runLogits prepares it")
        }
        if everyExpert { backend.dispatchToEveryExpert(memory) } else { backend.dispatch(memory) }
        workspace.hasRouting = true
    }

    /// Gather, both grouped GEMMs and the activation.
    package func runExperts(_ x: Span<Float>, workspace: inout MoEWorkspace) throws(MoEError) {
        let memory = try memory(workspace)
        x.withUnsafeBytes { x in
            guard let base = x.baseAddress, memory.tokens > 0 else { return }
            backend.computeExperts(Activations(base: base, type: .float32, tokens: memory.tokens), memory)
        }
    }

    /// Expert rows → y.
    package func runCombine(into y: inout MutableSpan<Float>, workspace: inout MoEWorkspace) throws(MoEError) {
        let memory = try memory(workspace)
        y.withUnsafeMutableBytes { y in
            guard let base = y.baseAddress, memory.tokens > 0 else { return }
            backend.combine(memory, into: CPUBackend.Output(base: base, type: .float32))
        }
    }

    private func memory(_ workspace: borrowing MoEWorkspace) throws(MoEError) -> CPUStageBuffers {
        guard let buffers = workspace.buffers else {
            throw .input(name: "workspace", value: "empty", expectation: "one that a batch was prepared in")
        }
        return buffers
    }
}
