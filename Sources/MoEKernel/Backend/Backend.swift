/// A layer's input as a backend sees it: [tokens, hidden]; fp32 or bf16 in the host's memory, any type in a device's.
struct Activations: @unchecked Sendable {
    let base: UnsafeRawPointer
    let type: ElementType
    let tokens: Int
}

/// One way to compute a layer. Every stage reads what the one before left in `Memory`; dynamic dispatch is paid once a stage.
protocol Backend: Sendable {
    /// The structs between the stages, for one call at a time.
    associatedtype Memory
    /// Where the result goes.
    associatedtype Output
    /// What a stage may throw: nothing on the CPU.
    associatedtype Failure: Error = Never

    /// x → logits [T, E] → experts and weights [T, k].
    func route(_ x: Activations, _ memory: Memory) throws(Failure)
    /// Experts [T, k] → rows grouped by expert.
    func dispatch(_ memory: Memory) throws(Failure)
    /// x, rows → expert outputs [T·k, H], and the shared expert's [T, H].
    func computeExperts(_ x: Activations, _ memory: Memory) throws(Failure)
    /// Expert outputs, weights → y [T, H].
    func combine(_ memory: Memory, into y: Output) throws(Failure)
}

extension Backend {
    /// The layer.
    func forward(_ x: Activations, into y: Output, _ memory: Memory) throws(Failure) {
        try route(x, memory)
        try dispatch(memory)
        try computeExperts(x, memory)
        try combine(memory, into: y)
    }
}
