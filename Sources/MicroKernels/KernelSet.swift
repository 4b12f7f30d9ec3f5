/// The kernels of one instruction set, as the library calls them: once a task, never in an inner loop.
public protocol KernelSet: Sendable {
    /// The most panels a sweep of a single tile takes together; accumulators must hold rows × 16 × this many floats.
    var panelsTogether: Int { get }
    /// Lanes of its vectors.
    var lanes: Int { get }

    func sweep(_ sweep: PanelSweep)
    func select(_ selection: RouterSelection)
    func combine(_ combine: CombineRows)
    func pack(_ pack: PackRows)
    func multiplyAddChains(steps: Int, seed: Float) -> Float
    func readThrough(_ memory: UnsafeRawPointer, bytes: Int, _ pattern: ReadPattern) -> UInt32
}
