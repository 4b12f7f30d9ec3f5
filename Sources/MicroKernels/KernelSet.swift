/// Kernels that pack activations and sweep panels of weights, as the library calls them: once a task, never in an inner loop.
public protocol SweepKernels: Sendable {
    /// The most panels a sweep of a single tile takes together; accumulators must hold rows × 16 × this many floats. A tile of
    /// one row takes the most.
    var panelsTogether: Int { get }
    /// Lanes of its vectors.
    var lanes: Int { get }

    func sweep(_ sweep: PanelSweep)
    func pack(_ pack: PackRows)
}

/// The kernels of one instruction set over fp32 activations.
public protocol KernelSet: SweepKernels {
    func select(_ selection: RouterSelection)
    func combine(_ combine: CombineRows)
    func multiplyAddChains(steps: Int, seed: Float) -> Float
    func readThrough(_ memory: UnsafeRawPointer, bytes: Int, _ pattern: ReadPattern) -> UInt32
}
