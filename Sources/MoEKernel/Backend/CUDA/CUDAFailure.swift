/// What went wrong in the use of an NVIDIA GPU: the call, CUDA's code and its name, what that means here, and what can
/// be done about it.
///
/// It comes in ``MoEError/cuda(_:)``. The process lives on after any of them, and whatever had been allocated for the
/// call is given back.
public struct CUDAFailure: Error, Sendable, Hashable {
    /// What a program may want to tell apart.
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// libcudart was not found, or what was found is no runtime of 12.8 or later.
        case noRuntime
        /// There is no NVIDIA driver.
        case noDriver
        /// The driver is older than the runtime or the kernels' image.
        case driverTooOld
        /// No device, or not the one that was asked for.
        case noDevice
        /// The device is older than compute capability 8.0.
        case unsupportedArchitecture
        /// The device is of a kind that the image has neither machine code nor PTX for.
        case noCodeForDevice
        /// This build carries no kernels, or not all of them.
        case incompleteImage
        /// The device has no memory left.
        case outOfDeviceMemory
        /// The system gives no more page-locked memory.
        case outOfPinnedMemory
        /// A count that kernels take as 32 bits does not fit, or bytes do not fit 64.
        case tooLarge
        /// A fault on the device ended its context: every later call on the device fails with this, until the process
        /// starts anew.
        case contextLost
        /// Something that a CUDA graph cannot hold happened while one was captured.
        case captureFailed
        /// Any other refusal of CUDA's.
        case refused
    }

    public let kind: Kind
    /// The entry point that failed, such as `cudaLaunchKernelExC`; for a check of the library's own, the function that made it.
    public let call: String
    /// CUDA's error code; 0 where CUDA was not asked.
    public let code: Int
    /// The code's name, such as `cudaErrorIllegalAddress`; empty where CUDA was not asked.
    public let name: String
    /// What happened, with the values that matter.
    public let problem: String
    /// What can be done.
    public let remedy: String

    init(
        _ kind: Kind, call: String, code: Int32 = 0, name: String = "", problem: String, remedy: String? = nil
    ) {
        self.kind = kind
        self.call = call
        self.code = Int(code)
        self.name = name
        self.problem = problem
        self.remedy = remedy ?? kind.remedy
    }
}

extension CUDAFailure: CustomStringConvertible {
    /// One line.
    public var description: String {
        let answer = name.isEmpty ? call : "\(call): \(code), \(name)"
        return "\(problem) (\(answer)); \(remedy)"
    }
}

extension CUDAFailure.Kind {
    /// What helps in most cases of this kind.
    var remedy: String {
        switch self {
        case .noRuntime:
            "install CUDA 12.8 or later, or name its libcudart in MOE_CUDART"
        case .noDriver:
            "install NVIDIA's driver, or give the container access to it"
        case .driverTooOld:
            "update NVIDIA's driver"
        case .noDevice:
            "see what nvidia-smi lists, its compute mode, and what CUDA_VISIBLE_DEVICES hides"
        case .unsupportedArchitecture:
            "use the CPU, or a GPU of compute capability 8.0 or later"
        case .noCodeForDevice:
            "build the image for this device, or with PTX (Benchmarks/kernels.sh build)"
        case .incompleteImage:
            "build the image (Benchmarks/kernels.sh build), then this package"
        case .outOfDeviceMemory:
            "use a smaller batch or fewer layers, or free what else is on the device"
        case .outOfPinnedMemory:
            "use a smaller batch, or raise the limit on locked memory (ulimit -l)"
        case .tooLarge:
            "split the batch"
        case .contextLost:
            "start the process anew, as what was computed on this device since then is void; compute-sanitizer names the kernel"
        case .captureFailed:
            "allocate and synchronise before the capture, not in it"
        case .refused:
            "see CUDA's documentation of this code"
        }
    }
}
