import CMoECUDA

/// What a device can do at most, for a harness that compares layers with it.
package final class CUDAProbe: Sendable {
    private let stream: CUDAStream
    private let kernel: CUDAKernel
    private let type: ElementType
    private let sink: DeviceMemory
    /// Nothing where no copy was asked for.
    private let buffer: DeviceMemory

    /// A pass takes some milliseconds, beside which starting it does not count.
    private static let iterations: Int32 = 20_000
    /// The same on the tests' simulated device.
    private let iterations: Int32

    /// - Parameters:
    ///   - type: What is multiplied.
    ///   - copyBytes: Half of them are read, half written by a copy.
    ///   - isQuick: A pass of a moment, for tests.
    package init(
        on device: CUDADevice, multiplying type: ElementType, copyBytes: Int, isQuick: Bool = false
    ) throws(MoEError) {
        stream = try CUDAStream(on: device)
        kernel = try device.kernels().kernel("probe_multiply_\(type.rawValue)", threads: MC_PROBE_THREADS)
        self.type = type
        iterations = isQuick ? 4 : Self.iterations
        sink = try DeviceMemory(
            bytes: kernel.residentBlocks * MC_PROBE_THREADS * 4, on: stream, purpose: "a probe's sums")
        buffer = try DeviceMemory(bytes: copyBytes, on: stream, purpose: "a probe's copy")
        try stream.fill(buffer.address, byte: 0x3c, bytes: copyBytes)
        try stream.synchronize()
    }

    /// Products in registers on all of the device; returns the floating-point operations done.
    package func multiply() throws(MoEError) -> Int {
        let blocks = kernel.residentBlocks
        var p = mc_probe_parameters()
        p.sink = sink.address.assumingMemoryBound(to: Float.self)
        p.iterations = iterations
        try kernel.launch(p, grid: .init(x: blocks), on: stream)
        try stream.synchronize()
        return blocks * Int(iterations) * Int(mc_probe_operations(Int32(type.byteCount)))
    }

    /// Copies one half of the buffer to the other, several times; returns the bytes read and written.
    package func copy() throws(MoEError) -> Int {
        let half = buffer.byteCount / 2
        let passes = 4
        for _ in 0..<passes {
            try stream.copyOnDevice(buffer.address + half, from: buffer.address, bytes: half)
        }
        try stream.synchronize()
        return 2 * half * passes
    }
}
