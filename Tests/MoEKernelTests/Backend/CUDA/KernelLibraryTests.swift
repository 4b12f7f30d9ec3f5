import CUDAFake
import Foundation
import Testing

@testable import MoEKernel

@Suite struct KernelLibraryTests {
    @Test func kernelsRunOnWhatTheyAreGiven() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let image = FakeImage()
            let kernel = try KernelLibrary(image.image, on: stream.device).kernel("fake_add", threads: 128)
            let x = try DeviceTensor(Tensor<Float>(shape: [3], [1, 2, 3]), on: stream)
            try kernel.launch(
                fake_add_parameters(x: x.address.assumingMemoryBound(to: Float.self), value: 0.5, count: 2),
                grid: .init(x: 5), on: stream)
            #expect(try x.tensor(of: Float.self, on: stream).elements == [1.5, 2.5, 3])
            let launch = fake_launch_at(0)
            #expect(launch.grid.x == 5 && launch.block.x == 128 && launch.dynamic_shared_bytes == 0)
        }
    }

    /// A kernel keeps its library: the fake notices a handle of one that is unloaded.
    @Test func kernelKeepsItsLibrary() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let image = FakeImage()
            func kernel() throws -> CUDAKernel {
                try KernelLibrary(image.image, on: stream.device).kernel("fake_store", threads: 32)
            }
            let store = try kernel()
            let x = try DeviceTensor(Tensor<Float>(shape: [1], [0]), on: stream)
            try store.launch(
                fake_store_parameters(to: x.address.assumingMemoryBound(to: Float.self), value: 7), grid: .init(x: 1),
                on: stream)
            #expect(try x.tensor(of: Float.self, on: stream).elements == [7])
        }
    }

    /// How many blocks are resident follows from threads and shared memory; more than 48 KiB has to be allowed first.
    @Test func sharedMemory() throws {
        try withFakeMachine { runtime in
            let device = try runtime.device(1)
            let image = FakeImage()
            let library = try KernelLibrary(image.image, on: device)
            let small = try library.kernel("fake_add", threads: 256)
            #expect(small.blocksPerMultiprocessor == 8 && small.residentBlocks == 8 * 132)
            let large = try library.kernel("fake_add", threads: 256, dynamicSharedBytes: 100 << 10)
            #expect(large.blocksPerMultiprocessor == 2 && large.dynamicSharedBytes == 100 << 10)
            for (threads, bytes) in [(0, 0), (1025, 0), (32, -1), (32, 228 << 10)] {
                let failure = try cudaFailure {
                    _ = try library.kernel("fake_add", threads: threads, dynamicSharedBytes: bytes)
                }
                #expect(failure.kind == .tooLarge && failure.remedy.contains("smaller"))
            }
            // With the kibibyte that the kernel declares this is too much, as CUDA says.
            let failure = try cudaFailure {
                _ = try library.kernel("fake_add", threads: 32, dynamicSharedBytes: 227 << 10)
            }
            #expect(failure.call == "cudaKernelSetAttributeForDevice" && failure.problem.contains("fake_add"))
        }
    }

    /// The limit is the kernel's, not the request's: a smaller one after a larger takes nothing away.
    @Test func laterKernelWithLessSharedMemoryLeavesTheEarlierOneItsOwn() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let image = FakeImage()
            let library = try KernelLibrary(image.image, on: stream.device)
            let large = try library.kernel("fake_add", threads: 256, dynamicSharedBytes: 100 << 10)
            let small = try library.kernel("fake_add", threads: 256, dynamicSharedBytes: 64 << 10)
            #expect(large.blocksPerMultiprocessor == 2 && small.blocksPerMultiprocessor == 3)
            let x = try DeviceTensor(Tensor<Float>(shape: [3], [1, 2, 3]), on: stream)
            let parameters = fake_add_parameters(x: x.address.assumingMemoryBound(to: Float.self), value: 1, count: 3)
            for kernel in [large, small] { try kernel.launch(parameters, grid: .init(x: 1), on: stream) }
            #expect(try x.tensor(of: Float.self, on: stream).elements == [3, 4, 5])
            #expect((0..<2).map { fake_launch_at($0).dynamic_shared_bytes } == [100 << 10, 64 << 10])
        }
    }

    /// A registered body is what a launch of its name runs, at once and from graphs, with a copy of the recording's parameters.
    @Test func registeredKernelRunsItsBody() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            fake_register_kernel("twin") { arguments, x, y, z, threads, bytes in
                let parameters = arguments[0]!.load(as: fake_store_parameters.self)
                parameters.to?[0] += parameters.value * Float(x * y * z * threads) + Float(bytes)
            }
            fake_register_parameters("twin", MemoryLayout<fake_store_parameters>.size)
            let image = FakeImage()
            let library = try KernelLibrary(image.image, on: stream.device)
            let twin = try library.kernel("twin", threads: 32, dynamicSharedBytes: 64 << 10)
            let x = try DeviceTensor(Tensor<Float>(shape: [1], [1]), on: stream)
            var parameters = fake_store_parameters(to: x.address.assumingMemoryBound(to: Float.self), value: 0.5)
            try twin.launch(parameters, grid: .init(x: 2, y: 3, z: 5), on: stream)
            let once: Float = 0.5 * 2 * 3 * 5 * 32 + 65536
            #expect(try x.tensor(of: Float.self, on: stream).elements == [1 + once])
            let graph = try CUDAGraph(capturing: stream) { () throws(MoEError) in
                try twin.launch(parameters, grid: .init(x: 2, y: 3, z: 5), on: stream)
                parameters.value = 100
            }
            for _ in 0..<2 { try graph.launch(on: stream) }
            #expect(try x.tensor(of: Float.self, on: stream).elements == [1 + 3 * once])
            #expect(launchedKernels() == ["twin", "twin", "twin"])
        }
    }

    /// A body tells of a fault as a kernel on a device has one: at the next wait.
    @Test func registeredKernelMayFault() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            fake_register_kernel("twin") { _, _, _, _, _, _ in fake_fault(719) }
            let image = FakeImage()
            let twin = try KernelLibrary(image.image, on: stream.device).kernel("twin", threads: 32)
            try twin.launch(fake_store_parameters(to: nil, value: 0), grid: .init(x: 1), on: stream)
            #expect(try cudaFailure { try stream.synchronize() }.code == 719)
        }
    }

    /// A checkout carries its image, and the library carries all of it.
    @Test func embeddedImageIsTheWholeFile() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../../../../Sources/CMoECUDA/kernels/kernels.fatbin")
        let expected = try Data(contentsOf: file)
        let image = try KernelImage.embedded()
        #expect(!expected.isEmpty && image.bytes.elementsEqual(expected))
    }
}
