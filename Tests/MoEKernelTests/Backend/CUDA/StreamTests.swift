import CUDAFake
import Testing

@testable import MoEKernel

@Suite struct StreamTests {
    @Test func borrowedStreamIsNotDestroyed() throws {
        try withFakeMachine { runtime in
            let device = try runtime.device(0)
            let owner = try CUDAStream(on: device)
            do {
                let borrowed = try CUDAStream(borrowing: owner.rawHandle, on: device)
                #expect(borrowed.rawHandle == owner.rawHandle)
                let tensor = try DeviceTensor(Tensor<Float>(shape: [2], [1, 2]), on: borrowed)
                #expect(try tensor.tensor(of: Float.self, on: owner).elements == [1, 2])
            }
            #expect(fake_live(fake_stream) == 1)
            try owner.synchronize()
        }
    }

    @Test func anotherDevicesObjectsAreRefused() throws {
        try withFakeMachine { runtime in
            let first = try CUDAStream(on: runtime.device(0)), second = try CUDAStream(on: runtime.device(1))
            let error = #expect(throws: MoEError.self) {
                try CUDAStream(borrowing: second.rawHandle, on: first.device)
            }
            #expect(error == .input(name: "stream", value: "one of device 1", expectation: "one of device 0"))
            let event = try CUDAEvent(on: first.device), other = try CUDAEvent(on: second.device)
            #expect(throws: MoEError.self) { try event.record(on: second) }
            #expect(throws: MoEError.self) { try event.milliseconds(since: other) }
            let graph = try CUDAGraph(capturing: first) {}
            #expect(throws: MoEError.self) { try graph.launch(on: second) }
            let image = FakeImage()
            let kernel = try KernelLibrary(image.image, on: first.device).kernel("fake_add", threads: 32)
            #expect(throws: MoEError.self) {
                try kernel.launch(fake_add_parameters(x: nil, value: 0, count: 0), grid: .init(x: 1), on: second)
            }
            #expect(fake_launches() == 0)
        }
    }

    @Test func busyThenIdle() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let event = try CUDAEvent(on: stream.device)
            #expect(try stream.isIdle())
            let tensor = try DeviceTensor(shape: [4], .float32, on: stream)
            try tensor.fill(byte: 0, on: stream)
            #expect(try !stream.isIdle())
            #expect(try stream.isIdle())
            try tensor.fill(byte: 0, on: stream)
            try event.record(on: stream)
            #expect(try !event.isDone())
            #expect(try event.isDone())
        }
    }

    @Test func eventsTellTheTimeBetween() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let start = try CUDAEvent(on: stream.device), end = try CUDAEvent(on: stream.device)
            let untimed = try CUDAEvent(on: stream.device, timing: false)
            let tensor = try DeviceTensor(shape: [4], .float32, on: stream)
            try start.record(on: stream)
            for _ in 0..<3 { try tensor.fill(byte: 0, on: stream) }
            try end.record(on: stream)
            try untimed.record(on: stream)
            try end.synchronize()
            // The fake takes a millisecond for each operation.
            #expect(try end.milliseconds(since: start) == 3)
            #expect(throws: MoEError.self) { try untimed.milliseconds(since: start) }
        }
    }

    /// A copy to the host is there after the wait, not before: the fake lands it late.
    @Test func copiesLandWhenWaitedFor() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let tensor = try DeviceTensor(Tensor<Float>(shape: [2], [1, 2]), on: stream)
            let pinned = try PinnedMemory(bytes: 8, on: stream.device, purpose: "a test")
            let values = pinned.bytes.bindMemory(to: Float.self)
            values.initialize(repeating: 0)
            try stream.copyToHost(pinned.bytes, from: tensor.address)
            #expect(Array(values) == [0, 0])
            try stream.synchronize()
            #expect(Array(values) == [1, 2])
        }
    }

    @Test func copiesOutOfBoundsAreRefused() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let tensor = try DeviceTensor(shape: [2], .float32, on: stream)
            let failure = try cudaFailure { try stream.fill(tensor.address, byte: 0, bytes: 9) }
            #expect(failure.kind == .refused && failure.call == "cudaMemsetAsync")
        }
    }
}

@Suite struct DeviceTensorTests {
    @Test func copiesBothWays() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let values = try Tensor<BFloat16>(shape: [2, 2, 2], (0..<8).map { BFloat16(Float($0)) })
            let tensor = try DeviceTensor(values, on: stream)
            #expect(tensor.isOwned && tensor.elementType == .bfloat16 && tensor.shape == [2, 2, 2])
            #expect(tensor.count == 8 && tensor.byteCount == 16 && tensor.rows == 4 && tensor.columns == 2)
            #expect(try tensor.tensor(of: BFloat16.self, on: stream) == values)
            let twice = try Tensor<BFloat16>(shape: [2, 2, 2], (0..<8).map { BFloat16(Float(2 * $0)) })
            try tensor.copy(from: twice, on: stream)
            #expect(try tensor.tensor(of: BFloat16.self, on: stream) == twice)
            #expect(throws: MoEError.self) { try tensor.tensor(of: Float.self, on: stream) }
            #expect(throws: MoEError.self) {
                try tensor.copy(from: Tensor<BFloat16>(shape: [8], twice.elements), on: stream)
            }
        }
    }

    @Test func anotherDevicesStreamIsRefused() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0)), other = try CUDAStream(on: runtime.device(1))
            let values = try Tensor<Float>(shape: [2], [1, 2])
            let tensor = try DeviceTensor(values, on: stream)
            let expected = MoEError.input(
                name: "tensor", value: "on device 0", expectation: "on device 1, the stream's")
            #expect(throws: expected) { try tensor.copy(from: values, on: other) }
            #expect(throws: expected) { try tensor.tensor(of: Float.self, on: other) }
            #expect(throws: expected) { try tensor.fill(byte: 0, on: other) }
            #expect(try tensor.tensor(of: Float.self, on: stream) == values)
        }
    }

    @Test func borrowedMemoryStaysItsOwners() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            let owner = try DeviceTensor(Tensor<Float>(shape: [8], repeating: 2), on: stream)
            do {
                let half = try DeviceTensor(
                    borrowing: owner.address + 16, shape: [4], .float32, on: stream.device, lender: owner)
                #expect(!half.isOwned)
                try half.copy(from: Tensor<Float>(shape: [4], repeating: 3), on: stream)
            }
            #expect(fake_live(fake_device_memory) == 1)
            #expect(try owner.tensor(of: Float.self, on: stream).elements == [2, 2, 2, 2, 3, 3, 3, 3])
            let odd = #expect(throws: MoEError.self) {
                try DeviceTensor(borrowing: owner.address + 4, shape: [4], .float32, on: stream.device)
            }
            #expect("\(try #require(odd))".contains("a multiple of 16"))
        }
    }

    /// A tensor keeps its lender, and everything keeps its device.
    @Test func whatIsNeededLives() throws {
        try withFakeMachine { runtime in
            func borrowed() throws -> (DeviceTensor, CUDAStream) {
                let stream = try CUDAStream(on: runtime.device(0))
                let owner = try DeviceTensor(Tensor<Float>(shape: [4], repeating: 5), on: stream)
                let tensor = try DeviceTensor(
                    borrowing: owner.address, shape: [4], .float32, on: stream.device, lender: owner)
                return (tensor, stream)
            }
            let (tensor, stream) = try borrowed()
            #expect(try tensor.tensor(of: Float.self, on: stream).elements == [5, 5, 5, 5])
        }
    }

    /// A driver that says it has pools, and has none.
    @Test func plainMemoryWherePoolsFail() throws {
        try withFakeMachine { runtime in
            fake_fail("cudaMemPoolCreate", 0, 801)
            let stream = try CUDAStream(on: runtime.device(0))
            let tensor = try DeviceTensor(Tensor<Float>(shape: [2], [1, 2]), on: stream)
            #expect(try tensor.tensor(of: Float.self, on: stream).elements == [1, 2])
            #expect(fake_calls("cudaMalloc") == 1 && fake_calls("cudaMallocFromPoolAsync") == 0)
        }
    }
}
