import CUDAFake
import Testing

@testable import MoEKernel

/// Runs `body` on a machine that does not exist. Afterwards nothing may be out, nothing may have been used as CUDA forbids, and
/// no error may be left for somebody else's cudaGetLastError.
func withFakeMachine<R>(
    _ machine: fake_machine = fake_two_devices(), sourceLocation: SourceLocation = #_sourceLocation,
    _ body: (CUDARuntime) throws -> R
) rethrows -> R {
    let runtime = CUDARuntime(fake_start(machine))
    defer {
        #expect(fake_live_in_all() == 0, "given back", sourceLocation: sourceLocation)
        #expect(fake_misuse().map { String(cString: $0) } == nil, sourceLocation: sourceLocation)
        #expect(runtime.entryPoints.pointee.cudaGetLastError() == 0, "last error", sourceLocation: sourceLocation)
        fake_stop()
    }
    return try body(runtime)
}

/// The failure that `body` throws.
func cudaFailure(
    sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
) throws -> CUDAFailure {
    let error = #expect(throws: MoEError.self, sourceLocation: sourceLocation) { try body() }
    guard case .cuda(let failure)? = error else {
        Issue.record("\(String(describing: error)) is no failure of CUDA's", sourceLocation: sourceLocation)
        throw CancellationError()
    }
    // Every failure says what was called, what happened and what helps, in one line.
    #expect(
        !failure.call.isEmpty && !failure.problem.isEmpty && !failure.remedy.isEmpty, sourceLocation: sourceLocation)
    #expect((failure.code == 0) == failure.name.isEmpty, sourceLocation: sourceLocation)
    let text = "\(MoEError.cuda(failure))"
    #expect(!text.contains("\n") && text.contains(failure.remedy), sourceLocation: sourceLocation)
    return failure
}

extension CUDARuntime {
    /// The names of the calls made so far.
    var calls: [String] {
        var names: [String] = []
        while let name = fake_call(Int32(names.count)) { names.append(String(cString: name)) }
        return names
    }
}

/// What was launched so far, in order.
func launchedKernels() -> [String] {
    (0..<fake_launches()).map { String(cString: fake_launch_at($0).kernel!) }
}

/// An image in memory of its own.
final class FakeImage {
    private let pointer: UnsafeMutablePointer<fake_image>

    init(machineCode: [Int32] = [80, 90], ptx: Int32 = 80) {
        pointer = .allocate(capacity: 1)
        pointer.initialize(
            to: fake_image_for(machineCode.first ?? 0, machineCode.count > 1 ? machineCode[1] : 0, ptx))
    }

    deinit { pointer.deallocate() }

    var image: KernelImage { KernelImage(UnsafeRawBufferPointer(start: pointer, count: MemoryLayout<fake_image>.size)) }
}
