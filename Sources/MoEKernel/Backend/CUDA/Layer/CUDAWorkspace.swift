/// Scratch memory of a layer's calls on a device, one call at a time. It grows to the largest batch it has seen, or that
/// ``MoELayer/prepare(_:tokens:output:on:)`` made room for; from then on a forward allocates nothing, which is what a CUDA graph needs.
///
/// Calls that share one belong to one stream, or wait for each other. One workspace may serve all layers of a model in turn.
public struct CUDAWorkspace: ~Copyable {
    private var memory: DeviceMemory?
    private var capacity: CUDACapacity?
    private var owner: LayerIdentity?
    private(set) var buffers: CUDAStageBuffers?
    /// What the last call was; nil before the first.
    var last: LastCall?

    /// What is needed to read the routing of a call.
    struct LastCall {
        let backend: CUDABackend
        let tokens: Int
        let logitStride: Int
    }

    /// An empty workspace; the first call sizes it.
    public init() {}

    /// Bytes of the device's memory that it holds.
    public var byteCount: Int {
        switch memory {
        case .some(let memory): memory.byteCount
        case .none: 0
        }
    }

    /// Makes room for a batch of a layer. Where memory has to be had, it waits for the device.
    mutating func prepare(
        _ backend: CUDABackend, _ wanted: CUDACapacity, on stream: CUDAStream
    ) throws(MoEError) {
        try stream.check(backend.device, "stream")
        let sameOwner = owner === backend.identity
        if sameOwner, capacity?.covers(wanted) ?? false { return }
        let larger = sameOwner ? capacity?.union(wanted) ?? wanted : wanted
        var layout = RegionLayout()
        let planned = try backend.planBuffers(larger, layout: &layout)
        last = nil
        if layout.byteCount > byteCount || !(hasMemory(of: backend.device)) {
            let isFirst = byteCount == 0
            buffers = nil
            capacity = nil
            owner = nil
            // Work on any stream may still use the old memory.
            if !isFirst { try backend.device.synchronize() }
            memory = nil
            memory = try DeviceMemory(
                bytes: layout.byteCount, on: stream, purpose: "the workspace of \(wanted.tokens) tokens")
        }
        let placed = planned(address!)
        try backend.fillConstants(placed, larger, on: stream)
        // From here on any stream may use it.
        try stream.synchronize()
        buffers = placed
        capacity = larger
        owner = backend.identity
    }

    private var address: UnsafeMutableRawPointer? {
        switch memory {
        case .some(let memory): memory.address
        case .none: nil
        }
    }

    private func hasMemory(of device: CUDADevice) -> Bool {
        switch memory {
        case .some(let memory): memory.stream.device === device
        case .none: false
        }
    }
}
