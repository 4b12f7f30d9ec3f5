/// The stages of ``MoELayer/forward(_:context:)``, each callable alone, on the CPU. They allocate what they return; a server uses the whole
/// forward. A layer on a GPU throws ``MoEError/unavailable(what:reason:)``.
extension MoELayer {
    /// Router: x [tokens, hidden] → logits → the k experts of each token and their weights, and who is dropped.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` when x is not `hidden` wide or the context does not fit.
    public func route<Element>(
        _ x: Tensor<Element>, context: TokenContext = TokenContext()
    ) throws(MoEError) -> Routing {
        try checkWidth(x)
        let cpu = try backend.cpu("a stage alone")
        var workspace = MoEWorkspace()
        let context = sequenced(context, x)
        let tokens = try tokens(x.span, context)
        try prepare(cpu, tokens: tokens, &workspace, context)
        let memory = workspace.buffers!
        x.span.withUnsafeBytes { x in
            guard let base = x.baseAddress, tokens > 0 else { return }
            cpu.route(Activations(base: base, type: Element.elementType, tokens: tokens), memory)
        }
        workspace.hasRouting = true
        return workspace.routing!
    }

    /// Dispatch: which rows each expert works on.
    public func dispatch(_ routing: Routing) -> DispatchPlan { DispatchPlan(routing) }

    /// Experts: the output of every row of a plan, grouped by expert, and of the shared expert.
    ///
    /// - Parameters:
    ///   - x: [tokens, hidden], or any shape that ends in hidden.
    ///   - plan: From a routing of these tokens.
    /// - Throws: ``MoEError/input(name:value:expectation:)`` when x, the plan and the layer do not fit each other.
    public func computeExperts<Element>(
        _ x: Tensor<Element>, _ plan: DispatchPlan
    ) throws(MoEError) -> ExpertOutput {
        let c = configuration
        try checkWidth(x)
        let cpu = try backend.cpu("a stage alone")
        guard plan.tokens == x.rows, plan.topK == c.slots, plan.expertOffsets.count == c.choices + 1 else {
            throw .input(
                name: "plan",
                value: "\(plan.tokens) tokens, top \(plan.topK), \(plan.expertOffsets.count - 1) experts",
                expectation: "\(x.rows) tokens, top \(c.slots), \(c.choices) experts")
        }
        try checkRows(plan)
        var workspace = MoEWorkspace()
        // The router, and so its context, is not wanted.
        let tokens = x.rows
        try workspace.prepare(cpu, tokens: tokens, slots: c.slots)
        let memory = workspace.buffers!
        let shared = cpu.weights.sharedDown != nil
        x.span.withUnsafeBytes { x in
            guard let base = x.baseAddress, tokens > 0 else { return }
            let activations = Activations(base: base, type: Element.elementType, tokens: tokens)
            copy(plan.expertOffsets, to: memory.offsets)
            copy(plan.rowTokens, to: memory.rowTokens)
            if let rowWeights = memory.rowWeights { copy(plan.rowWeights, to: rowWeights) }
            // The shared expert and the latent projection read the packed tokens, and the shared gate is a column of the router.
            if shared || c.latent != nil { cpu.computeLogits(activations, memory) }
            cpu.computeExperts(activations, memory)
        }
        let columns = cpu.weights.router.columns
        return ExpertOutput(
            rows: try Tensor(
                shape: [plan.rows, c.expertWidth],
                Array(UnsafeBufferPointer(start: memory.rows, count: plan.rows * c.expertWidth))),
            shared: shared
                ? try Tensor(
                    shape: [tokens, c.hidden],
                    Array(UnsafeBufferPointer(start: memory.sharedRows, count: tokens * c.hidden))) : nil,
            sharedGateLogits: cpu.weights.gateColumn.map { column in
                (0..<tokens).map { memory.logits[$0 * columns + column] }
            })
    }

    /// Combine: each token's expert rows weighted and summed in slot order, then the shared expert.
    ///
    /// - Parameters:
    ///   - output: What ``computeExperts(_:_:)`` gave.
    ///   - routing: Whose ``Routing/appliedWeights`` weigh the rows.
    ///   - plan: Made from that routing.
    /// - Returns: y [tokens, hidden].
    /// - Throws: ``MoEError/input(name:value:expectation:)`` when the parts do not fit each other.
    public func combine(
        _ output: ExpertOutput, _ routing: Routing, _ plan: DispatchPlan
    ) throws(MoEError) -> Tensor<Float> {
        let c = configuration
        let cpu = try backend.cpu("a stage alone")
        guard routing.tokens == plan.tokens, routing.topK == plan.topK, routing.topK == c.slots,
            routing.experts == c.choices, output.rows.shape == [plan.rows, c.expertWidth],
            (output.shared?.shape ?? [plan.tokens, c.hidden]) == [plan.tokens, c.hidden],
            (output.shared != nil) == (c.shared != .none),
            (output.sharedGateLogits != nil) == c.shared.isGated,
            (output.sharedGateLogits?.count ?? plan.tokens) == plan.tokens
        else {
            throw .input(
                name: "expert output", value: "rows of shape \(output.rows.shape)",
                expectation: "[\(plan.rows), \(c.expertWidth)], with the routing and plan it came from")
        }
        try checkRows(plan)
        var workspace = MoEWorkspace()
        try workspace.prepare(cpu, tokens: plan.tokens, slots: plan.topK)
        let memory = workspace.buffers!
        copy(output.rows.elements, to: memory.rows)
        copy(plan.slotRows, to: memory.slotRows)
        copy(routing.appliedWeights, to: memory.applied ?? memory.weights)
        if let shared = output.shared { copy(shared.elements, to: memory.sharedRows) }
        if let gates = output.sharedGateLogits, let column = cpu.weights.gateColumn {
            for (token, logit) in gates.enumerated() {
                memory.logits[token * cpu.weights.router.columns + column] = logit
            }
        }
        var y = try Tensor<Float>(shape: [plan.tokens, c.hidden], repeating: 0)
        if plan.tokens > 0 {
            y.mutableSpan.withUnsafeMutableBytes { y in
                cpu.combine(memory, into: CPUBackend.Output(base: y.baseAddress!, type: .float32))
            }
        }
        return y
    }

    private func checkRows(_ plan: DispatchPlan) throws(MoEError) {
        let most = configuration.mostRows(tokens: plan.tokens, slots: plan.topK)
        guard plan.rows <= most else {
            throw .input(
                name: "plan", value: "of \(plan.rows) rows", expectation: "at most \(most) where experts choose")
        }
    }

    private func copy<Element>(_ array: [Element], to target: UnsafeMutablePointer<Element>) {
        array.withUnsafeBufferPointer {
            if let base = $0.baseAddress { target.update(from: base, count: $0.count) }
        }
    }
}

/// What the experts computed, before it is combined.
public struct ExpertOutput: Sendable, Hashable {
    /// One row for each (token, slot) that is computed, grouped by expert as in the plan: [rows, hidden], or the latent width.
    public let rows: Tensor<Float>
    /// The shared expert's output, [tokens, hidden]; nil without one.
    public let shared: Tensor<Float>?
    /// Logits whose sigmoid scales the shared expert, [tokens]; nil where it is not gated.
    public let sharedGateLogits: [Float]?
}

/// Stages on a workspace, on the CPU, for a harness to time: each reads what the one before left there, and may be repeated.
extension MoELayer {
    /// Router GEMM: x [tokens, hidden] → logits. Makes room for the batch; `everyExpert` for the dense baseline too.
    package func runLogits(
        _ x: Span<Float>, workspace: inout MoEWorkspace, everyExpert: Bool = false
    ) throws(MoEError) {
        let cpu = try backend.cpu("a stage alone")
        let tokens = try tokens(x, TokenContext())
        try prepare(cpu, tokens: tokens, &workspace, everyExpert: everyExpert)
        let memory = workspace.buffers!
        x.withUnsafeBytes { x in
            guard let base = x.baseAddress, tokens > 0 else { return }
            cpu.computeLogits(Activations(base: base, type: .float32, tokens: tokens), memory)
        }
    }

    /// Logits → experts and weights.
    package func runSelection(workspace: inout MoEWorkspace) throws(MoEError) {
        try backend.cpu("a stage alone").selectExperts(try memory(workspace))
    }

    /// Choices → rows grouped by expert. With `everyExpert` the batch must have been prepared for it.
    package func runDispatch(workspace: inout MoEWorkspace, everyExpert: Bool = false) throws(MoEError) {
        let cpu = try backend.cpu("a stage alone")
        let memory = try memory(workspace)
        let slots = everyExpert ? configuration.choices : configuration.slots
        guard memory.slots == slots else {
            throw .input(
                name: "workspace", value: "prepared for \(memory.slots) experts a token",
                expectation: "\(slots); runLogits prepares it")
        }
        guard !everyExpert || configuration.capacity == .unlimited else {
            throw .unavailable(what: "every expert", reason: "this layer limits its experts' capacity")
        }
        if everyExpert { cpu.dispatchToEveryExpert(memory) } else { cpu.dispatch(memory) }
        workspace.hasRouting = true
    }

    /// Gather, both grouped GEMMs and the activation.
    package func runExperts(_ x: Span<Float>, workspace: inout MoEWorkspace) throws(MoEError) {
        let cpu = try backend.cpu("a stage alone")
        let memory = try memory(workspace)
        x.withUnsafeBytes { x in
            guard let base = x.baseAddress, memory.tokens > 0 else { return }
            cpu.computeExperts(Activations(base: base, type: .float32, tokens: memory.tokens), memory)
        }
    }

    /// Expert rows → y.
    package func runCombine(into y: inout MutableSpan<Float>, workspace: inout MoEWorkspace) throws(MoEError) {
        let cpu = try backend.cpu("a stage alone")
        let memory = try memory(workspace)
        y.withUnsafeMutableBytes { y in
            guard let base = y.baseAddress, memory.tokens > 0 else { return }
            cpu.combine(memory, into: CPUBackend.Output(base: base, type: .float32))
        }
    }

    private func memory(_ workspace: borrowing MoEWorkspace) throws(MoEError) -> CPUStageBuffers {
        guard let buffers = workspace.buffers else {
            throw .input(name: "workspace", value: "empty", expectation: "one that a batch was prepared in")
        }
        return buffers
    }
}
