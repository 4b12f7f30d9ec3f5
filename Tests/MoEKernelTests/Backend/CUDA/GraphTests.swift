import CUDAFake
import Testing

@testable import MoEKernel

@Suite struct GraphTests {
    private func floats(_ tensor: DeviceTensor) -> UnsafeMutablePointer<Float> {
        tensor.address.assumingMemoryBound(to: Float.self)
    }

    /// Nothing happens while it is recorded; each launch does everything, in order.
    @Test func replayKeepsTheOrder() throws {
        try withFakeMachine { runtime in
            let device = try runtime.device(1)
            let stream = try CUDAStream(on: device), other = try CUDAStream(on: device)
            let image = FakeImage()
            let library = try KernelLibrary(image.image, on: device)
            let store = try library.kernel("fake_store", threads: 32)
            let add = try library.kernel("fake_add", threads: 256, dynamicSharedBytes: 64 << 10)
            let x = try DeviceTensor(Tensor<Float>(shape: [4], [1, 2, 3, 4]), on: stream)
            let before = try DeviceTensor(Tensor<Float>(shape: [4], repeating: 0), on: stream)
            let graph = try CUDAGraph(capturing: stream) { () throws(MoEError) in
                try add.launch(
                    fake_add_parameters(x: floats(x), value: 1, count: 4), grid: .init(x: 2, y: 3), on: stream)
                try stream.copyOnDevice(before.address, from: x.address, bytes: 16)
                try store.launch(fake_store_parameters(to: floats(x) + 1, value: 100), grid: .init(x: 1), on: stream)
                try add.launch(fake_add_parameters(x: floats(x), value: 10, count: 2), grid: .init(x: 7), on: stream)
            }
            #expect(fake_launches() == 0)
            #expect(try x.tensor(of: Float.self, on: stream).elements == [1, 2, 3, 4])

            try graph.launch(on: stream)
            #expect(launchedKernels() == ["fake_add", "fake_store", "fake_add"])
            #expect(try x.tensor(of: Float.self, on: stream).elements == [12, 110, 4, 5])
            #expect(try before.tensor(of: Float.self, on: stream).elements == [2, 3, 4, 5])

            try graph.launch(on: other)
            try other.synchronize()
            #expect(launchedKernels() == ["fake_add", "fake_store", "fake_add", "fake_add", "fake_store", "fake_add"])
            #expect(try x.tensor(of: Float.self, on: stream).elements == [23, 110, 5, 6])

            let first = fake_launch_at(3), last = fake_launch_at(5)
            #expect(first.grid.x == 2 && first.grid.y == 3 && first.grid.z == 1 && first.block.x == 256)
            #expect(first.dynamic_shared_bytes == 64 << 10)
            #expect(last.grid.x == 7 && fake_launch_at(4).block.x == 32)
            #expect(fake_live(fake_graph) == 0 && fake_live(fake_executable) == 1)
        }
    }

    /// Parameters are copied when they are recorded.
    @Test func parametersAreThoseOfTheRecording() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let image = FakeImage()
            let store = try KernelLibrary(image.image, on: stream.device).kernel("fake_store", threads: 1)
            let x = try DeviceTensor(Tensor<Float>(shape: [1], [0]), on: stream)
            var parameters = fake_store_parameters(to: floats(x), value: 1)
            let graph = try CUDAGraph(capturing: stream) { () throws(MoEError) in
                try store.launch(parameters, grid: .init(x: 1), on: stream)
                parameters.value = 2
            }
            try graph.launch(on: stream)
            #expect(try x.tensor(of: Float.self, on: stream).elements == [1])
        }
    }

    @Test func waitingInACaptureIsAnError() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let failure = try cudaFailure {
                _ = try CUDAGraph(capturing: stream) { () throws(MoEError) in try stream.synchronize() }
            }
            #expect(failure.kind == .captureFailed && failure.call == "cudaStreamSynchronize" && failure.code == 900)
            #expect(failure.remedy.contains("synchronise before the capture"))
            // A body that hides the error does not get a graph either.
            let hidden = try cudaFailure {
                _ = try CUDAGraph(capturing: stream) { () throws(MoEError) in
                    do throws(MoEError) { try stream.synchronize() } catch {}
                }
            }
            #expect(hidden.kind == .captureFailed && hidden.call == "cudaStreamEndCapture" && hidden.code == 901)
            // The stream works as before.
            try stream.synchronize()
            _ = try CUDAGraph(capturing: stream) {}
        }
    }

    @Test func allocatingInACaptureIsAnError() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let failure = try cudaFailure {
                _ = try CUDAGraph(capturing: stream) { () throws(MoEError) in
                    _ = try DeviceTensor(shape: [4], .float32, on: stream)
                }
            }
            #expect(failure.kind == .captureFailed && failure.problem.contains("a tensor [4] of fp32"))
            try stream.synchronize()
        }
    }

    /// What goes away in a capture is given back after it, with pools and without.
    @Test(arguments: [1, 0] as [Int32]) func memoryThatGoesInACapture(pools: Int32) throws {
        var machine = fake_two_devices()
        machine.memory_pools = pools
        try withFakeMachine(machine) { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let kept = try DeviceTensor(Tensor<Float>(shape: [4], repeating: 1), on: stream)
            var going: DeviceTensor? = try DeviceTensor(shape: [4], .float32, on: stream)
            #expect(going?.isOwned == true)
            let graph = try CUDAGraph(capturing: stream) { () throws(MoEError) in
                going = nil
                #expect(fake_live(fake_device_memory) == 2)
                try kept.fill(byte: 0, on: stream)
            }
            #expect(fake_live(fake_device_memory) == 1)
            try graph.launch(on: stream)
            #expect(try kept.tensor(of: Float.self, on: stream).elements == [0, 0, 0, 0])
        }
    }

    /// A capture of the caller's own: the library hears of its end at the next wait, for the stream or for the device.
    @Test(arguments: [true, false]) func memoryThatGoesInACallersCapture(waitsForStream: Bool) throws {
        try withFakeMachine { runtime in
            let cuda = runtime.entryPoints.pointee
            let stream = try CUDAStream(on: runtime.device(0))
            var going: DeviceTensor? = try DeviceTensor(shape: [4], .float32, on: stream)
            #expect(going?.isOwned == true)
            var graph: OpaquePointer?
            #expect(cuda.cudaStreamBeginCapture(stream.handle, Int32(mc_cudaStreamCaptureModeThreadLocal)) == 0)
            going = nil
            #expect(fake_live(fake_device_memory) == 1)
            #expect(cuda.cudaStreamEndCapture(stream.handle, &graph) == 0)
            #expect(cuda.cudaGraphDestroy(graph) == 0)
            if waitsForStream { try stream.synchronize() } else { try stream.device.synchronize() }
            #expect(fake_live(fake_device_memory) == 0)
        }
    }

    /// The default stream is not captured itself, but spoils the capture of a stream that waits for it.
    @Test func memoryOfTheDefaultStreamThatGoesInACapture() throws {
        try withFakeMachine { runtime in
            let cuda = runtime.entryPoints.pointee
            let device = try runtime.device(0)
            var handle: OpaquePointer?, graph: OpaquePointer?
            #expect(cuda.cudaStreamCreateWithFlags(&handle, 0) == 0)
            do {
                let defaultStream = try CUDAStream(borrowing: nil, on: device)
                var going: DeviceTensor? = try DeviceTensor(Tensor<Float>(shape: [2], [1, 2]), on: defaultStream)
                #expect(try going?.tensor(of: Float.self, on: defaultStream).elements == [1, 2])
                #expect(cuda.cudaStreamBeginCapture(handle, Int32(mc_cudaStreamCaptureModeRelaxed)) == 0)
                let failure = try cudaFailure { _ = try defaultStream.isCapturing() }
                #expect(failure.kind == .captureFailed && failure.code == 906)
                going = nil
                #expect(fake_live(fake_device_memory) == 1)
                #expect(cuda.cudaStreamEndCapture(handle, &graph) == 0)
                try defaultStream.synchronize()
                #expect(fake_live(fake_device_memory) == 0)
            }
            #expect(cuda.cudaGraphDestroy(graph) == 0 && cuda.cudaStreamDestroy(handle) == 0)
        }
    }

    private final class Staging {
        let memory: PinnedMemory

        init(_ device: CUDADevice) throws(MoEError) {
            memory = try PinnedMemory(bytes: 8, on: device, purpose: "a test")
        }
    }

    /// What is in no stream's order can go while another stream is captured, and leaves the capture as it is.
    @Test func otherMemoryThatGoesInACapture() throws {
        var machine = fake_two_devices()
        machine.memory_pools = 0
        try withFakeMachine(machine) { runtime in
            let device = try runtime.device(0)
            let stream = try CUDAStream(on: device), other = try CUDAStream(on: device)
            let kept = try DeviceTensor(Tensor<Float>(shape: [4], repeating: 1), on: stream)
            var going: DeviceTensor? = try DeviceTensor(shape: [4], .float32, on: other)
            var staging: Staging? = try Staging(device)
            #expect(going?.isOwned == true && staging?.memory.bytes.count == 8)
            let graph = try CUDAGraph(capturing: stream) { () throws(MoEError) in
                going = nil
                staging = nil
                #expect(fake_live(fake_device_memory) == 1 && fake_live(fake_pinned_memory) == 0)
                try kept.fill(byte: 0, on: stream)
            }
            #expect(fake_calls("cudaThreadExchangeStreamCaptureMode") == 4)
            try graph.launch(on: stream)
            #expect(try kept.tensor(of: Float.self, on: stream).elements == [0, 0, 0, 0])
        }
    }

    /// A body's own error comes out as it is, and the half of a graph is gone.
    @Test func errorOfTheBodyComesOut() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let x = try DeviceTensor(Tensor<Float>(shape: [4], repeating: 1), on: stream)
            let own = MoEError.unavailable(what: "a test", reason: "it is one")
            #expect(throws: own) {
                try CUDAGraph(capturing: stream) { () throws(MoEError) in
                    try x.fill(byte: 0, on: stream)
                    throw own
                }
            }
            #expect(fake_live(fake_graph) == 0)
            #expect(try x.tensor(of: Float.self, on: stream).elements == [1, 1, 1, 1])
        }
    }
}
