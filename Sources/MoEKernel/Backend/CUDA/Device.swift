/// Where a layer runs.
///
/// ```swift
/// print(Device.available)                            // [cpu, cuda:0]
/// if let failure = Device.cudaFailure { print(failure) }   // why there is no cuda
/// ```
public enum Device: Sendable, Hashable {
    /// The processor.
    case cpu
    /// The NVIDIA GPU of that number, from 0.
    case cuda(Int)

    /// What this machine offers, as found when first asked: the CPU, then every GPU that the kernels run on.
    public static var available: [Device] { CUDASurvey.ofThisMachine.available }

    /// The GPU with the highest compute capability, among equals the one with most multiprocessors; the CPU where there
    /// is none.
    public static var best: Device { CUDASurvey.ofThisMachine.best }

    /// Why there is no GPU in ``available``; nil where there is one.
    public static var cudaFailure: MoEError? { CUDASurvey.ofThisMachine.failure }

    /// Throws why the device cannot be used.
    ///
    /// - Throws: ``MoEError/cuda(_:)``: no runtime, no driver, no such device, a device below compute capability 8.0.
    public func check() throws(MoEError) { try CUDASurvey.ofThisMachine.check(self) }
}

extension Device: LosslessStringConvertible {
    /// "cpu", "cuda" for the first GPU, or "cuda:1".
    public init?(_ description: String) {
        let parts = description.split(separator: ":", omittingEmptySubsequences: false)
        switch (parts.first, parts.count) {
        case ("cpu", 1): self = .cpu
        case ("cuda", 1): self = .cuda(0)
        case ("cuda", 2):
            guard let index = UInt16(parts[1]) else { return nil }
            self = .cuda(Int(index))
        default: return nil
        }
    }

    public var description: String {
        switch self {
        case .cpu: "cpu"
        case .cuda(let index): "cuda:\(index)"
        }
    }
}
