import CUDAFake
import CUDAKernelHost
import MoEKernel

/// Runs `body` on a device that does not exist: CUDA's runtime is the fake one, and every launch runs the kernel's own source on the CPU,
/// thread by thread, allowed to touch nothing but what was allocated.
///
/// - Returns: What `body` returns, and what went wrong in kernels or was used as CUDA forbids; nil if nothing did.
package func withTwinMachine<R>(
    _ machine: fake_machine = smallMachine(), _ body: (CUDADevice) throws -> R
) throws -> (result: R, misuse: String?) {
    let runtime = CUDARuntime(fake_start(machine))
    defer { fake_stop() }
    var index = 0
    var bytes = 0
    while let name = ck_kernel(index, &bytes) {
        fake_register_kernel(name, run)
        fake_register_parameters(name, bytes)
        index += 1
    }
    func misuse() -> String? { fake_misuse().map { String(cString: $0) } }
    do {
        let result = try body(try runtime.device(0))
        return (result, misuse())
    } catch {
        // A kernel's own words say more than the fault that CUDA tells of.
        guard let misuse = misuse() else { throw error }
        throw TwinFailure(description: "\(error); \(misuse)", error: error)
    }
}

/// Every kernel of the image.
package func twinKernelNames() -> [String] {
    var names: [String] = []
    var bytes = 0
    while let name = ck_kernel(names.count, &bytes) { names.append(String(cString: name)) }
    return names
}

/// The kernels that were launched so far; nil after more launches than are noted.
package func launchedTwins() -> Set<String>? {
    let count = fake_launches()
    let names = (0..<count).compactMap { fake_launch_at($0).kernel.map { String(cString: $0) } }
    return names.count == count ? Set(names) : nil
}

/// What `body` threw after something had gone wrong in a kernel.
package struct TwinFailure: Error, CustomStringConvertible {
    package let description: String
    package let error: any Error
}

/// One small device: fewer blocks, and so less to simulate, than a real one would be given.
package func smallMachine(multiprocessors: Int32 = 3) -> fake_machine {
    var machine = fake_two_devices()
    machine.device_count = 1
    machine.multiprocessors.0 = multiprocessors
    machine.l2_bytes = 32 << 10
    return machine
}

/// Each launch has an order of threads of its own.
private let run: fake_kernel_body = { arguments, x, y, z, threads, sharedBytes in
    let name = fake_running_kernel()!
    var memory = [fake_memory](repeating: fake_memory(), count: Int(fake_live(fake_device_memory)))
    _ = fake_device_memories(&memory, Int32(memory.count))
    let ranges = memory.map { ck_memory(start: $0.start!, bytes: $0.bytes) }
    var launch = ck_launch(
        kernel: name, parameters: arguments[0]!, grid_x: x, grid_y: y, grid_z: z, threads: threads,
        shared_bytes: sharedBytes)
    var why = [CChar](repeating: 0, count: 2000)
    let succeeded = ck_run(&launch, ranges, ranges.count, UInt64(fake_launches()), &why, why.count)
    guard succeeded != 1 else { return }
    fake_tell(
        "\(String(cString: name)): \(String(decoding: why.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self))"
    )
    fake_fault(Int32(mc_cudaErrorIllegalAddress))
}
