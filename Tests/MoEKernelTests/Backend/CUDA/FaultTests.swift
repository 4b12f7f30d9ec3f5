import CUDAFake
import Testing

@testable import MoEKernel

/// Every fault that a machine can have is an error that names the call and the remedy, and leaves nothing behind.
@Suite struct FaultTests {
    @Test func noDriver() throws {
        var machine = fake_two_devices()
        machine.driver_version = 0
        try withFakeMachine(machine) { runtime in
            let failure = try cudaFailure { _ = try runtime.device(0) }
            #expect(failure.kind == .noDriver && failure.call == "cudaDriverGetVersion")
            #expect(failure.problem == "CUDA runtime 13.0 found, but no NVIDIA driver")
            #expect(CUDASurvey(.success(runtime)).failure == .cuda(failure))
        }
    }

    @Test func driverOlderThanTheRuntime() throws {
        var machine = fake_two_devices()
        machine.driver_version = 12040
        try withFakeMachine(machine) { runtime in
            let failure = try cudaFailure { _ = try runtime.device(0) }
            #expect(failure.kind == .driverTooOld && failure.call == "cudaGetDeviceCount")
            #expect(failure.code == 35 && failure.name == "cudaErrorInsufficientDriver")
            #expect(failure.problem.contains("driver for CUDA 12.4, runtime 13.0"))
            #expect(failure.remedy.contains("update NVIDIA's driver"))
        }
    }

    @Test func noDevice() throws {
        var machine = fake_two_devices()
        machine.device_count = 0
        try withFakeMachine(machine) { runtime in
            let failure = try cudaFailure { _ = try runtime.device(0) }
            #expect(failure.kind == .noDevice && failure.code == 100 && failure.call == "cudaGetDeviceCount")
            #expect(failure.remedy.contains("CUDA_VISIBLE_DEVICES"))
        }
    }

    @Test(arguments: [2, -1, .max]) func noSuchDevice(index: Int) throws {
        try withFakeMachine { runtime in
            let failure = try cudaFailure { _ = try runtime.device(index) }
            #expect(
                failure.kind == .noDevice && failure.problem.contains("device \(index) was asked for; CUDA finds 2"))
        }
    }

    @Test(arguments: [70, 75]) func architectureBelowEight(capability: Int32) throws {
        var machine = fake_two_devices()
        machine.compute_capability = (capability, capability, 0, 0)
        try withFakeMachine(machine) { runtime in
            let failure = try cudaFailure { _ = try runtime.device(0) }
            #expect(failure.kind == .unsupportedArchitecture)
            #expect(failure.problem.contains("compute capability 7.\(capability % 10); the kernels need 8.0"))
            #expect(CUDASurvey(.success(runtime)).failure == .cuda(failure))
        }
    }

    /// Newer than the image: PTX serves it, and without PTX the error comes before the first launch.
    @Test func deviceNewerThanTheImage() throws {
        var machine = fake_two_devices()
        machine.compute_capability = (120, 120, 0, 0)
        try withFakeMachine(machine) { runtime in
            let device = try runtime.device(0)
            let withPTX = FakeImage()
            _ = try KernelLibrary(withPTX.image, on: device).kernel("fake_add", threads: 128)
            let without = FakeImage(ptx: 0)
            let library = try KernelLibrary(without.image, on: device)
            let failure = try cudaFailure { _ = try library.kernel("fake_add", threads: 128) }
            #expect(failure.kind == .noCodeForDevice && failure.code == 209)
            #expect(failure.call == "cudaOccupancyMaxActiveBlocksPerMultiprocessor")
            #expect(failure.problem.contains("kernel fake_add on Fake 0, compute capability 12.0"))
            #expect(failure.remedy.contains("PTX"))
        }
    }

    @Test func unreadableImage() throws {
        try withFakeMachine { runtime in
            let device = try runtime.device(0)
            let bytes: [UInt64] = [1, 2, 3, 4]
            try bytes.withUnsafeBytes { bytes in
                let failure = try cudaFailure { _ = try KernelLibrary(KernelImage(bytes), on: device) }
                #expect(failure.kind == .noCodeForDevice && failure.call == "cudaLibraryLoadData")
            }
        }
    }

    @Test func kernelThatTheImageLacks() throws {
        try withFakeMachine { runtime in
            let image = FakeImage()
            let library = try KernelLibrary(image.image, on: runtime.device(0))
            let failure = try cudaFailure { _ = try library.kernel("fake_sort", threads: 32) }
            #expect(failure.kind == .incompleteImage && failure.problem.contains("fake_sort"))
            #expect(failure.remedy.contains("Benchmarks/kernels.sh"))
        }
    }

    @Test(arguments: [1, 0] as [Int32]) func outOfDeviceMemory(pools: Int32) throws {
        var machine = fake_two_devices()
        machine.memory_pools = pools
        try withFakeMachine(machine) { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let held = try DeviceMemory(bytes: 1 << 27, on: stream, purpose: "weights")
            let failure = try cudaFailure { _ = try DeviceTensor(shape: [1 << 14, 1 << 13], .float32, on: stream) }
            #expect(failure.kind == .outOfDeviceMemory && failure.code == 2)
            #expect(failure.call == (pools == 1 ? "cudaMallocFromPoolAsync" : "cudaMalloc"))
            #expect(failure.problem.contains("536870912 bytes for a tensor [16384, 8192] of fp32 on device 0"))
            #expect(failure.remedy.contains("smaller batch"))
            // The pool was given the chance to put its pieces together first.
            #expect(fake_calls("cudaMemPoolTrimTo") == pools)
            // The device is well: what fits is had.
            _ = try DeviceMemory(bytes: 1 << 26, on: stream, purpose: "a smaller batch")
            try stream.synchronize()
            withExtendedLifetime(held) {}
        }
    }

    @Test func memoryInPiecesIsPutTogether() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            fake_fail("cudaMallocFromPoolAsync", 0, 2)
            _ = try DeviceMemory(bytes: 256, on: stream, purpose: "a test")
            #expect(fake_calls("cudaMallocFromPoolAsync") == 2 && fake_calls("cudaMemPoolTrimTo") == 1)
        }
    }

    @Test func outOfPinnedMemory() throws {
        try withFakeMachine { runtime in
            let device = try runtime.device(0)
            let failure = try cudaFailure { _ = try PinnedMemory(bytes: 1 << 25, on: device, purpose: "staging") }
            #expect(failure.kind == .outOfPinnedMemory && failure.code == 2 && failure.call == "cudaHostAlloc")
            #expect(failure.problem.contains("33554432 page-locked bytes for staging"))
            #expect(failure.remedy.contains("ulimit -l"))
            _ = try PinnedMemory(bytes: 1 << 20, on: device, purpose: "staging")
        }
    }

    @Test(arguments: [Int(Int32.max) + 1, .max, .min]) func countsPastThirtyOneBits(count: Int) throws {
        #expect(try kernelInteger(Int(Int32.max), "rows") == .max)
        let failure = try cudaFailure { _ = try kernelInteger(count, "rows") }
        #expect(failure.kind == .tooLarge && failure.problem.contains("rows is \(count)"))
        #expect(failure.remedy == "split the batch")
    }

    /// More than 2³¹ elements are no fault in themselves, as offsets have 64 bits; an extent of 2³¹ is, and bytes past
    /// 2⁶³ are. What is left does not fit the device.
    @Test(arguments: [
        ([1 << 31], CUDAFailure.Kind.tooLarge), ([3, 1 << 40], .tooLarge), ([1 << 30, 1 << 30, 1 << 30], .tooLarge),
        ([1 << 20, 1 << 20], .outOfDeviceMemory),
    ]) func tensorsPastThirtyOneBits(shape: [Int], kind: CUDAFailure.Kind) throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let failure = try cudaFailure { _ = try DeviceTensor(shape: shape, .float16, on: stream) }
            #expect(failure.kind == kind)
        }
    }

    @Test(arguments: [(1 << 31, 1, 1), (1, 65_536, 1), (1, 1, 65_536)]) func moreBlocksThanALaunchTakes(
        x: Int, y: Int, z: Int
    ) throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let image = FakeImage()
            let kernel = try KernelLibrary(image.image, on: stream.device).kernel("fake_add", threads: 32)
            let failure = try cudaFailure {
                let parameters = fake_add_parameters(x: nil, value: 0, count: 0)
                try kernel.launch(parameters, grid: .init(x: x, y: y, z: z), on: stream)
            }
            #expect(failure.kind == .tooLarge && failure.problem.contains("of kernel fake_add is"))
            #expect(fake_launches() == 0)
        }
    }

    @Test(arguments: [(0, 1, 1), (1, 0, 1), (1, 1, -1)]) func launchWithoutBlocks(x: Int, y: Int, z: Int) throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let image = FakeImage()
            let kernel = try KernelLibrary(image.image, on: stream.device).kernel("fake_add", threads: 32)
            #expect(throws: MoEError.self) {
                let parameters = fake_add_parameters(x: nil, value: 0, count: 0)
                try kernel.launch(parameters, grid: .init(x: x, y: y, z: z), on: stream)
            }
            #expect(fake_launches() == 0)
        }
    }

    @Test func emptyTensorsAreNoFault() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let tensor = try DeviceTensor(Tensor<Float>(shape: [0, 5], []), on: stream)
            #expect(try tensor.tensor(of: Float.self, on: stream).elements.isEmpty)
            let large = try DeviceTensor(shape: [0, 1 << 30, 1 << 30, 1 << 30], .float32, on: stream)
            #expect(large.byteCount == 0 && large.count == 0 && large.rows == 0)
            for shape in [[], [-1], [2, -3]] {
                #expect(throws: MoEError.self) { try DeviceTensor(shape: shape, .float32, on: stream) }
            }
        }
    }

    @Test func badAddressInAKernel() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let image = FakeImage()
            let kernel = try KernelLibrary(image.image, on: stream.device).kernel("fake_add", threads: 32)
            let tensor = try DeviceTensor(Tensor<Float>(shape: [8], repeating: 1), on: stream)
            let parameters = fake_add_parameters(
                x: tensor.address.assumingMemoryBound(to: Float.self), value: 1, count: 9)
            // The launch itself is well, as on a device.
            try kernel.launch(parameters, grid: .init(x: 1), on: stream)
            let failure = try cudaFailure { _ = try tensor.tensor(of: Float.self, on: stream) }
            #expect(failure.kind == .contextLost && failure.code == 700 && failure.name == "cudaErrorIllegalAddress")
            #expect(failure.call == "cudaStreamSynchronize")
            #expect(failure.remedy.contains("start the process anew"))
        }
    }

    static let sticky: [Int32] = [226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911]

    /// After a fault every later call on the device says so, without asking CUDA; another device goes on; the process lives.
    @Test(arguments: sticky) func lostContextSaysSoEverywhere(code: Int32) throws {
        try withFakeMachine { runtime in
            let device = try runtime.device(0)
            let stream = try CUDAStream(on: device)
            let event = try CUDAEvent(on: device), second = try CUDAEvent(on: device)
            let image = FakeImage()
            let library = try KernelLibrary(image.image, on: device)
            let kernel = try library.kernel("fake_add", threads: 32)
            let tensor = try DeviceTensor(Tensor<Float>(shape: [8], repeating: 1), on: stream)
            let graph = try CUDAGraph(capturing: stream) { () throws(MoEError) in try tensor.fill(byte: 0, on: stream) }
            let parameters = fake_add_parameters(
                x: tensor.address.assumingMemoryBound(to: Float.self), value: 1, count: 8)
            let other = try CUDAStream(on: runtime.device(1))

            fake_fault(code)
            try kernel.launch(parameters, grid: .init(x: 1), on: stream)
            let first = try cudaFailure { try event.synchronize() }
            #expect(first.kind == .contextLost && first.code == Int(code) && first.call == "cudaEventSynchronize")

            let calls = fake_calls(nil)
            let later: [(String, () throws -> Void)] = [
                ("cudaStreamSynchronize", { try stream.synchronize() }),
                ("cudaStreamQuery", { _ = try stream.isIdle() }),
                ("cudaStreamWaitEvent", { try stream.wait(for: event) }),
                ("cudaStreamCreateWithFlags", { _ = try CUDAStream(on: device) }),
                ("cudaStreamGetDevice", { _ = try CUDAStream(borrowing: stream.rawHandle, on: device) }),
                ("cudaStreamBeginCapture", { _ = try CUDAGraph(capturing: stream) {} }),
                ("cudaGraphLaunch", { try graph.launch(on: stream) }),
                ("cudaEventCreateWithFlags", { _ = try CUDAEvent(on: device) }),
                ("cudaEventRecord", { try event.record(on: stream) }),
                ("cudaEventQuery", { _ = try event.isDone() }),
                ("cudaEventElapsedTime", { _ = try second.milliseconds(since: event) }),
                ("cudaLibraryLoadData", { _ = try KernelLibrary(image.image, on: device) }),
                ("cudaLibraryGetKernel", { _ = try library.kernel("fake_store", threads: 32) }),
                ("cudaLaunchKernelExC", { try kernel.launch(parameters, grid: .init(x: 1), on: stream) }),
                ("cudaStreamIsCapturing", { _ = try DeviceTensor(shape: [8], .float32, on: stream) }),
                ("cudaMemcpyAsync", { _ = try tensor.tensor(of: Float.self, on: stream) }),
                ("cudaMemsetAsync", { try tensor.fill(byte: 0, on: stream) }),
                ("cudaHostAlloc", { _ = try PinnedMemory(bytes: 8, on: device, purpose: "a test") }),
                ("cudaDeviceSynchronize", { try device.synchronize() }),
                ("cudaMemGetInfo", { _ = try device.freeBytes() }),
            ]
            for (call, body) in later {
                let failure = try cudaFailure { try body() }
                #expect(failure.kind == .contextLost && failure.code == Int(code) && failure.call == call)
                #expect(failure.problem.contains("device 0 is lost since cudaEventSynchronize told of a fault"))
            }
            #expect(fake_calls(nil) == calls)
            // Whoever asks for the device now gets the one that is lost.
            #expect(try cudaFailure { try runtime.device(0).synchronize() }.kind == .contextLost)

            let elsewhere = try DeviceTensor(Tensor<Float>(shape: [2], [3, 4]), on: other)
            #expect(try elsewhere.tensor(of: Float.self, on: other).elements == [3, 4])
        }
    }

    /// Errors that end nothing are told once, and the device works on.
    @Test(arguments: [1, 400, 999] as [Int32]) func otherErrorsEndNothing(code: Int32) throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            fake_fail("cudaMemsetAsync", 0, code)
            let tensor = try DeviceTensor(shape: [4], .float32, on: stream)
            let failure = try cudaFailure { try tensor.fill(byte: 0, on: stream) }
            #expect(failure.kind == .refused && failure.code == Int(code) && failure.call == "cudaMemsetAsync")
            try tensor.fill(byte: 0, on: stream)
            #expect(try tensor.tensor(of: Float.self, on: stream).elements == [0, 0, 0, 0])
        }
    }

    @Test func driverWithoutAnEntryPoint() throws {
        try withFakeMachine { runtime in
            fake_fail("cudaGetDriverEntryPointByVersion", 2, 500)
            let failure = try cudaFailure { _ = try runtime.device(0) }
            #expect(failure.kind == .driverTooOld && failure.call == "cudaGetDriverEntryPointByVersion")
            #expect(failure.problem.contains("cuDeviceTotalMem"))
        }
    }

    /// What else goes wrong there is no matter of the driver's age.
    @Test func driverThatCannotBeAsked() throws {
        try withFakeMachine { runtime in
            fake_fail("cudaGetDriverEntryPointByVersion", 0, 999)
            let failure = try cudaFailure { _ = try runtime.device(0) }
            #expect(failure.kind == .refused && failure.code == 999 && failure.problem.contains("cuDeviceGet"))
        }
    }
}
