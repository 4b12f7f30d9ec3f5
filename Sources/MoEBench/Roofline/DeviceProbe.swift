import MoEKernel
import Synchronization

/// A GPU's limits: products of the layer's own numbers in registers, and a copy.
final class DeviceProbe: MachineProbe {
    private let probe: CUDAProbe
    private let failed = Mutex<MoEError?>(nil)

    init(on device: CUDADevice, multiplying type: ElementType, copyBytes: Int, iterations: Int) throws(MoEError) {
        probe = try CUDAProbe(on: device, multiplying: type, copyBytes: copyBytes, iterations: iterations)
    }

    /// What went wrong in a pass; its work then counts as none.
    var failure: MoEError? { failed.withLock { $0 } }

    func dot(_ arithmetic: ExpertArithmetic) -> Int { attempt { () throws(MoEError) in try probe.multiply() } }

    func read() -> Int { attempt { () throws(MoEError) in try probe.copy() } }

    private func attempt(_ pass: () throws(MoEError) -> Int) -> Int {
        do throws(MoEError) {
            return try pass()
        } catch {
            failed.withLock { $0 = $0 ?? error }
            return 0
        }
    }
}
