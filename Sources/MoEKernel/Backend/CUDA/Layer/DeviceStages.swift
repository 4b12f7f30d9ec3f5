/// Stages on a device, for a harness to time: each reads what the one before left in the workspace, and may be repeated.
extension MoELayer {
    /// A stage of the layer.
    package enum DeviceStage: String, Sendable, CaseIterable {
        case router, dispatch, experts, combine
    }

    /// Puts one stage into the stream.
    ///
    /// - Parameter workspace: Has seen a whole forward of as many tokens, with the same types.
    package func run(
        _ stage: DeviceStage, _ x: DeviceTensor, into y: DeviceTensor, workspace: inout CUDAWorkspace,
        on stream: CUDAStream
    ) throws(MoEError) {
        let cuda = try backend.cuda()
        guard let buffers = workspace.buffers, let last = workspace.last, last.owner === cuda.identity,
            last.tokens == x.rows
        else {
            throw .input(
                name: "workspace", value: "without this batch", expectation: "one that a forward of it has seen")
        }
        cuda.weights.uses.note(stream)
        let call = CUDACall(
            buffers: buffers, stream: stream, tokens: x.rows, sequenceLength: max(x.rows, 1), capacity: nil,
            realTokens: x.rows, hasMask: false, hasRouterInput: false, outputType: y.elementType)
        let activations = Activations(base: UnsafeRawPointer(x.address), type: x.elementType, tokens: x.rows)
        switch stage {
        case .router: try cuda.route(activations, call)
        case .dispatch: try cuda.dispatch(call)
        case .experts: try cuda.computeExperts(activations, call)
        case .combine: try cuda.combine(call, into: CUDABackend.Output(base: y.address, type: y.elementType))
        }
    }
}
