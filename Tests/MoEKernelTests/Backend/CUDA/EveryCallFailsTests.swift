import CUDAFake
import Testing

@testable import MoEKernel

/// One piece of work that makes nearly every call, and a run of it for each call that fails.
@Suite struct EveryCallFailsTests {
    /// Calls that give something back, of which a deinitialiser has nobody to tell at once.
    private static let releases: Set = [
        "cudaMemPoolDestroy", "cudaStreamDestroy", "cudaEventDestroy", "cudaLibraryUnload", "cudaGraphExecDestroy",
        "cudaGraphDestroy", "cudaFreeHost", "cudaFreeAsync", "cudaFree", "cuDevicePrimaryCtxRelease", "cuCtxPopCurrent",
        "cudaThreadExchangeStreamCaptureMode",
    ]

    /// Calls that bring the context in for the sake of the one after them.
    private static let contextCalls: Set = ["cuCtxGetCurrent", "cuCtxPushCurrent", "cuCtxPopCurrent"]

    /// What the call at an index is for: itself, or the call that a context is brought in for.
    private static func purpose(_ calls: [String], _ index: Int) -> String {
        guard calls[index] != "cuCtxPopCurrent" else { return calls[index] }
        return calls[index...].first { !contextCalls.contains($0) } ?? ""
    }

    /// Whether a call asks if memory can be given back now: the release follows it.
    private static func asksBeforeARelease(_ calls: [String], _ index: Int) -> Bool {
        guard purpose(calls, index) == "cudaStreamIsCapturing",
            let asked = calls[index...].firstIndex(of: "cudaStreamIsCapturing")
        else { return false }
        let next = calls[(asked + 1)...].first {
            !contextCalls.contains($0) && $0 != "cudaThreadExchangeStreamCaptureMode"
        }
        return next == "cudaFreeAsync" || next == "cudaFree"
    }

    /// Whether work may go on to its end although a call failed; the calls are those of a run without failures.
    private static func mayGoUnheard(_ calls: [String], _ index: Int, _ code: Int32) -> Bool {
        let call = purpose(calls, index)
        return switch (call, code) {
        // There is another way.
        case ("cudaMallocFromPoolAsync", 2), ("cudaMemPoolCreate", 801), ("cudaMemPoolSetAttribute", 801): true
        default: releases.contains(call) || asksBeforeARelease(calls, index)
        }
    }

    private static func work(_ runtime: CUDARuntime, _ image: KernelImage) throws {
        let device = try runtime.device(1)
        let stream = try CUDAStream(on: device), side = try CUDAStream(on: device)
        let library = try KernelLibrary(image, on: device)
        let kernel = try library.kernel("fake_add", threads: 64, dynamicSharedBytes: 100 << 10)
        let x = try DeviceTensor(Tensor<Float>(shape: [2, 3], [1, 2, 3, 4, 5, 6]), on: stream)
        let y = try DeviceTensor(shape: [2, 3], .float32, on: stream)
        let start = try CUDAEvent(on: device), end = try CUDAEvent(on: device)
        let parameters = fake_add_parameters(x: y.address.assumingMemoryBound(to: Float.self), value: 10, count: 6)
        do {
            let scratch = try DeviceMemory(bytes: 100, on: stream, purpose: "scratch")
            try stream.fill(scratch.address, byte: 1, bytes: 100)
        }
        // Tells of what went wrong in giving back.
        try stream.synchronize()
        let graph = try CUDAGraph(capturing: stream) { () throws(MoEError) in
            try stream.copyOnDevice(y.address, from: x.address, bytes: x.byteCount)
            try kernel.launch(parameters, grid: .init(x: kernel.residentBlocks), on: stream)
        }
        try start.record(on: stream)
        try graph.launch(on: stream)
        try end.record(on: stream)
        try side.wait(for: end)
        let pinned = try PinnedMemory(bytes: y.byteCount, on: device, purpose: "a result")
        try side.copyToHost(pinned.bytes, from: y.address)
        try side.synchronize()
        try end.synchronize()
        _ = try side.isIdle()
        #expect(Array(pinned.bytes.bindMemory(to: Float.self)) == [11, 12, 13, 14, 15, 16])
        #expect(try end.milliseconds(since: start) == 2)
        try device.memory.trim()
        #expect(try device.freeBytes() > 0)
        try device.synchronize()
    }

    @Test(arguments: [2, 35, 209, 700, 719, 801, 901, 999] as [Int32], [1, 0] as [Int32])
    func nothingIsLeftBehind(code: Int32, pools: Int32) throws {
        var machine = fake_two_devices()
        machine.memory_pools = pools
        let image = FakeImage()
        let calls = try withFakeMachine(machine) { runtime in
            try Self.work(runtime, image.image)
            return runtime.calls
        }
        #expect(calls.count > 100)
        for index in calls.indices {
            try withFakeMachine(machine) { runtime in
                fake_fail(nil, Int32(index), code)
                var thrown: CUDAFailure?
                do {
                    try Self.work(runtime, image.image)
                } catch MoEError.cuda(let failure) {
                    thrown = failure
                }
                // Where CUDA did not say whether a stream is captured, what was to be given back waits for the next occasion.
                if Self.asksBeforeARelease(calls, index) { try? runtime.device(1).synchronize() }
                let call = calls[index]
                guard let thrown else {
                    let mayGoUnheard = Self.mayGoUnheard(calls, index, code)
                    #expect(mayGoUnheard, "\(call), call \(index), failed unheard")
                    return
                }
                #expect(thrown.code == Int(code), "\(call)")
                let isOfARelease = Self.releases.contains(call) || Self.asksBeforeARelease(calls, index)
                if !Self.contextCalls.contains(call), !isOfARelease { #expect(thrown.call == call) }
                let sticky = code == 700 || code == 719
                #expect((thrown.kind == .contextLost) == sticky, "\(call)")
            }
        }
    }

    /// What a deinitialiser is told is told to who next waits.
    @Test func failureToGiveBackIsReported() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            fake_fail("cudaFreeAsync", 0, 1)
            _ = try DeviceMemory(bytes: 100, on: stream, purpose: "a test")
            let failure = try cudaFailure { try stream.synchronize() }
            #expect(failure.call == "cudaFreeAsync" && failure.code == 1 && failure.problem.hasPrefix("giving back"))
            try stream.synchronize()
        }
    }
}
