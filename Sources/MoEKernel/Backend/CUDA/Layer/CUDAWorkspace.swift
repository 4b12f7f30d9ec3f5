/// Scratch memory of calls on a device, one call at a time. It grows to the largest batch it has seen, or that
/// ``MoELayer/prepare(_:tokens:output:routerInput:on:)`` made room for; from then on a forward neither allocates nor waits, which is what a
/// CUDA graph needs.
///
/// One workspace may serve all layers of a model in turn. Calls that share one belong to one stream, or wait for each other; so do launches of
/// graphs that were recorded with it.
public struct CUDAWorkspace: ~Copyable {
    private var memory: Memory?
    /// What captures of the caller's own still use, after the workspace has grown.
    private var retired: [Memory] = []
    /// How each layer's buffers lie in the memory.
    private var plans: [Plan] = []
    private(set) var buffers: CUDAStageBuffers?
    /// What the last call was; nil before the first.
    var last: LastCall?

    private final class Memory {
        let memory: DeviceMemory
        let uses = StreamUses()
        var isRecorded = false

        init(bytes: Int, on stream: CUDAStream, purpose: String) throws(MoEError) {
            memory = try DeviceMemory(bytes: bytes, on: stream, purpose: purpose)
        }

        deinit { uses.finish(before: memory.stream) }
    }

    private struct Plan {
        let owner: LayerIdentity
        let capacity: CUDACapacity
        let buffers: CUDAStageBuffers
    }

    /// What is needed to read the routing of a call.
    struct LastCall {
        let configuration: MoEConfiguration
        let owner: LayerIdentity
        let tokens: Int
        let logitStride: Int
    }

    /// An empty workspace; the first call sizes it.
    public init() {}

    /// Bytes of the device's memory that it holds.
    public var byteCount: Int { retired.reduce(memory?.memory.byteCount ?? 0) { $0 + $1.memory.byteCount } }

    /// Makes room for a batch of a layer, whose call is the stream's next. Where memory has to be had, it waits for the stream.
    mutating func prepare(
        _ backend: CUDABackend, _ wanted: CUDACapacity, on stream: CUDAStream
    ) throws(MoEError) {
        try stream.check(backend.device, "stream")
        last = nil
        let isCapturing = try stream.isCapturing()
        if let memory, memory.memory.stream.device === backend.device {
            let place = plans.firstIndex { $0.owner === backend.identity }
            if let place, plans[place].capacity.covers(wanted) {
                buffers = plans[place].buffers
                return used(on: stream, isCapturing)
            }
            // Another layer, or a larger batch, for which the memory may still be enough.
            let capacity = place.map { plans[$0].capacity.union(wanted) } ?? wanted
            var layout = RegionLayout()
            let planned = backend.planBuffers(capacity, layout: &layout)
            if layout.byteCount <= memory.memory.byteCount {
                let plan = Plan(owner: backend.identity, capacity: capacity, buffers: planned(memory.memory.address))
                if let place { plans[place] = plan } else { plans.append(plan) }
                buffers = plan.buffers
                return used(on: stream, isCapturing)
            }
            try grow(backend, capacity, layout.byteCount, planned, on: stream, isCapturing)
        } else {
            var layout = RegionLayout()
            let planned = backend.planBuffers(wanted, layout: &layout)
            try grow(backend, wanted, layout.byteCount, planned, on: stream, isCapturing)
        }
        used(on: stream, isCapturing)
    }

    private mutating func grow(
        _ backend: CUDABackend, _ capacity: CUDACapacity, _ bytes: Int,
        _ planned: (UnsafeMutableRawPointer) -> CUDAStageBuffers, on stream: CUDAStream, _ isCapturing: Bool
    ) throws(MoEError) {
        guard !isCapturing else {
            throw .cuda(
                CUDAFailure(
                    .captureFailed, call: "CUDAWorkspace",
                    problem: "the workspace has to grow to \(bytes) bytes while the stream is captured",
                    remedy: "call MoELayer.prepare before the capture"))
        }
        if let memory, memory.isRecorded { retired.append(memory) }
        buffers = nil
        plans = []
        memory = nil
        let made = try Memory(bytes: bytes, on: stream, purpose: "the workspace of \(capacity.tokens) tokens")
        // From here on any stream may use it.
        try stream.synchronize()
        memory = made
        let plan = Plan(owner: backend.identity, capacity: capacity, buffers: planned(made.memory.address))
        plans = [plan]
        buffers = plan.buffers
    }

    /// Lets a graph that is being recorded keep the memory.
    func keepMemory(with stream: CUDAStream) {
        if let memory { stream.keep(memory, uses: memory.uses) }
    }

    private func used(on stream: CUDAStream, _ isCapturing: Bool) {
        memory?.uses.note(stream)
        if isCapturing, !stream.isKeeping { memory?.isRecorded = true }
    }
}
