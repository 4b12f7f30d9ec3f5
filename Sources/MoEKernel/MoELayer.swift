/// A Mixture-of-Experts layer: router, dispatch, experts, combine.
public final class MoELayer: Sendable {
    public let configuration: MoEConfiguration
    public let pool: ThreadPool

    public init(
        _ configuration: MoEConfiguration, weights: MoEWeights, pool: ThreadPool? = nil,
        instructionSet: CPUInstructionSet? = nil
    ) throws(MoEError) {
        fatalError("pending")
    }

    public func forward<Element>(_ x: Tensor<Element>) throws(MoEError) -> MoEOutput<Element> { fatalError("pending") }

    public func forward<X: ActivationElement, Y: ActivationElement>(
        _ x: Span<X>, into y: inout MutableSpan<Y>, workspace: inout MoEWorkspace
    ) throws(MoEError) { fatalError("pending") }

    /// Instruction set of the kernels this layer runs.
    public var instructionSet: CPUInstructionSet { fatalError("pending") }
    /// Bytes of packed weights.
    public var weightByteCount: Int { fatalError("pending") }

    // Stages on a workspace, for the harness: each reads what the one before left there, and may be repeated.
    package func runLogits(_ x: Span<Float>, workspace: inout MoEWorkspace) throws(MoEError) { fatalError("pending") }
    package func runSelection(workspace: inout MoEWorkspace) throws(MoEError) { fatalError("pending") }
    package func runDispatch(workspace: inout MoEWorkspace, everyExpert: Bool = false) throws(MoEError) {
        fatalError("pending")
    }
    package func runExperts(_ x: Span<Float>, workspace: inout MoEWorkspace) throws(MoEError) { fatalError("pending") }
    package func runCombine(into y: inout MutableSpan<Float>, workspace: inout MoEWorkspace) throws(MoEError) {
        fatalError("pending")
    }
}

/// What a forward returns.
public struct MoEOutput<Element: ActivationElement>: Sendable {
    /// The layer's output, of the input's shape.
    public let y: Tensor<Element>
    /// Where the tokens went.
    public let routing: Routing
}

/// Scratch memory of one call at a time; grows to the largest batch it has seen, then allocates nothing.
public struct MoEWorkspace: ~Copyable {
    public init() {}
    public var byteCount: Int { fatalError("pending") }
    /// The routing of the last call (a copy).
    public var routing: Routing? { fatalError("pending") }
}

/// Threads that layers share.
public final class ThreadPool: Sendable {
    public let threads: Int
    public init(threads: Int? = nil) throws(MoEError) { fatalError("pending") }
}

public enum CPUInstructionSet: String, Sendable, Hashable, CaseIterable {
    case baseline, avx2, avx512
    public static var supported: [CPUInstructionSet] { fatalError("pending") }
    /// MOE_INSTRUCTION_SET if set, else the widest supported.
    public static func chosen() throws(MoEError) -> CPUInstructionSet { fatalError("pending") }
}
