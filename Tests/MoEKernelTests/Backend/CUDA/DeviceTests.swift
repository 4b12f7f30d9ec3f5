import CUDAFake
import Testing

@testable import MoEKernel

@Suite struct DeviceTests {
    @Test func propertiesAreAskedOneByOne() throws {
        try withFakeMachine { runtime in
            let properties = try CUDADevice.Properties(CUDADriver(runtime), 1)
            #expect(properties.index == 1 && properties.name == "Fake 1")
            #expect(properties.computeCapability == .init(major: 9, minor: 0))
            #expect(properties.multiprocessors == 132 && properties.warpSize == 32)
            #expect(properties.memoryBytes == 1 << 28 && properties.l2Bytes == 50 << 20)
            #expect(properties.sharedBytesPerBlock == 227 << 10 && properties.sharedBytesPerMultiprocessor == 228 << 10)
            #expect(properties.threadsPerBlock == 1024 && properties.threadsPerMultiprocessor == 2048)
            #expect(properties.registersPerMultiprocessor == 65536 && properties.supportsMemoryPools)
            // No context was started for it.
            #expect(fake_live(fake_context) == 0 && !runtime.calls.contains("cuDevicePrimaryCtxRetain"))
        }
    }

    @Test func oneObjectForADeviceInUse() throws {
        try withFakeMachine { runtime in
            var first: CUDADevice? = try runtime.device(0)
            let again = try runtime.device(0)
            #expect(first === again)
            #expect(try runtime.device(1) !== again)
            #expect(fake_live(fake_context) == 1)
            first = nil
            #expect(try runtime.device(0) === again)
        }
    }

    @Test func deviceStartsAnewWhenNobodyUsesIt() throws {
        try withFakeMachine { runtime in
            for _ in 0..<3 {
                _ = try runtime.device(0)
                #expect(fake_live_in_all() == 0)
            }
        }
    }

    /// Calls are for their device, whatever the thread's current one is, and that stays as it was.
    @Test(arguments: [0, 1]) func threadKeepsItsDevice(current: Int32) throws {
        try withFakeMachine { runtime in
            fake_set_device(current)
            let devices = [try runtime.device(0), try runtime.device(1)]
            for device in devices {
                let stream = try CUDAStream(on: device)
                let tensor = try DeviceTensor(Tensor<Float>(shape: [3], [1, 2, 3]), on: stream)
                #expect(try tensor.tensor(of: Float.self, on: stream).elements == [1, 2, 3])
                #expect(fake_device() == current)
            }
            let pushes = runtime.calls.filter { $0 == "cuCtxPushCurrent" }.count
            #expect(pushes > 0 && pushes == runtime.calls.filter { $0 == "cuCtxPopCurrent" }.count)
        }
    }

    @Test func callsOnTheCurrentDeviceAreMadeDirectly() throws {
        try withFakeMachine { runtime in
            let stream = try CUDAStream(on: runtime.device(0))
            try stream.synchronize()
            #expect(fake_calls("cuCtxPushCurrent") == 0)
        }
    }

    /// The right device is not enough: in a context of the caller's own, handles of the primary one are void.
    @Test func callsAreMadeInThePrimaryContext() throws {
        try withFakeMachine { runtime in
            fake_enter_foreign_context()
            let stream = try CUDAStream(on: runtime.device(0))
            let tensor = try DeviceTensor(Tensor<Float>(shape: [3], [1, 2, 3]), on: stream)
            #expect(try tensor.tensor(of: Float.self, on: stream).elements == [1, 2, 3])
            #expect(fake_calls("cuCtxPushCurrent") > 0 && fake_device() == 0)
        }
    }

    /// What a device says is asked of it once.
    @Test func driverAndCountAreAskedOnce() throws {
        try withFakeMachine { runtime in
            _ = try runtime.device(1)
            #expect(fake_calls("cudaGetDeviceCount") == 1)
            let names = fake_calls("cudaGetDriverEntryPointByVersion")
            _ = CUDASurvey(.success(runtime))
            #expect(fake_calls("cudaGetDeviceCount") == 2)
            #expect(names > 0 && fake_calls("cudaGetDriverEntryPointByVersion") == 2 * names)
        }
    }

    @Test func freeBytes() throws {
        try withFakeMachine { runtime in
            let device = try runtime.device(0)
            let stream = try CUDAStream(on: device)
            let memory = try DeviceMemory(bytes: 4096, on: stream, purpose: "a test")
            #expect(try device.freeBytes() == 1 << 28 - 4096)
            withExtendedLifetime(memory) {}
        }
    }

    @Test func surveyListsWhatKernelsRunOn() throws {
        var machine = fake_two_devices()
        machine.device_count = 4
        machine.compute_capability = (75, 90, 120, 120)
        machine.multiprocessors = (72, 132, 170, 188)
        try withFakeMachine(machine) { runtime in
            let survey = CUDASurvey(.success(runtime))
            #expect(survey.available == [.cpu, .cuda(1), .cuda(2), .cuda(3)])
            #expect(survey.best == .cuda(3))
            #expect(survey.failure == nil)
            #expect("\(survey)".hasPrefix("3 devices (1: Fake 1, compute capability 9.0, 132 multiprocessors; 2: "))
            #expect("\(survey)".hasSuffix("runtime 13.0, driver 13.0"))
            for device in survey.available { try survey.check(device) }
            #expect(try cudaFailure { try survey.check(.cuda(0)) }.kind == .unsupportedArchitecture)
            #expect(try cudaFailure { try survey.check(.cuda(4)) }.kind == .noDevice)
            #expect(fake_live(fake_context) == 0)
        }
    }

    @Test func firstOfEqualsIsBest() {
        withFakeMachine { #expect(CUDASurvey(.success($0)).best == .cuda(0)) }
    }

    @Test func surveyWithoutARuntimeSaysWhy() throws {
        let missing = MoEError.cuda(CUDAFailure(.noRuntime, call: "dlopen", problem: "there is none"))
        let survey = CUDASurvey(.failure(missing))
        #expect(survey.available == [.cpu] && survey.best == .cpu && survey.failure == missing)
        #expect("\(survey)" == "\(missing)")
        #expect(try cudaFailure { try survey.check(.cuda(0)) }.kind == .noRuntime)
        try survey.check(.cpu)
    }

    @Test func names() {
        #expect(Device("cpu") == .cpu && Device("cuda") == .cuda(0) && Device("cuda:3") == .cuda(3))
        for name in ["", "gpu", "cpu:0", "cuda:", "cuda:-1", "cuda:x", "cuda:1:2", "CUDA"] {
            #expect(Device(name) == nil)
        }
        for device in [Device.cpu, .cuda(0), .cuda(12)] { #expect(Device("\(device)") == device) }
    }

    /// What this machine says, with a GPU or without: the CPU is always there, and where nothing else is, there is a reason.
    @Test func thisMachine() throws {
        #expect(Device.available.first == .cpu && Device.available.contains(Device.best))
        #expect((Device.available == [.cpu]) == (Device.cudaFailure != nil))
        try Device.cpu.check()
        guard let error = Device.cudaFailure else { return try Device.best.check() }
        let failure = try cudaFailure { throw error }
        #expect(Device.best == .cpu)
        #expect(
            [.noRuntime, .noDriver, .noDevice, .driverTooOld, .unsupportedArchitecture].contains(failure.kind)
                || failure.code != 0)
        #expect(throws: MoEError.self) { try CUDADevice.numbered(0) }
        #expect(throws: MoEError.self) { try Device.cuda(0).check() }
    }
}
