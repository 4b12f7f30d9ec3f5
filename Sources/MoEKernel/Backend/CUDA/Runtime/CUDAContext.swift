import CMoECUDA
import Synchronization

/// One device's context. Every call on the device goes through here: it is made for the right device whatever the
/// thread's current one is, its error is translated, and after a fault on the device it is not made at all.
final class CUDAContext: @unchecked Sendable {
    let runtime: CUDARuntime
    /// The device's number, from 0.
    let index: Int

    private let driver: CUDADriver
    /// The context that the runtime uses as well, held as long as this object lives.
    private let primary: CUDADriver.PrimaryContext

    /// The code of the fault that ended the context; 0 while it is well. Read before every call, so it is no lock.
    private let lostCode = Atomic<Int32>(0)
    private let lock = PosixMutex()
    private var lostCall = ""
    private var unreported: CUDAFailure?

    init(_ driver: CUDADriver, _ index: Int) throws(MoEError) {
        runtime = driver.runtime
        self.driver = driver
        self.index = index
        primary = try driver.retainContext(ofDevice: index)
    }

    /// The last to go, so there is nobody to tell of an error.
    deinit { _ = driver.release(primary) }

    /// Makes one call.
    ///
    /// - Parameters:
    ///   - call: The entry point's name.
    ///   - kind: What an answer means, where the code alone does not say.
    ///   - detail: What the call is for.
    /// - Throws: ``MoEError/cuda(_:)``.
    func perform(
        _ call: String, kind: ((CUDAErrorCode) -> CUDAFailure.Kind?)? = nil,
        _ detail: @autoclosure () -> String = "", _ body: (UnsafePointer<mc_cudart>) -> mc_error
    ) throws(MoEError) {
        try checkHealth(call)
        let code = CUDAErrorCode(rawValue: onDevice(body))
        guard code != .success else { return }
        throw .cuda(failure(code, call, kind: kind?(code), detail: detail()))
    }

    /// Asks whether something is done, which CUDA answers with an error code that is no error.
    func isDone(_ call: String, _ body: (UnsafePointer<mc_cudart>) -> mc_error) throws(MoEError) -> Bool {
        var isDone = true
        try perform(call) { entryPoints in
            let answer = body(entryPoints)
            guard answer == CUDAErrorCode.notReady.rawValue else { return answer }
            isDone = false
            // CUDA keeps it as the thread's last error all the same.
            _ = entryPoints.pointee.cudaGetLastError()
            return CUDAErrorCode.success.rawValue
        }
        return isDone
    }

    /// Makes a call that gives something back. It is made on a lost context too, and an error, for which a
    /// deinitialiser has no other way, is kept for ``reportReleases()``.
    func release(_ call: String, _ body: (UnsafePointer<mc_cudart>) -> mc_error) {
        keep(onDevice(isRelease: true, body), call)
    }

    /// As ``release(_:_:)``, for calls in no stream's order. CUDA forbids them to a thread that captures any stream,
    /// and spoils the capture, unless the thread says that the graph has nothing to do with them.
    func releaseOutOfOrder(_ call: String, _ body: (UnsafePointer<mc_cudart>) -> mc_error) {
        let exchange = "cudaThreadExchangeStreamCaptureMode"
        var mode = mc_capture_mode(mc_cudaStreamCaptureModeRelaxed)
        let answer = runtime.entryPoints.pointee.cudaThreadExchangeStreamCaptureMode(&mode)
        keep(answer, exchange)
        release(call, body)
        guard answer == 0 else { return }
        keep(runtime.entryPoints.pointee.cudaThreadExchangeStreamCaptureMode(&mode), exchange)
    }

    /// Throws the first error that was kept since the last report.
    func reportReleases() throws(MoEError) {
        lock.lock()
        defer { lock.unlock() }
        guard let failure = unreported else { return }
        unreported = nil
        throw .cuda(failure)
    }

    private func keep(_ answer: mc_error, _ call: String) {
        let code = CUDAErrorCode(rawValue: answer)
        guard code != .success else { return }
        let found = failure(code, call, kind: nil, detail: "giving back")
        // The loss of the context is told at every later call anyway.
        guard found.kind != .contextLost else { return }
        lock.lock()
        defer { lock.unlock() }
        unreported = unreported ?? found
    }

    /// Throws if a fault ended the context.
    func checkHealth(_ call: String) throws(MoEError) {
        let code = CUDAErrorCode(rawValue: lostCode.load(ordering: .acquiring))
        guard code != .success else { return }
        throw .cuda(lost(code, call))
    }

    private func failure(
        _ code: CUDAErrorCode, _ call: String, kind: CUDAFailure.Kind?, detail: String
    ) -> CUDAFailure {
        guard code.isSticky else { return runtime.failure(code, call, kind: kind, detail: detail) }
        lock.lock()
        if lostCode.load(ordering: .relaxed) == 0 {
            lostCall = call
            lostCode.store(code.rawValue, ordering: .releasing)
        }
        lock.unlock()
        return lost(code, call)
    }

    private func lost(_ code: CUDAErrorCode, _ call: String) -> CUDAFailure {
        lock.lock()
        let first = lostCall
        lock.unlock()
        // CUDA tells of a fault at whichever call comes next, so the work that caused it lies before the first call
        // that failed.
        return runtime.failure(
            code, call, detail: "device \(index) is lost since \(first) told of a fault in work before it")
    }

    /// CUDA's calls mean the thread's current context. Where that is another one, of another device, somebody's own of this
    /// device or none, the primary one is current for this call alone: cudaSetDevice would change the caller's thread, and
    /// setting its device again may start a context there.
    ///
    /// - Parameter isRelease: What is given back names its device itself, so the call is made even where the context
    ///   cannot be had.
    private func onDevice(
        isRelease: Bool = false, _ body: (UnsafePointer<mc_cudart>) -> mc_error
    ) -> mc_error {
        var current: OpaquePointer?
        let answer = driver.current(&current)
        guard answer == 0 || isRelease else { return answer }
        if current == primary.handle { return body(runtime.entryPoints) }
        let pushed = driver.push(primary)
        guard pushed == 0 else { return isRelease ? body(runtime.entryPoints) : pushed }
        // The answer is the call's: what it gave must not be lost because the thread's own context cannot be had again.
        defer { keep(driver.pop(), "cuCtxPopCurrent") }
        return body(runtime.entryPoints)
    }
}
