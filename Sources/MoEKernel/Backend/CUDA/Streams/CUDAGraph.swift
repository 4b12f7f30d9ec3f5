import CMoECUDA

/// Work recorded once and launched as a whole: a decode step costs one call.
///
/// Addresses and parameters are those of the recording. Whatever memory it uses has to live as long as the graph, and so do the
/// libraries that its kernels were loaded from: the graph keeps neither.
public final class CUDAGraph: @unchecked Sendable {
    public let device: CUDADevice
    private let executable: OpaquePointer?
    private let kept: [CUDAStream.Kept]

    /// Records what `body` gives `stream` to do; nothing of it is done yet.
    ///
    /// - Parameters:
    ///   - stream: Whose work is recorded.
    ///   - body: Must neither allocate device memory nor wait for the stream.
    /// - Throws: What `body` throws; ``MoEError/cuda(_:)``, of kind ``CUDAFailure/Kind/captureFailed`` for work that a
    ///   graph cannot hold. The stream is then as before.
    public init(capturing stream: CUDAStream, _ body: () throws(MoEError) -> Void) throws(MoEError) {
        let context = stream.device.context
        var recorded: [CUDAStream.Kept] = []
        let graph = try Self.capture(stream, keeping: &recorded, body)
        defer { context.release("cudaGraphDestroy") { $0.pointee.cudaGraphDestroy(graph) } }
        var executable: OpaquePointer?
        try context.perform("cudaGraphInstantiate") { $0.pointee.cudaGraphInstantiate(&executable, graph, 0) }
        device = stream.device
        self.executable = executable
        kept = recorded
    }

    deinit { device.context.release("cudaGraphExecDestroy") { $0.pointee.cudaGraphExecDestroy(executable) } }

    /// Does the recorded work, in the order of a stream, which need not be the one of the recording.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for another device's stream, ``MoEError/cuda(_:)``.
    public func launch(on stream: CUDAStream) throws(MoEError) {
        try stream.check(device, "graph")
        for one in kept { one.uses?.note(stream) }
        try device.context.perform("cudaGraphLaunch") { $0.pointee.cudaGraphLaunch(executable, stream.handle) }
    }

    private static func capture(
        _ stream: CUDAStream, keeping recorded: inout [CUDAStream.Kept], _ body: () throws(MoEError) -> Void
    ) throws(MoEError) -> OpaquePointer {
        let context = stream.device.context
        // Other threads may go on allocating meanwhile.
        try context.perform("cudaStreamBeginCapture") {
            $0.pointee.cudaStreamBeginCapture(stream.handle, Int32(mc_cudaStreamCaptureModeThreadLocal))
        }
        stream.startKeeping()
        defer {
            recorded = stream.stopKeeping()
            stream.device.memory.releaseDeferred()
        }
        var graph: OpaquePointer?
        var isOpen = true
        do throws(MoEError) {
            try body()
            try context.perform("cudaStreamEndCapture") {
                isOpen = false
                return $0.pointee.cudaStreamEndCapture(stream.handle, &graph)
            }
        } catch {
            if isOpen { abandon(stream) }
            throw error
        }
        guard let graph else {
            throw .cuda(CUDAFailure(.captureFailed, call: "cudaStreamEndCapture", problem: "no graph came of it"))
        }
        return graph
    }

    /// Ends a capture whose graph nobody wants. That CUDA calls it invalidated is no news: its cause is on its way to
    /// the caller.
    private static func abandon(_ stream: CUDAStream) {
        var graph: OpaquePointer?
        let context = stream.device.context
        context.release("cudaStreamEndCapture") {
            let answer = $0.pointee.cudaStreamEndCapture(stream.handle, &graph)
            guard CUDAErrorCode(rawValue: answer).kind == .captureFailed else { return answer }
            _ = $0.pointee.cudaGetLastError()
            return CUDAErrorCode.success.rawValue
        }
        guard graph != nil else { return }
        context.release("cudaGraphDestroy") { $0.pointee.cudaGraphDestroy(graph) }
    }
}
