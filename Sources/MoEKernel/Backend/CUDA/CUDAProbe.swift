import CMoECUDA

/// What a device can do at most, for a harness that compares layers with it.
package final class CUDAProbe: Sendable {
    private let stream: CUDAStream
    private let kernel: CUDAKernel
    private let type: ElementType
    private let sink: DeviceMemory
    /// Nothing where no copy was asked for.
    private let buffer: DeviceMemory

    private let iterations: Int32

    /// A pass of so many takes some milliseconds, beside which starting it does not count.
    package static let usualIterations = 20_000

    /// - Parameters:
    ///   - type: What is multiplied.
    ///   - copyBytes: Half of them are read, half written by a copy.
    ///   - iterations: Of a pass of products.
    package init(
        on device: CUDADevice, multiplying type: ElementType, copyBytes: Int, iterations: Int = usualIterations
    ) throws(MoEError) {
        stream = try CUDAStream(on: device)
        kernel = try device.kernels().kernel("probe_multiply_\(type.rawValue)", threads: MC_PROBE_THREADS)
        self.type = type
        self.iterations = try kernelInteger(iterations, "iterations")
        sink = try DeviceMemory(
            bytes: kernel.residentBlocks * MC_PROBE_THREADS * 4, on: stream, purpose: "a probe's sums")
        buffer = try DeviceMemory(bytes: copyBytes, on: stream, purpose: "a probe's copy")
        try stream.fill(buffer.address, byte: 0x3c, bytes: copyBytes)
        try stream.synchronize()
    }

    /// Products in registers on all of the device; returns the floating-point operations done.
    package func multiply() throws(MoEError) -> Int {
        try startMultiplying(on: stream)
        try stream.synchronize()
        return kernel.residentBlocks * Int(iterations) * Int(mc_probe_operations(Int32(type.byteCount)))
    }

    /// Puts a pass into a stream: something that keeps the device busy.
    package func startMultiplying(on stream: CUDAStream) throws(MoEError) {
        var p = mc_probe_parameters()
        p.sink = sink.address.assumingMemoryBound(to: Float.self)
        p.iterations = iterations
        try kernel.launch(p, grid: .init(x: kernel.residentBlocks), on: stream)
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
