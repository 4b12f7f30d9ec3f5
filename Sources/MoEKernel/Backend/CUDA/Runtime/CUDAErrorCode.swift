import CMoECUDA

/// A code that CUDA answers with.
struct CUDAErrorCode: RawRepresentable, Sendable, Hashable {
    let rawValue: Int32

    init(rawValue: Int32) { self.rawValue = rawValue }
    init(_ constant: Int) { rawValue = Int32(constant) }

    static let success = Self(mc_cudaSuccess)
    static let memoryAllocation = Self(mc_cudaErrorMemoryAllocation)
    static let insufficientDriver = Self(mc_cudaErrorInsufficientDriver)
    static let noDevice = Self(mc_cudaErrorNoDevice)
    static let notReady = Self(mc_cudaErrorNotReady)

    /// Whether the context is lost with it: CUDA answers every later call with the same code. These are the codes of
    /// which NVIDIA's headers say that the process has to be started anew, and the one for a context that somebody else
    /// destroyed.
    var isSticky: Bool { Self.sticky.contains(self) }

    private static let sticky: Set<Self> = Set(
        [
            mc_cudaErrorContained, mc_cudaErrorIllegalAddress, mc_cudaErrorLaunchTimeout,
            mc_cudaErrorContextIsDestroyed, mc_cudaErrorAssert, mc_cudaErrorHardwareStackError,
            mc_cudaErrorIllegalInstruction, mc_cudaErrorMisalignedAddress, mc_cudaErrorInvalidAddressSpace,
            mc_cudaErrorInvalidPc, mc_cudaErrorLaunchFailure, mc_cudaErrorTensorMemoryLeak,
            mc_cudaErrorMpsClientTerminated, mc_cudaErrorExternalDevice,
        ].map { Self($0) })

    /// What a program is told.
    var kind: CUDAFailure.Kind {
        if isSticky { return .contextLost }
        return switch Int(rawValue) {
        case mc_cudaErrorMemoryAllocation: .outOfDeviceMemory
        case mc_cudaErrorStubLibrary: .noDriver
        case mc_cudaErrorInsufficientDriver, mc_cudaErrorCallRequiresNewerDriver, mc_cudaErrorUnsupportedPtxVersion,
            mc_cudaErrorSystemDriverMismatch, mc_cudaErrorCompatNotSupportedOnDevice:
            .driverTooOld
        case mc_cudaErrorNoDevice, mc_cudaErrorInvalidDevice, mc_cudaErrorDevicesUnavailable: .noDevice
        case mc_cudaErrorNoKernelImageForDevice, mc_cudaErrorInvalidKernelImage, mc_cudaErrorInvalidPtx,
            mc_cudaErrorJitCompilerNotFound, mc_cudaErrorJitCompilationDisabled, mc_cudaErrorInvalidDeviceFunction:
            .noCodeForDevice
        case mc_cudaErrorSymbolNotFound: .incompleteImage
        case mc_cudaErrorStreamCaptureUnsupported...mc_cudaErrorStreamCaptureWrongThread: .captureFailed
        default: .refused
        }
    }
}
